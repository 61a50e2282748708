"""What a model of sends looks at, as it is known when a send is decided."""

from collections.abc import Mapping
from datetime import date

import polars as pl

HISTORY_DAYS = 56
"""Days of sends before that are looked at, and what became of them."""
FEATURES = (
    *("confidence", "return_probability", "list_rank", "is_evergreen", "idle_days", "events"),
    *("similar_lately", "sent_7", "sent_56", "days_since_sent", "opens", "clicks", "open_rate", "click_rate"),
    *("channel_sent", "channel_clicks", "journey_sent", "journey_clicks"),
    *("channel_place", "local_hour", "weekday", "user_events", "hour_share"),
)
FEWER_IS_BETTER = ("similar_lately", "sent_7")
"""What a model may only count against a send: fatigue."""
FEATURES_TYPE = pl.Struct(dict.fromkeys(FEATURES, pl.Float64))
_PRIOR_SENDS, _OPENED, _CLICKED = 4.0, 0.3, 0.1
"""Rates of a user are drawn towards those of few sends that went as most do."""


def send_features(candidates: pl.DataFrame, *, sent: pl.DataFrame, hours: pl.DataFrame, day: date) -> pl.DataFrame:
    """Add the columns of `FEATURES`, float64; what is not known is null.

    Parameters
    ----------
    candidates : DataFrame
        ``user``, ``journey_id``, ``channel``, ``channel_place``, ``utc_hour``, ``local_hour``, and of the journey
        ``confidence``, ``return_probability``, ``list_rank``, ``is_evergreen``, ``idle_days``, ``events``,
        ``similar_lately``.
    sent : DataFrame
        What was sent before: ``user``, ``journey_id``, ``channel``, ``day``, ``opened``, ``clicked``.
    hours : DataFrame
        Activity: ``user``, ``hour``, ``events``.
    day : date
        On which they would be sent.
    """
    age = (pl.lit(day) - pl.col("day")).dt.total_days()
    before = sent.filter(age.is_between(1, HISTORY_DAYS)).with_columns(
        age=age, **{name: pl.col(name).fill_null(value=False) for name in ("opened", "clicked")}
    )
    count, clicks = pl.len().cast(pl.Float64), pl.col("clicked").sum().cast(pl.Float64)
    of_user = before.group_by("user").agg(
        sent_7=(pl.col("age") <= 7).sum().cast(pl.Float64),
        sent_56=count,
        days_since_sent=pl.col("age").min().cast(pl.Float64),
        opens=pl.col("opened").sum().cast(pl.Float64),
        clicks=clicks,
    )
    of_channel = before.group_by("user", "channel").agg(channel_sent=count, channel_clicks=clicks)
    of_journey = before.group_by("user", "journey_id").agg(journey_sent=count, journey_clicks=clicks)
    activity = hours.group_by("user").agg(user_events=pl.col("events").sum().cast(pl.Float64))
    at_hour = hours.select("user", utc_hour=pl.col("hour").cast(pl.Int32), hour_events=pl.col("events"))
    counts = (
        "sent_7",
        "sent_56",
        "opens",
        "clicks",
        "channel_sent",
        "channel_clicks",
        "journey_sent",
        "journey_clicks",
    )
    joined = (
        candidates.join(of_user, on="user", how="left", maintain_order="left")
        .join(of_channel, on=["user", "channel"], how="left", maintain_order="left")
        .join(of_journey, on=["user", "journey_id"], how="left", maintain_order="left")
        .join(activity, on="user", how="left", maintain_order="left")
        .join(at_hour, on=["user", "utc_hour"], how="left", maintain_order="left")
        .with_columns(pl.col(*counts, "user_events", "hour_events").fill_null(0.0))
    )
    trials = pl.col("sent_56") + _PRIOR_SENDS
    derived: Mapping[str, pl.Expr] = {
        "open_rate": (pl.col("opens") + _PRIOR_SENDS * _OPENED) / trials,
        "click_rate": (pl.col("clicks") + _PRIOR_SENDS * _CLICKED) / trials,
        "weekday": pl.lit(float(day.weekday())),
        "hour_share": pl.col("hour_events") / pl.col("user_events").clip(lower_bound=1.0),
    }
    return joined.with_columns(**derived).with_columns(pl.col(FEATURES).cast(pl.Float64))
