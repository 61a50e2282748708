"""Where a journey stands: evergreen, ongoing or ended."""

from collections.abc import Collection, Mapping
from datetime import date

import polars as pl

from journeys_dagster.inference.stage_model import StageModel

EVERGREEN, SITUATIONAL = "evergreen", "situational"
ONGOING, ENDED = "ongoing", "ended"
INSPIRATION, ACTION, UNKNOWN = "inspiration", "action", "unknown"
RULE = "rule"
_MIXED_IN_EVENTS = 5
_KEY = ["user_id", "journey_id"]


def stage_journeys(
    journeys: pl.DataFrame,
    *,
    as_of: date,
    evergreen_min_span_days: int,
    evergreen_min_active_weeks_share: float,
    ended_after_days: int,
) -> pl.DataFrame:
    """Lifecycle and stage of each journey, by rule.

    Evergreen is consistent engagement over an extended period: a long span, and activity in a large share of the
    weeks since the first event. Any other journey is situational: ongoing, or ended once it has been left alone for
    long enough.

    Parameters
    ----------
    journeys : DataFrame
        Columns ``user_id``, ``journey_id``, ``first_seen``, ``last_seen`` (datetime, UTC), ``active_weeks`` (int,
        calendar weeks with an event).
    as_of : date
        Day of the snapshot.

    Returns
    -------
    DataFrame
        Columns ``user_id``, ``journey_id``, ``lifecycle``, ``stage``, ``stage_model`` (str, "rule"),
        ``return_probability`` (float64, null), ``span_days`` (int32), ``active_weeks_share`` (float64),
        ``days_since_last`` (int32); and what becomes of it if nothing happens: ``ends_on`` (date from which it counts
        as ended, unless it is evergreen), ``evergreen_until`` (date from which it no longer counts as evergreen; null
        for situational).
    """
    first_day, last_day = pl.col("first_seen").dt.date(), pl.col("last_seen").dt.date()
    weeks = pl.lit(as_of).dt.truncate("1w") - first_day.dt.truncate("1w")
    measured = journeys.select(
        *_KEY,
        stage_model=pl.lit(RULE),
        return_probability=pl.lit(None, dtype=pl.Float64),
        span_days=(last_day - first_day).dt.total_days().cast(pl.Int32),
        active_weeks_share=(pl.col("active_weeks") / (weeks.dt.total_days() // 7 + 1).clip(1)).clip(0.0, 1.0),
        days_since_last=(pl.lit(as_of) - last_day).dt.total_days().clip(0).cast(pl.Int32),
        ends_on=last_day + pl.duration(days=ended_after_days + 1),
        # Computed ahead: the same days on which active weeks / weeks >= share.
        evergreen_until=first_day.dt.truncate("1w")
        + pl.duration(weeks=_weeks_covered(evergreen_min_active_weeks_share)),
    )
    is_evergreen = (pl.col("span_days") >= evergreen_min_span_days) & (pl.lit(as_of) < pl.col("evergreen_until"))
    return measured.with_columns(
        lifecycle=pl.when(is_evergreen).then(pl.lit(EVERGREEN)).otherwise(pl.lit(SITUATIONAL)),
        evergreen_until=pl.when(is_evergreen).then(pl.col("evergreen_until")),
    ).select(
        *_KEY,
        "lifecycle",
        _stage(as_of),
        "stage_model",
        "return_probability",
        "span_days",
        "active_weeks_share",
        "days_since_last",
        "ends_on",
        "evergreen_until",
    )


def stage_by_model(
    staged: pl.DataFrame, features: pl.DataFrame, model: StageModel, *, as_of: date, ended_below: float
) -> pl.DataFrame:
    """Ongoing or ended by the probability that the user comes back, in place of the rule.

    Parameters
    ----------
    staged : DataFrame
        From `stage_journeys`.
    features : DataFrame
        Columns of the model `journey_features`, the same journeys in the same order.
    ended_below : float
        Probability below which a situational journey has ended.

    Returns
    -------
    DataFrame
        As from `stage_journeys`, with the model's id in ``stage_model``; ``ends_on`` is the day from which the
        probability lies below the threshold if nothing happens.

    Raises
    ------
    ValueError
        The journeys are not those of the features.
    """
    if not staged.select(_KEY).equals(features.select(_KEY)):
        raise ValueError("stages and features are of different journeys, or in different order")
    days_left = pl.lit(pl.Series(model.days_left(features, ended_below=ended_below), dtype=pl.Int64))
    return staged.with_columns(
        stage_model=pl.lit(model.model_id),
        return_probability=pl.Series(model.probabilities(features), dtype=pl.Float64),
        ends_on=pl.lit(as_of) + pl.duration(days=days_left),
    ).with_columns(_stage(as_of))


def phase_journeys(
    journeys: pl.DataFrame,
    usual_shares: Mapping[str, float],
    *,
    acting_actions: Collection[str],
    acting_odds: float,
) -> pl.DataFrame:
    """Whether users are still looking around or already acting, from what they did last.

    A journey is in the phase of action when the odds of acting among its newest events, with a few events of the
    usual mix added, are so many times the population's. Where the log has one kind of action only, nothing can be
    said.

    Parameters
    ----------
    journeys : DataFrame
        Columns ``user_id``, ``journey_id``, ``newest_actions`` (list of str).
    usual_shares : mapping of str to float
        Each action's share of all events.
    acting_actions : collection of str
        Actions that count as acting; the others are looking around.
    acting_odds : float

    Returns
    -------
    DataFrame
        Columns ``user_id``, ``journey_id``, ``phase``, ``acting_share`` (float64, of the newest events) and
        ``usual_acting_share`` (float64, of all events of everyone).
    """
    usual = min(sum(share for action, share in sorted(usual_shares.items()) if action in acting_actions), 1.0)
    newest = pl.col("newest_actions")
    acting = newest.list.eval(pl.element().is_in(list(acting_actions))).list.sum()
    events = newest.list.len()
    # Divided by a column: polars divides by a number as if by its inverse, but a column of one row exactly.
    share = (acting + usual * _MIXED_IN_EVENTS) / (events + _MIXED_IN_EVENTS)
    is_acting = share * (1.0 - usual) >= acting_odds * usual * (1.0 - share)
    phase = pl.when(is_acting).then(pl.lit(ACTION)).otherwise(pl.lit(INSPIRATION))
    return journeys.select(
        *_KEY,
        phase=phase if 0.0 < usual < 1.0 else pl.lit(UNKNOWN),
        acting_share=(acting / events).fill_nan(0.0),
        usual_acting_share=pl.lit(usual),
    )


def _stage(as_of: date) -> pl.Expr:
    return (
        pl.when(pl.col("lifecycle") == EVERGREEN)
        .then(pl.lit(EVERGREEN))
        .when(pl.lit(as_of) >= pl.col("ends_on"))
        .then(pl.lit(ENDED))
        .otherwise(pl.lit(ONGOING))
        .alias("stage")
    )


def _weeks_covered(share: float) -> pl.Expr:
    """Weeks since the first event of which the active ones are at least the share; a century where it is 0."""
    weeks = pl.col("active_weeks") / pl.lit(max(share, 1e-9)) + 1e-9
    return weeks.floor().clip(upper_bound=5_200).cast(pl.Int64)
