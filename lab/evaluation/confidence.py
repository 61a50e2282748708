"""How sure it is that something is a journey: against simulated people, whose journeys are known; and learnt anew."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import ClassVar

import click
import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.inference.confidence import (
    RISING,
    TERMS,
    ConfidenceModel,
    bundled_model,
    confidence_terms,
    with_confidence,
)
from journeys_dagster.reporting.calibration import calibration_curve
from journeys_dagster.settings import Settings
from journeys_dagster.training.history import KeywordVectors
from journeys_dagster.training.ranking_metrics import calibration_table, expected_calibration_error
from journeys_dagster.training.replay import replay_features
from lab.benchmark import FILE, HALF, HALF_HELP, Result, Run, option
from lab.evaluation.corpora import keyword_truth, titles_alone, world_history
from lab.evaluation.statistics import majority
from lab.simulation.journey_types import Half
from lab.simulation.world import World

SNAPSHOTS = 4
"""Days, evenly spaced up to the last: what is known of people at the beginning differs from what is known later."""
LIMITS = (0.05, 0.075, 0.1, 0.125, 0.15, 0.2, 0.3, 0.5)
_MEMBERS = "select user_id, journey_id, keyword, weight from clusters join journey_identities using (user_id, cluster)"
_JOURNEYS = """
    select user_id, journey_id, weight, search_count + action_count as events, keywords, cohesion, days_active,
        first_seen
    from journey_engagement
"""


@dataclass(frozen=True)
class Confidence:
    """Stated confidence against truth in a simulated world: calibration, and what each lower limit would list.

    The same people are measured twice: with a catalogue that has tags, and with its titles alone. With --refit-to, the
    weights are learnt anew from both and written to a file. The shipped ones are of `--half tune`.
    """

    name: ClassVar[str] = "confidence"
    users: int = option(2000, type=click.IntRange(1))
    days: int = option(120, type=click.IntRange(SNAPSHOTS))
    seed: int = option(11, type=int)
    half: Half | None = option(None, HALF_HELP, type=HALF)
    refit_to: Path | None = option(None, "Learn the weights anew, and write them to this file.", type=FILE)

    def measure(self, run: Run) -> Result:
        """Replay past snapshots of a world, and compare every journey's confidence with what it truly is."""
        world = run.world(users=self.users, days=self.days, seed=self.seed, half=self.half)
        known = {}
        for catalogue, of_catalogue in {"tags": world, "titles alone": titles_alone(world)}.items():
            with run.step(catalogue) as advance:
                known[catalogue] = known_journeys(of_catalogue, run.settings, run.vectors, progress=advance)
        # One person in two catalogues is two.
        examples = pl.concat(
            rows.with_columns(pl.col("user_id") + f", {catalogue}", catalogue=pl.lit(catalogue))
            for catalogue, rows in known.items()
        ).sort("as_of", maintain_order=True)
        model = bundled_model() if self.refit_to is None else fit_confidence(examples)
        if self.refit_to is not None:
            model.save(self.refit_to)
        stated = by_snapshot(examples, partial(with_confidence, model=model))
        limit = run.settings.output.min_confidence
        catalogues = pl.DataFrame(
            [{"catalogue": name, **_figures(stated.filter(catalogue=name), limit)} for name in known]
        )
        limits = by_limit(stated)
        weights = pl.DataFrame({"term": ["intercept", *TERMS], "weight": [model.intercept, *model.weights.values()]})
        curve = calibration_table(stated["is_journey"].to_numpy(), stated["confidence"].to_numpy())
        return Result(
            {
                "seed": self.seed,
                "half": self.half,
                "journeys": len(stated),
                **_figures(stated, limit),
                "catalogues": catalogues,
                "limits": limits,
            },
            {
                f"{len(stated):,} journeys of {SNAPSHOTS} snapshots": catalogues,
                "listed from a confidence on, per user and snapshot": limits,
                "weights": weights,
            },
            plots={"calibration-curve": partial(calibration_curve, curve, title="Confidence")},
        )


def known_journeys(
    world: World, settings: Settings, vectors: KeywordVectors, *, progress: Callable[[float], None] | None = None
) -> pl.DataFrame:
    """All journeys of some past snapshots of a world, and what they truly are.

    A true journey that was found in several pieces is the heaviest of them; the others are pieces.

    Returns
    -------
    DataFrame
        Columns ``as_of``, ``user_id``, ``journey_id``, those of `confidence_terms`, ``truth`` (null: nothing but noise)
        and ``is_journey`` (bool); sorted by snapshot and user, a user's heaviest journey first.
    """
    history = world_history(world, settings)
    truth = keyword_truth(world, history, settings)
    first, last = history.span
    days = [last - timedelta(days=(last - first).days * left // SNAPSHOTS) for left in reversed(range(SNAPSHOTS))]
    parts = []
    for done, as_of in enumerate(days, start=1):
        replay_features(history, as_of, settings, vectors)
        members = history.query(_MEMBERS, {}).join(truth, on=["user_id", "keyword"])
        of_journey = majority(members, ["user_id", "journey_id"], (pl.col("weight") * 1e6).round().cast(pl.Int64).sum())
        parts.append(
            history.query(_JOURNEYS, {})
            .join(of_journey, on=["user_id", "journey_id"], how="left")
            .sort("user_id", "weight", "journey_id", descending=[False, True, False])
            .with_columns(
                as_of=pl.lit(as_of),
                is_journey=pl.col("truth").is_not_null() & pl.struct("user_id", "truth").is_first_distinct(),
            )
        )
        if progress is not None:
            progress(done / SNAPSHOTS)
    return pl.concat(parts)


def by_snapshot(examples: pl.DataFrame, of_snapshot: Callable[..., pl.DataFrame]) -> pl.DataFrame:
    """What a function says of each snapshot by itself, in the order of the rows."""
    parts = examples.partition_by("as_of", maintain_order=True)
    return pl.concat(of_snapshot(part, as_of=part["as_of"][0]) for part in parts)


def fit_confidence(examples: pl.DataFrame) -> ConfidenceModel:
    """Logistic regression of ``is_journey`` on the terms, each of which may only have its own sign.

    Parameters
    ----------
    examples : DataFrame
        From `known_journeys`, sorted by snapshot.
    """
    from scipy.optimize import minimize

    terms = by_snapshot(examples, confidence_terms).select(TERMS).to_numpy()
    inputs = np.column_stack([np.ones(len(terms)), terms])
    truth = examples["is_journey"].to_numpy().astype(np.float64)

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logits = inputs @ weights
        stated = 1.0 / (1.0 + np.exp(-logits))
        return float(np.mean(np.logaddexp(0.0, logits) - truth * logits)), inputs.T @ (stated - truth) / len(truth)

    signs = [(0.0, None) if term in RISING else (None, 0.0) for term in TERMS]
    start = np.zeros(inputs.shape[1])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(None, None), *signs], options={"maxiter": 2000})
    intercept, *weights = (round(float(weight), 3) for weight in found.x)
    return ConfidenceModel(intercept, dict(zip(TERMS, weights, strict=True)))


def by_limit(stated: pl.DataFrame) -> pl.DataFrame:
    """What a user's list would hold from each confidence on, a user's best journey aside.

    Returns
    -------
    DataFrame
        Columns ``from_confidence``; ``journeys``, ``pieces`` and ``noise`` (of a user and snapshot, in the mean); and
        ``found``, the share of true journeys that have a cluster and are listed.
    """
    lists = stated.select("as_of", "user_id").n_unique()
    kept = pl.col("confidence") >= pl.col("from_confidence")
    return (
        stated.join(pl.DataFrame({"from_confidence": LIMITS}), how="cross")
        .group_by("from_confidence")
        .agg(
            journeys=(kept & pl.col("is_journey")).sum() / lists,
            pieces=(kept & ~pl.col("is_journey") & pl.col("truth").is_not_null()).sum() / lists,
            noise=(kept & pl.col("truth").is_null()).sum() / lists,
            found=(kept & pl.col("is_journey")).sum() / pl.col("is_journey").sum(),
        )
        .sort("from_confidence")
    )


def _figures(stated: pl.DataFrame, min_confidence: float) -> dict[str, float]:
    """Calibration; and of what was met once, the shares that is a journey and that is listed."""
    truth, confidence = stated["is_journey"].to_numpy(), stated["confidence"].to_numpy()
    listed, once = confidence >= min_confidence, stated["events"].to_numpy() == 1
    return {
        "ece": expected_calibration_error(truth, confidence),
        "ece_of_listed": expected_calibration_error(truth[listed], confidence[listed]),
        "log_loss": _log_loss(truth, confidence),
        "log_loss_of_base_rate": _log_loss(truth, np.full(len(truth), truth.mean())),
        "met_once_true": float(truth[once].mean()),
        "met_once_listed": float(listed[once].mean()),
    }


def _log_loss(truth: NDArray[np.bool_], stated: NDArray[np.float64]) -> float:
    stated = np.clip(stated, 1e-9, 1.0 - 1e-9)
    return float(-np.mean(np.log(np.where(truth, stated, 1.0 - stated))))
