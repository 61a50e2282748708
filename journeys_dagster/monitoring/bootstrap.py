"""How sure a mean over users is."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

RESAMPLES = 2000
_AT_ONCE = 100


@dataclass(frozen=True)
class Mean:
    """A mean over users with its 95 % interval.

    Attributes
    ----------
    value, low, high : float
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f}–{self.high:.3f})"


def bootstrap_mean(values: pl.Series, *, resamples: int = RESAMPLES, seed: int = 0) -> Mean:
    """Mean with a percentile bootstrap interval (Efron 1979) over users.

    Parameters
    ----------
    values : Series
        One number per user, at least one.

    Raises
    ------
    ValueError
        There are no values.
    """
    numbers = values.to_numpy().astype(np.float64)
    if not len(numbers):
        raise ValueError("there is no user to take a mean over")
    # Users with one value are drawn together: the same distribution, at the cost of the distinct values alone.
    distinct, users = np.unique(numbers, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(numbers), users / len(numbers), size=resamples)
    means = drawn @ distinct / len(numbers)
    low, high = np.quantile(means, [0.025, 0.975])
    return Mean(float(numbers.mean()), float(low), float(high))


def bootstrap_gain(values: pl.Series, baseline: pl.Series, *, resamples: int = RESAMPLES, seed: int = 0) -> Mean:
    """How much larger the mean of one is than the mean of the other, as a share of the other; the same users in both.

    Parameters
    ----------
    values, baseline : Series
        One number per user, in the same order, at least one; the baseline's mean is positive.

    Raises
    ------
    ValueError
        There are no values, or not equally many.
    """
    if not len(values) or len(values) != len(baseline):
        raise ValueError(f"{len(values)} values and {len(baseline)} of the baseline: equally many are needed")
    ours, theirs = values.to_numpy().astype(np.float64), baseline.to_numpy().astype(np.float64)
    draws = _resampled(len(ours), resamples, seed)
    gains = (draws @ ours) / (draws @ theirs) - 1.0
    low, high = np.quantile(gains, [0.025, 0.975])
    return Mean(float(ours.mean() / theirs.mean() - 1.0), float(low), float(high))


def bootstrap_columns(columns: NDArray[np.float64], *, resamples: int = RESAMPLES, seed: int = 0) -> list[Mean]:
    """`bootstrap_mean` of many columns at once, in little memory, each over the users that have a value.

    Parameters
    ----------
    columns : array of shape (users, columns), float64
        NaN where a user has no value.

    Returns
    -------
    list of Mean
        Of each column; NaN where nobody has a value.
    """
    known = np.isfinite(columns)
    sums = np.hstack([np.where(known, columns, 0.0), known.astype(np.float64)])
    drawn = np.vstack([sums.sum(axis=0), resampled_totals(sums, resamples, seed=seed)])
    totals, counts = np.hsplit(drawn, 2)
    means = np.divide(totals, counts, out=np.full_like(totals, np.nan), where=counts > 0)
    # A resample may hold nobody who has a value.
    empty = ~known.any(axis=0)
    means[:, empty] = 0.0
    low, high = np.nanquantile(means[1:], [0.025, 0.975], axis=0)
    ends = np.where(empty, np.nan, np.vstack([means[0], low, high]))
    return [Mean(*map(float, end)) for end in ends.T]


def resampled_totals(sums: NDArray[np.float64], resamples: int, *, seed: int = 0) -> NDArray[np.float64]:
    """Column totals over users that are drawn with replacement, as many as there are.

    Parameters
    ----------
    sums : array of shape (users, columns), float64

    Returns
    -------
    array of shape (resamples, columns), float64
    """
    rng = np.random.default_rng(seed)
    users = len(sums)
    totals = np.empty((resamples, sums.shape[1]))
    for first in range(0, resamples, _AT_ONCE):
        drawn = [
            np.bincount(rng.integers(users, size=users), minlength=users) for _ in totals[first : first + _AT_ONCE]
        ]
        totals[first : first + _AT_ONCE] = np.asarray(drawn, dtype=np.float64) @ sums
    return totals


def _resampled(users: int, resamples: int, seed: int) -> NDArray[np.float64]:
    """How often each user is drawn, as a share of the draws: one row per resample."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(users, np.full(users, 1.0 / users), size=resamples) / users
