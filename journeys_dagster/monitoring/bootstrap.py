"""How sure a mean over users is.

SciPy's bootstrap draws users one by one, in memory of users times resamples; here, how often each distinct value comes
is drawn. What that gives is stored, so it may not change.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

RESAMPLES = 2000
_SEED = 0


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


def bootstrap_mean(values: pl.Series) -> Mean:
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
    drawn = np.random.default_rng(_SEED).multinomial(len(numbers), users / len(numbers), size=RESAMPLES)
    means = drawn @ distinct / len(numbers)
    low, high = np.quantile(means, [0.025, 0.975])
    return Mean(float(numbers.mean()), float(low), float(high))


def bootstrap_gain(values: pl.Series, baseline: pl.Series) -> Mean:
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
    users = len(ours)
    # How often each user is drawn: one row per resample.
    draws = np.random.default_rng(_SEED).multinomial(users, np.full(users, 1.0 / users), size=RESAMPLES) / users
    gains = (draws @ ours) / (draws @ theirs) - 1.0
    low, high = np.quantile(gains, [0.025, 0.975])
    return Mean(float(ours.mean() / theirs.mean() - 1.0), float(low), float(high))
