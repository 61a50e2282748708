"""Scoring a user's journeys: how sure it is that they are any, how much, and how lately."""

import math
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta

import polars as pl

from journeys_dagster.inference.ranking_model import RankingModel

HEURISTIC = "heuristic"
_HALF_RETURN, _RETURN_SLOPE = 6.0, 1.25
"""Score at which a return is as likely as not, and how fast the log odds rise with its logarithm."""


def recency_days(as_of: date, event_time: pl.Expr) -> pl.Expr:
    """Days from a time to the end of `as_of`, at least 0."""
    end = datetime.combine(as_of + timedelta(days=1), time())
    return (pl.lit(end) - event_time).dt.total_days(fractional=True).clip(lower_bound=0.0)


def heuristic_score(frequency: pl.Expr, recency_days: pl.Expr, *, recency_decay_days: float) -> pl.Expr:
    """Frequency times exp(-recency / decay)."""
    # Polars divides a column by a number as if by its inverse, but a column of one row exactly. With the inverse
    # a user's score has the same bits alone and among others.
    return frequency * (recency_days * (-1.0 / recency_decay_days)).exp()


def rank_by_heuristic(journeys: pl.DataFrame, *, as_of: date, recency_decay_days: float) -> pl.DataFrame:
    """Score = confidence * frequency * exp(-recency / decay).

    Frequency times recency is the strongest simple rule on real purchases. Frequency is the journey's weight, the
    weighted number of its events. The probability of a return, of which log odds rise with the logarithm of frequency
    times recency, is a rule of thumb.

    Parameters
    ----------
    journeys : DataFrame
        Columns ``user_id``, ``journey_id``, ``weight``, ``confidence`` (float64), ``last_seen`` (datetime, UTC).
    as_of : date
        Day of the snapshot.

    Returns
    -------
    DataFrame
        Columns ``user_id``, ``journey_id``, ``rank`` (int32, 1 is best; ties by ``journey_id``), ``score``,
        ``confidence``, ``return_probability``, ``frequency``, ``recency_days`` (float64), ``ranker``; sorted by user
        and rank.
    """
    strength = heuristic_score(pl.col("frequency"), pl.col("recency_days"), recency_decay_days=recency_decay_days)
    log_odds = _RETURN_SLOPE * (pl.col("strength").log() - math.log(_HALF_RETURN))
    return (
        _described(journeys, as_of)
        .with_columns(strength=strength)
        .with_columns(
            score=pl.col("confidence") * pl.col("strength"),
            return_probability=1.0 / (1.0 + (-log_odds).exp()),
            ranker=pl.lit(HEURISTIC),
        )
        .pipe(_ranked)
    )


def rank_by_model(
    journeys: pl.DataFrame, features: pl.DataFrame, model: RankingModel, *, as_of: date, actions: Sequence[str]
) -> pl.DataFrame:
    """Score = confidence times what the trees say; their calibrated probability is that of a return.

    Parameters
    ----------
    journeys : DataFrame
        As for `rank_by_heuristic`.
    features : DataFrame
        Columns of the model `journey_features`, the same journeys in the same order.
    actions : sequence of str
        Names of its ``action_counts``.

    Returns
    -------
    DataFrame
        As from `rank_by_heuristic`.

    Raises
    ------
    RankingModelError
        The model was trained on other features.
    ValueError
        The journeys are not those of the features.
    """
    key = ["user_id", "journey_id"]
    if not journeys.select(key).equals(features.select(key)):
        raise ValueError("journeys and features are of different journeys, or in different order")
    scores = model.scores(features, actions)
    return (
        _described(journeys, as_of)
        .with_columns(
            score=pl.col("confidence") * pl.Series(scores, dtype=pl.Float64),
            return_probability=pl.Series(model.probabilities(scores), dtype=pl.Float64),
            ranker=pl.lit(model.model_id),
        )
        .pipe(_ranked)
    )


def _described(journeys: pl.DataFrame, as_of: date) -> pl.DataFrame:
    return journeys.select(
        "user_id",
        "journey_id",
        "confidence",
        frequency=pl.col("weight"),
        recency_days=recency_days(as_of, pl.col("last_seen")),
    )


def _ranked(scored: pl.DataFrame) -> pl.DataFrame:
    return (
        scored.sort("user_id", "score", "journey_id", descending=[False, True, False])
        .with_columns(rank=(pl.int_range(pl.len()).over("user_id") + 1).cast(pl.Int32))
        .select(
            "user_id",
            "journey_id",
            "rank",
            "score",
            "confidence",
            "return_probability",
            "frequency",
            "recency_days",
            "ranker",
        )
    )
