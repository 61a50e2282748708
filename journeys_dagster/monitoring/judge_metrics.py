"""A day's judgements in figures, and whether the judge may be believed: its agreement with people's grades."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import polars as pl

from journeys_dagster.inference.judge import FAULTS, ndcg
from journeys_dagster.monitoring.bootstrap import Mean, bootstrap_mean
from journeys_dagster.monitoring.judge_agreement import agreement

ALL = "all"
METRICS_SCHEMA = {
    "slice": pl.String,
    "metric": pl.String,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "users": pl.Int64,
}
_RELEVANT = 4


def judge_metrics(scores: pl.DataFrame) -> pl.DataFrame:
    """Mean level, share of levels 4 and 5, NDCG and faults per list, by stratum and over all.

    Parameters
    ----------
    scores : DataFrame
        Rows of `judge_scores` of one day: ``user_id``, ``rank``, ``level``, ``faults``, ``stratum``.

    Returns
    -------
    DataFrame
        Columns of `METRICS_SCHEMA`: means over the users judged, with 95 % bootstrap intervals over users. Faults are
        per list. Strata are judged in different shares: `all` is of the sample, not of the platform.
    """
    lists = (
        scores.sort("user_id", "rank", nulls_last=True)
        .group_by("user_id", maintain_order=True)
        .agg(
            stratum=pl.col("stratum").first(),
            levels=pl.col("level").drop_nulls(),
            **{name: pl.col("faults").list.contains(name).sum().cast(pl.Float64) for name in FAULTS},
        )
    )
    rows = [
        {"slice": name, "metric": metric, "value": mean.value, "low": mean.low, "high": mean.high, "users": users}
        for name, of_slice in {ALL: lists, **_by_stratum(lists)}.items()
        for metric, mean, users in _means(of_slice)
    ]
    return pl.DataFrame(rows, schema=METRICS_SCHEMA)


def _by_stratum(lists: pl.DataFrame) -> Mapping[str, pl.DataFrame]:
    return {name: lists.filter(stratum=name) for name in lists["stratum"].unique().sort()}


def _means(lists: pl.DataFrame) -> Iterator[tuple[str, Mean, int]]:
    judged = lists.filter(pl.col("levels").list.len() > 0)
    values = {
        "mean_level": judged.select(pl.col("levels").list.mean()).to_series(),
        "share_relevant": judged.select(
            pl.col("levels").list.eval((pl.element() >= _RELEVANT).cast(pl.Float64)).list.mean()
        ).to_series(),
        "ndcg": pl.Series([ndcg(levels) for levels in judged["levels"].to_list()], dtype=pl.Float64),
    } | {name.replace(" ", "_"): lists[name] for name in FAULTS}
    for metric, of_users in values.items():
        if len(of_users):
            yield metric, bootstrap_mean(of_users), len(of_users)


@dataclass(frozen=True)
class Calibration:
    """How far a judge agrees with people's grades.

    Attributes
    ----------
    graded : int
        Journeys with both.
    measures : mapping of str to Mean
        See `judge_agreement.agreement`; empty where nothing is graded.
    """

    graded: int
    measures: Mapping[str, Mean]

    def verdict(self, *, floor: float, min_graded: int) -> tuple[bool, str]:
        """Whether the judge's metrics may be used, and why."""
        if self.graded < min_graded:
            return True, f"not calibrated: {self.graded} judged journeys have human labels, {min_graded} are needed"
        kappa = self.measures["quadratic_kappa"]
        said = f"quadratic weighted kappa {kappa} with people on {self.graded} journeys, the floor is {floor:g}"
        # A kappa that is not defined is that of a judge, or of people, with one level only: no measurable agreement.
        return bool(kappa.value >= floor), said


def calibrate(scores: pl.DataFrame, labels: pl.DataFrame) -> Calibration:
    """Compare a judge with people.

    Parameters
    ----------
    scores : DataFrame
        ``as_of``, ``user_id``, ``journey_id``, ``level``.
    labels : DataFrame
        ``user_id``, ``journey_id``, ``arrival_day``, ``grade``; of several grades of a journey and day the rounded mean
        counts. A label is compared with the judgement of its own day.
    """
    graded = (
        labels.group_by("user_id", "journey_id", "arrival_day")
        .agg(human=pl.col("grade").mean().round().cast(pl.Int64))
        .join(
            scores.drop_nulls("level"),
            left_on=["user_id", "journey_id", "arrival_day"],
            right_on=["user_id", "journey_id", "as_of"],
        )
        .sort("user_id", "journey_id", "arrival_day")
    )
    if graded.is_empty():
        return Calibration(0, {})
    return Calibration(len(graded), agreement(graded["human"], graded["level"].cast(pl.Int64), graded["user_id"]))
