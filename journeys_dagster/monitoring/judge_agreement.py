"""How far a judge's levels agree with people's: every measure is a function of the table of both."""

from collections.abc import Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.monitoring.bootstrap import RESAMPLES, Mean

LEVELS = (1, 2, 3, 4, 5)
"""From irrelevant or harmful to highly relevant."""
MEASURES = ("exact", "within_one", "kendall_tau_b", "quadratic_kappa")


def level_tables(human: pl.Series, judged: pl.Series, groups: pl.Series) -> NDArray[np.int64]:
    """Count how often people gave one level and the judge another, group by group.

    Parameters
    ----------
    human, judged : Series of int
        Of `LEVELS`, one per case.
    groups : Series
        What cases belong together, such as users or topics: they are drawn together when intervals are taken.

    Returns
    -------
    array of shape (groups, levels, levels), int64
        People's level by the judge's level; groups in ascending order.

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
    codes = groups.rank("dense").cast(pl.Int64).to_numpy() - 1
    tables = np.zeros((codes.max() + 1, len(LEVELS), len(LEVELS)), dtype=np.int64)
    np.add.at(tables, (codes, human.to_numpy() - LEVELS[0], judged.to_numpy() - LEVELS[0]), 1)
    return tables


def agreement(tables: NDArray[np.int64], *, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Mean]:
    """Agreement over all groups, with percentile bootstrap intervals over groups.

    Returns
    -------
    dict of str to Mean
        ``exact`` and ``within_one``, shares of the cases; ``kendall_tau_b`` (Kendall 1945); ``quadratic_kappa``,
        Cohen's with quadratic weights (1968). A value that is not defined, as tau-b of a judge with one level, is NaN.
    """
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(tables), np.full(len(tables), 1.0 / len(tables)), size=resamples)
    values = measures_of(tables.sum(axis=0)[None])
    resampled = measures_of(np.einsum("rg,gij->rij", draws, tables))
    return {name: _with_interval(float(values[name][0]), resampled[name]) for name in MEASURES}


def measures_of(tables: NDArray[np.int64]) -> Mapping[str, NDArray[np.float64]]:
    """The measures of each of many tables, shape (tables, levels, levels)."""
    counts = tables.astype(np.float64)
    total = counts.sum(axis=(1, 2))
    rows, columns = counts.sum(axis=2), counts.sum(axis=1)
    distance = np.abs(np.subtract.outer(np.array(LEVELS), np.array(LEVELS)))
    with np.errstate(invalid="ignore", divide="ignore"):
        by_chance = np.einsum("ti,tj,ij->t", rows, columns, distance**2.0) / total
        return {
            "exact": counts[:, distance == 0].sum(axis=1) / total,
            "within_one": counts[:, distance <= 1].sum(axis=1) / total,
            "kendall_tau_b": _tau_b(counts, rows, columns, total),
            "quadratic_kappa": 1.0 - np.einsum("tij,ij->t", counts, distance**2.0) / by_chance,
        }


def _tau_b(
    counts: NDArray[np.float64], rows: NDArray[np.float64], columns: NDArray[np.float64], total: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Pairs of cases in the same order less those in the opposite order, over the pairs that neither side ties."""
    after = np.triu(np.ones((len(LEVELS), len(LEVELS))), k=1)
    same = np.einsum("tij,ik,jl,tkl->t", counts, after, after, counts)
    opposite = np.einsum("tij,ik,lj,tkl->t", counts, after, after, counts)
    pairs = total * (total - 1) / 2
    untied = (pairs - (of * (of - 1) / 2).sum(axis=1) for of in (rows, columns))
    return (same - opposite) / np.sqrt(next(untied) * next(untied))


def _with_interval(value: float, resampled: NDArray[np.float64]) -> Mean:
    defined = resampled[np.isfinite(resampled)]
    if not len(defined) or not np.isfinite(value):
        return Mean(value, float("nan"), float("nan"))
    low, high = np.quantile(defined, [0.025, 0.975])
    return Mean(value, float(low), float(high))
