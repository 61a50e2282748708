"""How good each listed journey is, on a five-level rubric, from measured evidence: the judge without language model.

What is measured belongs to the caller; how levels agree with people's grades to `monitoring.judge_agreement`.
"""

import functools
import itertools
import operator
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.inference.segments import segment_starts

EVIDENCE_JUDGE = "evidence"
NO_LANGUAGE_MODEL = "Measured evidence, not a language model."


@dataclass(frozen=True)
class Level:
    """A level of the rubric.

    Attributes
    ----------
    level : int
        5 is best.
    meaning, example : str
    """

    level: int
    meaning: str
    example: str


RUBRIC = (
    Level(5, "highly relevant", "five searches and two saves on garden weddings this week; journey 'garden wedding'"),
    Level(4, "relevant", "a few looks at hiking boots in the last fortnight; journey 'hiking boots'"),
    Level(3, "somewhat relevant", "one evening of bread recipes a month ago; journey 'sourdough'"),
    Level(2, "hardly relevant", "a single look at a lamp among many other things; journey 'floor lamps'"),
    Level(1, "irrelevant or harmful", "nothing of the kind in months, or what must not be shown; journey 'divorce'"),
)
EVIDENCE = ("coverage", "recency", "cohesion", "distinctness", "name_fit")
WEIGHTS = {"coverage": 0.5, "recency": 0.4, "cohesion": 0.04, "distinctness": 0.03, "name_fit": 0.03}
"""Of each evidence in the score; chosen on the tune half of the simulated world, see docs/how-it-works.md."""
CUTS = (0.15, 0.5, 0.62, 0.97)
"""Scores from which levels 2 to 5 are given."""
DUPLICATE, WRONG_NAME, WRONG_STAGE, MISSED = "duplicate", "wrong name", "wrong stage", "missed"
FAULTS = (DUPLICATE, WRONG_NAME, WRONG_STAGE, MISSED)
_COVERED = 0.25
"""Share of recent activity from which a journey covers all that one journey of several can."""
_HALF_LIFE_DAYS = 14
_DUPLICATE_SIMILARITY = 0.75
_MISFIT = 0.35
_MISSED_COVERAGE = 0.2
_SURELY_ACTIVE_DAYS, _SURELY_OVER_DAYS = 3, 90
JUDGED_SCHEMA = {
    "user_id": pl.String,
    "journey_id": pl.String,
    "rank": pl.Int32,
    "level": pl.Int32,
    **dict.fromkeys(EVIDENCE, pl.Float64),
    "faults": pl.List(pl.String),
    "explanation": pl.String,
}


def judge_by_evidence(journeys: pl.DataFrame, centres: NDArray[np.float32], *, top: int) -> pl.DataFrame:
    """Judge the first journeys of each user's list, and name what the list lacks: `judged` of `measure`."""
    return judged(measure(journeys, centres), top=top)


def measure(journeys: pl.DataFrame, centres: NDArray[np.float32]) -> pl.DataFrame:
    """What evidence says of every journey, listed or not.

    Parameters
    ----------
    journeys : DataFrame
        All journeys of each user, sorted by user: ``user_id``, ``journey_id``, ``rank`` (int, null where it is not
        listed), ``coverage`` (share of the user's recent events), ``days_since`` (float, since its last event),
        ``cohesion`` and ``name_similarity`` (cosines to its centroid: of all keywords, of the name's), ``stage``.
    centres : array of shape (journeys, dimensions), float32
        Centroids, in the same order.

    Returns
    -------
    DataFrame
        Columns of `JUDGED_SCHEMA`, one row per journey, in the same order.
    """
    distinctness, twin = _distinctness(journeys, centres)
    measured = journeys.with_columns(
        covered=pl.col("coverage"),
        coverage=(pl.col("coverage") * (1 / _COVERED)).clip(0.0, 1.0),
        recency=pl.lit(2.0).pow(-pl.col("days_since") * (1 / _HALF_LIFE_DAYS)),
        cohesion=pl.col("cohesion").clip(0.0, 1.0),
        distinctness=pl.Series(distinctness, dtype=pl.Float64),
        name_fit=pl.col("name_similarity").clip(0.0, 1.0),
        twin=pl.Series(twin, dtype=pl.Float64),
    )
    # One after the other: Polars adds columns up to other bits where it has other threads.
    score = functools.reduce(operator.add, (pl.col(name) * weight for name, weight in WEIGHTS.items()))
    is_listed = pl.col("rank").is_not_null()
    faults = {
        DUPLICATE: is_listed & (pl.col("twin") >= _DUPLICATE_SIMILARITY),
        # A cosine of exactly 0 is that of a name without meaning, which neither fits nor does not.
        WRONG_NAME: is_listed & (pl.col("name_similarity") != 0.0) & (pl.col("name_fit") < _MISFIT),
        WRONG_STAGE: is_listed
        & (
            ((pl.col("stage") == "ended") & (pl.col("days_since") <= _SURELY_ACTIVE_DAYS))
            | ((pl.col("stage") == "ongoing") & (pl.col("days_since") > _SURELY_OVER_DAYS))
        ),
        MISSED: ~is_listed & (pl.col("covered") >= _MISSED_COVERAGE),
    }
    level = pl.sum_horizontal(score >= cut for cut in CUTS) + 1
    return (
        measured.with_columns(
            level=pl.when(is_listed).then(level),
            faults=pl.concat_list(
                pl.when(found).then(pl.lit(name)) for name, found in faults.items()
            ).list.drop_nulls(),
        )
        .with_columns(explanation=_explanation())
        .select(*JUDGED_SCHEMA)
        .cast(pl.Schema(JUDGED_SCHEMA))  # type: ignore[arg-type]
    )


def judged(measured: pl.DataFrame, *, top: int) -> pl.DataFrame:
    """The judgement on lists: of what was measured one row per journey among the first `top`, and one without rank and
    level for each that is missed, being much of what the user does and not on the list; sorted by user and rank.
    """
    is_missed = pl.col("faults").list.contains(MISSED)
    return measured.filter((pl.col("rank") <= top).fill_null(value=False) | is_missed).sort(
        "user_id", "rank", "journey_id", nulls_last=True
    )


def _explanation() -> pl.Expr:
    """The evidence in words; it repeats no text of a user."""
    return pl.format(
        "{} % of the activity of four weeks, last event {} days ago; keywords {} to their centre, {} apart from the "
        f"journeys above, name {{}} to the centre. {NO_LANGUAGE_MODEL}",
        (pl.col("covered") * 100).round().cast(pl.Int64),
        pl.col("days_since").round().cast(pl.Int64),
        *(pl.col(name).round(2) for name in ("cohesion", "distinctness", "name_fit")),
    )


def _distinctness(journeys: pl.DataFrame, centres: NDArray[np.float32]) -> tuple[list[float], list[float]]:
    """1 less the cosine to the nearest journey ranked above, and that cosine; journeys off the list are below all."""
    starts = segment_starts(journeys.select("user_id"))
    ranks = journeys["rank"].fill_null(np.iinfo(np.int32).max).to_numpy()
    nearest = np.zeros(len(journeys), dtype=np.float64)
    for start, stop in itertools.pairwise(starts):
        cosines = np.einsum("id,jd->ij", centres[start:stop], centres[start:stop], dtype=np.float64)
        above = ranks[start:stop][None, :] < ranks[start:stop][:, None]
        nearest[start:stop] = np.where(above, cosines, 0.0).max(axis=1, initial=0.0)
    return (1.0 - nearest).clip(0.0, 1.0).tolist(), nearest.tolist()


def ndcg(levels: Sequence[int]) -> float:
    """Normalised discounted cumulative gain (Järvelin and Kekäläinen 2002) of a list in its order, gain 2^level − 1."""
    gains = np.exp2(np.array(levels, dtype=np.float64)) - 1.0
    discounts = 1.0 / np.log2(np.arange(2, len(gains) + 2))
    return float((gains * discounts).sum() / (np.sort(gains)[::-1] * discounts).sum())
