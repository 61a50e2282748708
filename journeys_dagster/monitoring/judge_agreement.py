"""How far a judge's levels agree with people's, with intervals over users or topics."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.monitoring.bootstrap import Mean

LEVELS = (1, 2, 3, 4, 5)
"""From irrelevant or harmful to highly relevant."""
MEASURES = ("exact", "within_one", "kendall_tau_b", "quadratic_kappa")
RESAMPLES = 200
"""Enough for a daily check; what is published takes more."""
_HUMAN, _JUDGED = (levels.ravel() for levels in np.meshgrid(LEVELS, LEVELS, indexing="ij"))


def agreement(
    human: pl.Series, judged: pl.Series, groups: pl.Series, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Mean]:
    """Agreement over all cases, with percentile bootstrap intervals over groups.

    Parameters
    ----------
    human, judged : Series of int
        Of `LEVELS`, one per case.
    groups : Series
        What cases belong together, such as users or topics: they are drawn together when intervals are taken.

    Returns
    -------
    dict of str to Mean
        ``exact`` and ``within_one``, shares of the cases; ``kendall_tau_b`` (Kendall 1945); ``quadratic_kappa``,
        Cohen's with quadratic weights (1968). A value that is not defined, as tau-b of a judge with one level, is NaN.

    Raises
    ------
    ValueError
        There are no cases, not equally many of each, or another level than `LEVELS`.
    """
    if not len(human) or not len(human) == len(judged) == len(groups):
        raise ValueError(
            f"{len(human)} grades, {len(judged)} judgements, {len(groups)} groups: equally many are needed"
        )
    for name, levels in (("grades", human), ("judgements", judged)):
        if not levels.is_in(list(LEVELS)).fill_null(value=False).all():
            raise ValueError(f"the {name} hold another level than {LEVELS[0]} to {LEVELS[-1]}")
    # Cases by group and cell of the table of both: a resample is a sum of rows, however many cases there are.
    codes = groups.rank("dense").cast(pl.Int64).to_numpy() - 1
    cells = np.zeros((codes.max() + 1, len(_HUMAN)), dtype=np.int64)
    place = (human.to_numpy() - LEVELS[0]) * len(LEVELS) + judged.to_numpy() - LEVELS[0]
    np.add.at(cells, (codes, place), 1)
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(cells), np.full(len(cells), 1.0 / len(cells)), size=resamples)
    values = _measures(cells.sum(axis=0))
    resampled = np.array([_measures(counts) for counts in draws @ cells])
    return {
        name: _with_interval(value, drawn) for name, value, drawn in zip(MEASURES, values, resampled.T, strict=True)
    }


def _measures(counts: NDArray[np.int64]) -> tuple[float, ...]:
    """The `MEASURES` of a table of both, given as cases per cell."""
    from scipy.stats import kendalltau
    from sklearn.metrics import cohen_kappa_score

    apart, seen = np.abs(_HUMAN - _JUDGED), counts > 0
    rows = np.repeat(np.arange(len(counts)), counts)
    # Not defined, and the libraries warn: the order of a single case, kappa where all have one level.
    tau = np.nan if len(rows) < 2 else float(np.asarray(kendalltau(_HUMAN[rows], _JUDGED[rows]))[0])
    kappa = np.nan
    if len({*_HUMAN[seen], *_JUDGED[seen]}) > 1:
        kappa = cohen_kappa_score(
            _HUMAN[seen], _JUDGED[seen], labels=list(LEVELS), weights="quadratic", sample_weight=counts[seen]
        )
    shares = (np.average(apart <= most, weights=counts) for most in (0, 1))
    return (*map(float, shares), tau, float(kappa))


def _with_interval(value: float, resampled: NDArray[np.float64]) -> Mean:
    defined = resampled[np.isfinite(resampled)]
    if not len(defined) or not np.isfinite(value):
        return Mean(value, float("nan"), float("nan"))
    low, high = np.quantile(defined, [0.025, 0.975])
    return Mean(value, float(low), float(high))
