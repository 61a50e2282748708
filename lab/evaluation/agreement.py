"""How far annotators agree in their grades."""

import itertools
from dataclasses import dataclass

import numpy as np
import polars as pl


@dataclass(frozen=True)
class Agreement:
    """How far annotators agree.

    Attributes
    ----------
    kappa : float
        Quadratic weighted kappa (Cohen 1968), mean over pairs of annotators, weighted by what both graded.
    alpha : float
        Krippendorff's alpha for interval data.
    graded : int
        Journeys that two annotators or more have graded.
    """

    kappa: float
    alpha: float
    graded: int


def agreement(labels: pl.DataFrame) -> Agreement:
    """Agreement on journeys that two annotators or more have graded.

    Parameters
    ----------
    labels : DataFrame
        Columns ``user_id``, ``journey_id``, ``arrival_day``, ``annotator``, ``grade``; one row per journey, day and
        annotator.
    """
    from sklearn.metrics import cohen_kappa_score

    unit = ["user_id", "journey_id", "arrival_day"]
    wide = labels.pivot("annotator", index=unit, values="grade", aggregate_function="first").drop(unit)
    grades = wide.to_numpy().astype(np.float64)
    grades = grades[(~np.isnan(grades)).sum(axis=1) >= 2]
    if not len(grades):
        return Agreement(float("nan"), float("nan"), 0)
    kappas, weights = [], []
    for first, second in itertools.combinations(grades.T, 2):
        both = ~np.isnan(first) & ~np.isnan(second)
        if both.any():
            kappas.append(cohen_kappa_score(first[both], second[both], labels=range(1, 6), weights="quadratic"))
            weights.append(both.sum())
    return Agreement(float(np.average(kappas, weights=weights)), _interval_alpha(grades), len(grades))


def _interval_alpha(grades: np.ndarray) -> float:
    """Krippendorff's alpha: 1 - observed over expected squared difference, with missing values."""
    count = (~np.isnan(grades)).sum(axis=1)
    total = count.sum()
    # Within a unit, the mean squared difference of its pairs is twice the variance, weighted by the unit's values.
    within = 2 * np.nanvar(grades, axis=1, ddof=1)
    observed = (count * within).sum() / total
    expected = 2 * np.var(grades[~np.isnan(grades)], ddof=1)
    return float(1 - observed / expected) if expected > 0 else 1.0
