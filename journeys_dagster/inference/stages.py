"""Where a journey stands: evergreen, ongoing or ended."""

from datetime import date

import polars as pl

EVERGREEN, SITUATIONAL = "evergreen", "situational"
ONGOING, ENDED = "ongoing", "ended"


def stage_journeys(
    journeys: pl.DataFrame,
    *,
    as_of: date,
    evergreen_min_span_days: int,
    evergreen_min_active_weeks_share: float,
    ended_after_days: int,
) -> pl.DataFrame:
    """Lifecycle and stage of each journey.

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
        Columns ``user_id``, ``journey_id``, ``lifecycle``, ``stage``, ``span_days`` (int32), ``active_weeks_share``
        (float64), ``days_since_last`` (int32); and what becomes of it if nothing happens: ``ends_on`` (date from
        which it counts as ended, unless it is evergreen), ``evergreen_until`` (date from which it no longer counts
        as evergreen; null for situational).
    """
    first_day, last_day = pl.col("first_seen").dt.date(), pl.col("last_seen").dt.date()
    weeks = pl.lit(as_of).dt.truncate("1w") - first_day.dt.truncate("1w")
    measured = journeys.select(
        "user_id",
        "journey_id",
        span_days=(last_day - first_day).dt.total_days().cast(pl.Int32),
        active_weeks_share=(pl.col("active_weeks") / (weeks.dt.total_days() // 7 + 1).clip(1)).clip(0.0, 1.0),
        days_since_last=(pl.lit(as_of) - last_day).dt.total_days().clip(0).cast(pl.Int32),
        ends_on=last_day + pl.duration(days=ended_after_days + 1),
        # The same days as active weeks / weeks >= share, told in advance.
        evergreen_until=first_day.dt.truncate("1w")
        + pl.duration(weeks=_weeks_covered(evergreen_min_active_weeks_share)),
    )
    is_evergreen = (pl.col("span_days") >= evergreen_min_span_days) & (pl.lit(as_of) < pl.col("evergreen_until"))
    return measured.with_columns(
        lifecycle=pl.when(is_evergreen).then(pl.lit(EVERGREEN)).otherwise(pl.lit(SITUATIONAL)),
        stage=pl.when(is_evergreen)
        .then(pl.lit(EVERGREEN))
        .when(pl.col("days_since_last") > ended_after_days)
        .then(pl.lit(ENDED))
        .otherwise(pl.lit(ONGOING)),
        evergreen_until=pl.when(is_evergreen).then(pl.col("evergreen_until")),
    ).select(
        "user_id",
        "journey_id",
        "lifecycle",
        "stage",
        "span_days",
        "active_weeks_share",
        "days_since_last",
        "ends_on",
        "evergreen_until",
    )


def _weeks_covered(share: float) -> pl.Expr:
    """Weeks since the first event of which the active ones are at least the share; a century where it is 0."""
    weeks = pl.col("active_weeks") / pl.lit(max(share, 1e-9)) + 1e-9
    return weeks.floor().clip(upper_bound=5_200).cast(pl.Int64)
