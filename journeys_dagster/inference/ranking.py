"""Scoring a user's journeys: how much, how often, and whether they have rested for longer than they usually do."""

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta

import polars as pl

from journeys_dagster.inference.ranking_model import RankingModel

HEURISTIC = "heuristic"
_WEEK, _GAPS = 7.0, 3.0
"""Days that are added to a journey's history, so that a single sitting is no habit; and usual gaps between active days
after which a silence has cut the score to 1/e."""
_HALF_RETURN, _RETURN_SLOPE = 0.6, 1.9
"""Strength at which a return is as likely as not, and how fast the log odds rise with its logarithm."""


def recency_days(as_of: date, event_time: pl.Expr) -> pl.Expr:
    """Days from a time to the end of `as_of`, at least 0."""
    end = datetime.combine(as_of + timedelta(days=1), time())
    return (pl.lit(end) - event_time).dt.total_days(fractional=True).clip(lower_bound=0.0)


def journey_strength(
    weight: pl.Expr, days_active: pl.Expr, days_since_first: pl.Expr, days_since_last: pl.Expr
) -> pl.Expr:
    """The geometric mean of how much and how often, fading with a silence by the journey's own rhythm.

    That is sqrt(weight × active days / (age + 7)) × exp(−days since last / (3 × usual gap)), the usual gap being the
    days from first to last and a week more, per active day: what was seen once fades over three weeks, a habit of every
    third day over ten days.
    """
    # Polars divides a column by a number as if by its inverse, but a column of one row exactly: a user's score must
    # have the same bits alone and among others.
    often = days_active / (days_since_first + _WEEK)
    usual_gap = (days_since_first - days_since_last + _WEEK) / days_active
    return (weight * often).sqrt() * (-days_since_last / (usual_gap * _GAPS)).exp()


def rank_by_heuristic(journeys: pl.DataFrame, *, as_of: date, sure_from: float) -> pl.DataFrame:
    """Score = `journey_strength`, times confidence / `sure_from` where that is less than 1.

    How sure it is decides what is listed. Among what is, the order is by what the person is likely to go on with; what
    is not comes first only if it is far stronger than the rest. The probability of a return, of which log odds rise
    with the logarithm of the strength, is a rule of thumb.

    Parameters
    ----------
    journeys : DataFrame
        Columns ``user_id``, ``journey_id``, ``weight``, ``confidence`` (float64), ``days_active`` (int),
        ``first_seen``, ``last_seen`` (datetime, UTC).
    as_of : date
        Day of the snapshot.
    sure_from : float
        Confidence from which a journey is listed.

    Returns
    -------
    DataFrame
        Columns ``user_id``, ``journey_id``, ``rank`` (int32, 1 is best; ties by ``journey_id``), ``score``,
        ``confidence``, ``return_probability``, ``frequency``, ``recency_days`` (float64), ``ranker``; sorted by user
        and rank.
    """
    first, last = (recency_days(as_of, pl.col(name)) for name in ("first_seen", "last_seen"))
    strength = journeys.select(strength=journey_strength(pl.col("weight"), pl.col("days_active"), first, last))
    log_odds = _RETURN_SLOPE * (pl.col("strength") * (1.0 / _HALF_RETURN)).log()
    return (
        _described(journeys, as_of)
        .with_columns(strength.to_series())
        .with_columns(
            score=pl.col("strength") * _sureness(sure_from),
            return_probability=1.0 / (1.0 + (-log_odds).exp()),
            ranker=pl.lit(HEURISTIC),
        )
        .pipe(_ranked)
    )


def rank_by_model(
    journeys: pl.DataFrame,
    features: pl.DataFrame,
    model: RankingModel,
    *,
    as_of: date,
    actions: Sequence[str],
    sure_from: float,
) -> pl.DataFrame:
    """Score = what the trees say, less where it is not sure; their calibrated probability is that of a return.

    Parameters
    ----------
    journeys, sure_from
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
            score=pl.Series(scores, dtype=pl.Float64) * _sureness(sure_from),
            return_probability=pl.Series(model.probabilities(scores), dtype=pl.Float64),
            ranker=pl.lit(model.model_id),
        )
        .pipe(_ranked)
    )


def _sureness(sure_from: float) -> pl.Expr:
    """Confidence as a share of what a journey is listed from, at most 1."""
    return (pl.col("confidence") * (1.0 / sure_from)).clip(upper_bound=1.0) if sure_from > 0 else pl.lit(1.0)


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
