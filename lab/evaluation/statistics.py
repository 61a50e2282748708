"""Means with intervals, majorities, and how far annotators agree."""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.monitoring.bootstrap import RESAMPLES, Mean, bootstrap_mean

_AT_ONCE = 100


def intervals(scores: pl.DataFrame, measures: Iterable[str]) -> dict[str, float]:
    """Of users' values, each measure's mean with the ends of its interval, ``_low`` and ``_high``."""
    row: dict[str, float] = {}
    for measure in measures:
        mean = bootstrap_mean(scores[measure].drop_nulls())
        row |= {measure: mean.value, f"{measure}_low": mean.low, f"{measure}_high": mean.high}
    return row


def gain_text(gain: Mean) -> str:
    """A gain in per cent, with its interval."""
    return f"{gain.value:+.1%} ({gain.low:+.1%} to {gain.high:+.1%})"


def majority(rows: pl.DataFrame, key: Sequence[str], weight: pl.Expr) -> pl.DataFrame:
    """The ``truth`` that most of each group's weight is of; ties go to the smaller name, nulls do not count."""
    return (
        rows.filter(pl.col("truth").is_not_null())
        .group_by(*key, "truth")
        .agg(weight=weight)
        .sort("weight", "truth", descending=[True, False])
        .unique(key, keep="first", maintain_order=True)
        .select(*key, "truth")
        .sort(key)
    )


def bootstrap_columns(columns: NDArray[np.float64]) -> list[Mean]:
    """Means of many columns with percentile intervals, each over the users that have a value.

    The same users are drawn for all columns: SciPy's bootstrap, column by column, is slower by as many times as there
    are columns.

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
    drawn = np.vstack([sums.sum(axis=0), resampled_totals(sums)])
    totals, counts = np.hsplit(drawn, 2)
    means = np.divide(totals, counts, out=np.full_like(totals, np.nan), where=counts > 0)
    # A resample may hold nobody who has a value.
    empty = ~known.any(axis=0)
    means[:, empty] = 0.0
    low, high = np.nanquantile(means[1:], [0.025, 0.975], axis=0)
    ends = np.where(empty, np.nan, np.vstack([means[0], low, high]))
    return [Mean(*map(float, end)) for end in ends.T]


def resampled_totals(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Column totals over users drawn with replacement: (users, columns) in, (`RESAMPLES`, columns) out."""
    rng = np.random.default_rng(0)
    users = len(sums)
    totals = np.empty((RESAMPLES, sums.shape[1]))
    for first in range(0, RESAMPLES, _AT_ONCE):
        drawn = [
            np.bincount(rng.integers(users, size=users), minlength=users) for _ in totals[first : first + _AT_ONCE]
        ]
        totals[first : first + _AT_ONCE] = np.asarray(drawn, dtype=np.float64) @ sums
    return totals


@dataclass(frozen=True)
class AnnotatorAgreement:
    """How far annotators agree on journeys that two or more have graded.

    Attributes
    ----------
    kappa : float
        Quadratic weighted kappa (Cohen 1968), mean over pairs of annotators, weighted by what both graded.
    alpha : float
        Krippendorff's alpha for interval data.
    graded : int
    """

    kappa: float
    alpha: float
    graded: int


def annotator_agreement(labels: pl.DataFrame) -> AnnotatorAgreement:
    """Agreement of the grades in landing rows of ``human_labels``."""
    import krippendorff
    from sklearn.metrics import cohen_kappa_score

    unit = ["user_id", "journey_id", "arrival_day"]
    wide = labels.pivot("annotator", index=unit, values="grade", aggregate_function="first").drop(unit)
    grades = wide.to_numpy().astype(np.float64)
    grades = grades[(~np.isnan(grades)).sum(axis=1) >= 2]
    if not len(grades):
        return AnnotatorAgreement(float("nan"), float("nan"), 0)
    kappas, weights = [], []
    for first, second in itertools.combinations(grades.T, 2):
        both = ~np.isnan(first) & ~np.isnan(second)
        if both.any():
            kappas.append(cohen_kappa_score(first[both], second[both], labels=range(1, 6), weights="quadratic"))
            weights.append(both.sum())
    # Of one grade only, neither is defined, and the library refuses.
    varied = len(np.unique(grades[~np.isnan(grades)])) > 1
    alpha = krippendorff.alpha(grades.T, level_of_measurement="interval") if varied else np.nan
    return AnnotatorAgreement(float(np.average(kappas, weights=weights)), float(alpha), len(grades))


def share_interval(found: int, of: int) -> tuple[float, float, float]:
    """A share and the ends of its 95 % interval (Wilson); NaN of nothing."""
    from scipy.stats import binomtest

    if not of:
        return math.nan, math.nan, math.nan
    ends = binomtest(found, of).proportion_ci(method="wilson")
    return found / of, float(ends.low), float(ends.high)
