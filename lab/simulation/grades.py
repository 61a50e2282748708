"""What human annotators say about journeys: grades from 1 to 5, each annotator with a bias and noise of their own."""

from datetime import date

import numpy as np
import polars as pl

ANNOTATORS = ("ada", "ben", "cleo", "dan", "eve")
ANNOTATORS_EACH = 2
_BIAS, _NOISE = 0.35, (0.35, 0.8)
_FULL_INTENT = 0.25
"""Sittings per day from which a journey is fully relevant."""


def draw_human_labels(rng: np.random.Generator, shown: pl.DataFrame, *, day: date) -> pl.DataFrame:
    """Grades that annotators give to journeys, each journey by `ANNOTATORS_EACH` of them.

    Parameters
    ----------
    shown : DataFrame
        Columns ``user_id``, ``journey_id``, ``intent`` (sittings per day that are likely); one journey each.
    day : date
        Day on which they are graded.

    Returns
    -------
    DataFrame
        Landing rows of the source ``human_labels`` with ``arrival_day``.
    """
    of_all = len(ANNOTATORS)
    # Annotators are the same people whatever they are shown.
    persons = np.random.default_rng(1)
    bias = persons.normal(0, _BIAS, of_all)
    noise = persons.uniform(*_NOISE, of_all)
    true = 1 + 4 * np.sqrt(np.minimum(shown["intent"].to_numpy() / _FULL_INTENT, 1.0))
    chosen = rng.random((len(shown), of_all)).argsort(axis=1)[:, :ANNOTATORS_EACH]
    felt = true[:, None] + bias[chosen] + noise[chosen] * rng.normal(size=chosen.shape)
    grade = np.clip(np.round(felt), 1, 5).astype(np.int64)
    names = pl.Series(ANNOTATORS).gather(chosen.ravel())
    place = np.repeat(np.arange(len(shown)), ANNOTATORS_EACH)
    return shown.select("user_id", "journey_id")[place].with_columns(
        grade=pl.Series(grade.ravel()),
        annotator=names,
        occurred_at=pl.lit(day).cast(pl.Datetime("us")) + pl.duration(hours=12),
        arrival_day=pl.lit(day),
    )
