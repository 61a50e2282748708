"""Who is notified of which journey, by what channel and when; and of everyone else, why not."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.notification.clock import user_hours
from journeys_dagster.notification.draws import draws, user_seeds
from journeys_dagster.notification.features import FEATURES, FEATURES_TYPE, send_features
from journeys_dagster.notification.send_model import SendModel
from journeys_dagster.settings import NotificationSettings

BEST, EXPLORED = "best", "explored"
WHY_NOT = (
    "holdout",
    "opted out",
    "no journey that may be notified",
    "ended",
    "cap",
    "cool-down",
    "score below the bar",
    "quiet hours",
)
"""Reasons, in the order in which they are looked at: the first after which nothing is left is the user's."""
RULE = "rule"
DECISION_SCHEMA: Mapping[str, Any] = {
    "user_id": pl.String,
    "is_sent": pl.Boolean,
    "place": pl.Int32,
    "reason": pl.String,
    "journey_id": pl.String,
    "channel": pl.String,
    "utc_hour": pl.Int32,
    "local_hour": pl.Int32,
    "score": pl.Float64,
    "scored_by": pl.String,
    "propensity": pl.Float64,
    "features": FEATURES_TYPE,
}
_CHOSEN = {name: pl.lit(None, dtype=DECISION_SCHEMA[name]) for name in ("place", "reason", "propensity", "is_sent")}
_HOLDOUT, _DRAWS_A_PLACE = 0, 2
_ALL = ""


def rule_score(settings: NotificationSettings) -> pl.Expr:
    """What a notification is worth while nothing has been learnt: that it is a journey, that the user returns, and that
    little that resembles it was sent lately.
    """
    worth = pl.col("confidence") * pl.col("return_probability")
    return worth * pl.lit(settings.fatigue_penalty) ** pl.col("similar_lately")


def decide(
    users: pl.Series,
    *,
    journeys: pl.DataFrame,
    sent: pl.DataFrame,
    similar: pl.DataFrame,
    opt_outs: pl.DataFrame,
    hidden: pl.DataFrame,
    hours: pl.DataFrame,
    day: date,
    settings: NotificationSettings,
    model: SendModel | None = None,
) -> pl.DataFrame:
    """Decide on everyone in scope. What is decided of a user depends on that user's rows alone.

    For each notification of a user, the best of what may be sent is taken, or, for `exploration_share` of them, any of
    it by equal chances. `propensity` is the probability of what was taken, given what was taken before it on that day.

    Parameters
    ----------
    users : Series
        Ids of those in scope, each once.
    journeys : DataFrame
        What they have listed: ``user_id``, ``journey_id``, ``stage``, ``may_notify``, ``confidence``,
        ``return_probability``, ``list_rank``, ``is_evergreen``, ``idle_days``, ``events``.
    sent : DataFrame
        What was sent before: ``user_id``, ``journey_id``, ``channel``, ``day``, ``opened``, ``clicked``.
    similar : DataFrame
        From `similar_lately`.
    opt_outs : DataFrame
        ``user_id``, ``channel``; an empty channel stands for all.
    hidden : DataFrame
        ``user_id``, ``journey_id``: what users do not want to see. Lists are without it; should one not be, it is
        not sent.
    hours : DataFrame
        Activity: ``user_id``, ``hour`` (0 to 23, UTC), ``events``.
    day : date
        The day on which notifications are sent.
    model : SendModel, optional
        What scores, by the probability of a click; else the rule does. Each has its own bar.

    Returns
    -------
    DataFrame
        Columns of `DECISION_SCHEMA`, sorted by user and ``place``: of who is notified a row for each notification, its
        reason `BEST` or `EXPLORED`; of everyone else one with the reason from `WHY_NOT`, and nothing else. ``features``
        are what `send_features` gives, to learn from.
    """
    users = users.unique().sort()
    numbered = pl.DataFrame({"user_id": users}).with_row_index("user")
    wanted = journeys.join(hidden, on=["user_id", "journey_id"], how="anti").join(
        similar, on=["user_id", "journey_id"], how="left"
    )
    frames = {"journeys": wanted, "sent": sent, "opt_outs": opt_outs, "hours": hours}
    number = {name: frame.join(numbered, on="user_id").drop("user_id") for name, frame in frames.items()}
    seeds = user_seeds(users, settings.salt)
    is_held_out = draws(seeds, _HOLDOUT) < settings.holdout_share
    clocks = user_hours(len(users), number["hours"], settings).with_row_index("user")
    left = _channels_left(numbered["user"], number["sent"], day, settings)
    steps = _steps(number, is_held_out, clocks, left, day=day, settings=settings, model=model)
    chosen = _choose(steps[-1], seeds, day, settings)
    told = {name: number[name] for name in ("sent", "hours")}
    chosen = send_features(chosen, **told, day=day).with_columns(
        features=pl.struct(FEATURES), scored_by=pl.lit(RULE if model is None else model.model_id)
    )
    rows = pl.concat([chosen, _why_not(numbered["user"], steps)], how="diagonal_relaxed").sort("user", "place")
    decided = rows.with_columns(user_id=users.gather(rows["user"])).select(*DECISION_SCHEMA)
    return decided.cast(pl.Schema(DECISION_SCHEMA))  # type: ignore[arg-type]


def _steps(
    frames: Mapping[str, pl.DataFrame],
    is_held_out: NDArray[np.bool_],
    clocks: pl.DataFrame,
    left: pl.DataFrame,
    *,
    day: date,
    settings: NotificationSettings,
    model: SendModel | None,
) -> Sequence[pl.DataFrame]:
    """What is left after each of `WHY_NOT`: rows of users, then of their journeys and channels."""
    in_use = clocks.select("user").filter(pl.Series(~is_held_out))
    out = frames["opt_outs"].select("user", "channel").unique()
    from_all = out.filter(pl.col("channel") == _ALL)
    reached = (
        left.join(in_use, on="user", how="semi")
        .join(from_all, on="user", how="anti")
        .join(out, on=["user", "channel"], how="anti")
    )
    journeys = frames["journeys"].with_columns(pl.col("similar_lately").fill_null(0.0))
    listed = journeys.filter("may_notify", pl.col("confidence") >= settings.min_confidence).join(reached, on="user")
    ongoing = listed.filter(pl.col("stage") != "ended")
    uncapped = ongoing.filter(pl.col("user_left") > 0, pl.col("channel_left") > 0)
    since = pl.lit(day) - pl.col("day") < timedelta(days=settings.cooldown_days)
    warm = frames["sent"].filter(since).select("user", "journey_id").unique()
    cool = uncapped.join(warm, on=["user", "journey_id"], how="anti").join(clocks, on="user", how="left")
    if model is None:
        good = cool.with_columns(score=rule_score(settings)).filter(pl.col("score") >= pl.col("min_score"))
    else:
        featured = send_features(cool, sent=frames["sent"], hours=frames["hours"], day=day)
        scored = cool.with_columns(score=pl.Series(model.scores(featured), dtype=pl.Float64))
        good = scored.filter(pl.col("score") >= pl.col("min_click"))
    awake = good.drop_nulls("utc_hour")
    return in_use, reached, listed, ongoing, uncapped, cool, good, awake


def _channels_left(users: pl.Series, sent: pl.DataFrame, day: date, settings: NotificationSettings) -> pl.DataFrame:
    """Of each user and channel: notifications left by all channels and by this one; its place and bar."""
    channels = pl.DataFrame(
        [(name, place, each.max_per_day, each.max_per_week, each.min_score, each.min_click)
         for place, (name, each) in enumerate(settings.channels.items())],
        schema={"channel": pl.String, "channel_place": pl.Int32, "a_day": pl.Int32, "a_week": pl.Int32,
                "min_score": pl.Float64, "min_click": pl.Float64},
        orient="row",
    )  # fmt: skip
    age = (pl.lit(day) - pl.col("day")).dt.total_days()
    counts = [(age == 0).sum().cast(pl.Int32).alias("today"), (age < 7).sum().cast(pl.Int32).alias("this_week")]
    so_far = sent.filter(age >= 0)
    of_user = so_far.group_by("user").agg(counts)
    of_channel = so_far.group_by("user", "channel").agg(counts)
    left = pl.DataFrame({"user": users}).join(channels, how="cross").join(of_user, on="user", how="left")
    left = left.with_columns(user_left=_left(pl.lit(settings.max_per_day), pl.lit(settings.max_per_week)))
    left = left.drop("today", "this_week").join(of_channel, on=["user", "channel"], how="left")
    left = left.with_columns(channel_left=_left(pl.col("a_day"), pl.col("a_week")))
    return left.select("user", "channel", "channel_place", "min_score", "min_click", "user_left", "channel_left")


def _left(a_day: pl.Expr, a_week: pl.Expr) -> pl.Expr:
    return pl.min_horizontal(a_day - pl.col("today").fill_null(0), a_week - pl.col("this_week").fill_null(0))


def _choose(
    candidates: pl.DataFrame, seeds: NDArray[np.uint64], day: date, settings: NotificationSettings
) -> pl.DataFrame:
    """One notification after another of each user, until the caps are reached or nothing is left."""
    keys = ["user", "score", "channel_place", "journey_id"]
    rest, share = candidates, settings.exploration_share
    taken: list[pl.DataFrame] = []
    for place in range(settings.max_per_day):
        explores = draws(seeds, _DRAWS_A_PLACE * place + 1, day=day) < share
        drawn = draws(seeds, _DRAWS_A_PLACE * place + 2, day=day)
        number = pl.int_range(pl.len()).over("user")
        rest = rest.sort(keys, descending=[False, True, False, False])
        counted = rest.with_columns(number=number, choices=pl.len().over("user"))
        user = counted["user"].to_numpy()
        counted = counted.with_columns(
            is_explored=pl.Series(explores[user], dtype=pl.Boolean), drawn=pl.Series(drawn[user], dtype=pl.Float64)
        )
        any_one = (pl.col("drawn") * pl.col("choices")).floor().cast(pl.Int64)
        wanted = pl.when("is_explored").then(pl.min_horizontal(any_one, pl.col("choices") - 1)).otherwise(0)
        one = counted.filter(pl.col("number") == wanted).select(
            *candidates.columns,
            place=pl.lit(place + 1, dtype=pl.Int32),
            reason=pl.when("is_explored").then(pl.lit(EXPLORED)).otherwise(pl.lit(BEST)),
            propensity=share / pl.col("choices") + pl.when(pl.col("number") == 0).then(1 - share).otherwise(0.0),
            is_sent=pl.lit(value=True),
        )
        taken.append(one)
        used = one.select("user", "channel", used=pl.lit(1, dtype=pl.Int32))
        rest = (
            rest.join(one, on=["user", "journey_id"], how="anti")
            .join(used, on=["user", "channel"], how="left")
            .with_columns(
                user_left=pl.col("user_left") - 1, channel_left=pl.col("channel_left") - pl.col("used").fill_null(0)
            )
            .filter(pl.col("user_left") > 0, pl.col("channel_left") > 0)
            .drop("used")
        )
    return pl.concat(taken, how="vertical") if taken else candidates.clear().with_columns(**_CHOSEN)


def _why_not(users: pl.Series, steps: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """The reason of each user of whom nothing was left."""
    reason = np.full(len(users), -1)
    for place, rest in enumerate(steps):
        is_left = np.zeros(len(users), dtype=np.bool_)
        is_left[rest["user"].to_numpy()] = True
        reason[(reason < 0) & ~is_left] = place
    without = np.flatnonzero(reason >= 0)
    return pl.DataFrame(
        {"user": users.gather(without), "reason": pl.Series(WHY_NOT).gather(reason[without])}
    ).with_columns(is_sent=pl.lit(value=False), place=pl.lit(0, dtype=pl.Int32))
