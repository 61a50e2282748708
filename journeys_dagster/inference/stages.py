"""Where a journey stands: evergreen, ongoing or ended."""

from collections.abc import Collection, Mapping
from datetime import date

import polars as pl

from journeys_dagster.inference.stage_model import StageModel
from journeys_dagster.settings import StageSettings

EVERGREEN, SITUATIONAL = "evergreen", "situational"
ONGOING, ENDED = "ongoing", "ended"
RULE = "rule"
INSPIRATION, ACTION, UNKNOWN = "inspiration", "action", "unknown"
MONTH_DAYS = 28
"""Days of a month: four weeks, from the day of a journey's first event."""
REST_PARTS = 4
"""An evergreen journey may rest for this part of the time that it has been going on."""
SOONEST_PART = 2
"""A model may see an end after this part of the silence that the rule waits for, and never later than the rule."""
_MIXED_IN_EVENTS = 5
_KEY = ["user_id", "journey_id"]


def stage_journeys(
    journeys: pl.DataFrame, *, as_of: date, settings: StageSettings, model: StageModel | None = None
) -> pl.DataFrame:
    """Lifecycle and stage of each journey.

    A journey has ended when it has been silent for longer than it outlives, see `outlived_silence`. Evergreen is
    engagement in most months of an extended period. It may rest for a quarter of that period, so that what was spread
    over many months outlasts some quiet weeks, and a busy season does not.

    Parameters
    ----------
    journeys : DataFrame
        Columns ``user_id``, ``journey_id``, ``first_seen``, ``last_seen`` (datetime, UTC), ``active_months`` (int,
        periods of `MONTH_DAYS` since its first day that have an event), and `FEATURES` of `stage_model`.
    as_of : date
        Day of the snapshot.
    model : StageModel, optional
        May see the end sooner.

    Returns
    -------
    DataFrame
        Columns ``user_id``, ``journey_id``, ``lifecycle``, ``stage``, ``stage_model`` (str, `RULE` or the model's id),
        ``span_days`` (int32), ``active_months_share`` (float64), ``days_since_last`` (int32); and what becomes of it
        if nothing happens: ``ends_on`` (date from which it counts as ended, unless it is evergreen),
        ``evergreen_until`` (date from which it no longer counts as evergreen; null for situational).
    """
    first_day, last_day = pl.col("first_seen").dt.date(), pl.col("last_seen").dt.date()
    span = (last_day - first_day).dt.total_days()
    by_rule = pl.lit(outlived_silence(journeys, settings))
    silence = by_rule if model is None else pl.lit(outlived_silence(journeys, settings, model))
    rest = pl.max_horizontal(by_rule, (span // REST_PARTS).clip(upper_bound=settings.ended_max_days))
    known_from = pl.lit(as_of) - pl.duration(days=pl.col("user_tenure_days").cast(pl.Int64))
    # A span that is half of what is known of the person stays so until twice the span has passed.
    long_until = pl.when(span < settings.evergreen_enough_days).then(known_from + pl.duration(days=2 * span + 1))
    measured = journeys.select(
        *_KEY,
        stage_model=pl.lit(RULE if model is None else model.model_id),
        span_days=span.cast(pl.Int32),
        active_months_share=(pl.col("active_months") / (span // MONTH_DAYS + 1)).clip(0.0, 1.0),
        days_since_last=(pl.lit(as_of) - last_day).dt.total_days().clip(0).cast(pl.Int32),
        ends_on=last_day + pl.duration(days=silence + 1),
        evergreen_until=pl.min_horizontal(last_day + pl.duration(days=rest + 1), long_until),
    )
    is_evergreen = (
        (pl.col("span_days") >= settings.evergreen_min_span_days)
        & (pl.col("active_months_share") >= settings.evergreen_min_active_months_share)
        & (pl.lit(as_of) < pl.col("evergreen_until"))
    )
    has_ended = pl.lit(as_of) >= pl.col("ends_on")
    stage = pl.when(has_ended).then(pl.lit(ENDED)).otherwise(pl.lit(ONGOING))
    return measured.with_columns(
        lifecycle=pl.when(is_evergreen).then(pl.lit(EVERGREEN)).otherwise(pl.lit(SITUATIONAL)),
        stage=pl.when(is_evergreen).then(pl.lit(EVERGREEN)).otherwise(stage),
        evergreen_until=pl.when(is_evergreen).then(pl.col("evergreen_until")),
    ).select(
        *_KEY,
        "lifecycle",
        "stage",
        "stage_model",
        "span_days",
        "active_months_share",
        "days_since_last",
        "ends_on",
        "evergreen_until",
    )


def outlived_silence(features: pl.DataFrame, settings: StageSettings, model: StageModel | None = None) -> pl.Series:
    """The most days without an event that each journey outlives.

    By rule some times its usual gap, within bounds. The usual gap is the mean of the gaps between its active days and
    of the person's own gap, so that the person's rhythm decides on a journey that was seen once. A model may see the
    end sooner, after half of that silence, and never later: who comes back to anything would keep everything alive.

    Parameters
    ----------
    features : DataFrame
        Has `FEATURES` of `stage_model`.

    Returns
    -------
    Series
        int64.
    """
    least, most = settings.ended_min_days, settings.ended_max_days
    # The person's own gap is theirs to the last day they came, so that silence does not stretch it. Of who came once
    # it is not known.
    between = pl.col("user_tenure_days") - pl.col("user_days_since_last")
    own_gap = pl.when(pl.col("user_active_days") > 1).then(between / (pl.col("user_active_days") - 1))
    span = pl.col("days_since_first") - pl.col("days_since_last")
    usual_gap = (span + own_gap.fill_null(least).clip(upper_bound=least)) / pl.col("days_active")
    by_rule = (settings.ended_after_gaps * usual_gap).floor().cast(pl.Int64).clip(least).clip(upper_bound=most)
    if model is None:
        return features.select(by_rule.alias("silence"))["silence"]
    told = pl.col("days_since_last").cast(pl.Int64) + pl.lit(pl.Series(model.days_left(features))) - 1
    soonest = (by_rule // SOONEST_PART).clip(least)
    return features.select(silence=pl.min_horizontal(pl.max_horizontal(told, soonest), by_rule))["silence"]


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
