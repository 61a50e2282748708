"""Whom to notify of what, and of everyone else why not."""

from datetime import date, timedelta

import polars as pl

from journeys_dagster.inference.frames import Frames
from journeys_dagster.notification.decisions import DECISION_SCHEMA, WHY_NOT, decide
from journeys_dagster.notification.sends import SENT
from journeys_dagster.orchestration.snapshot_asset import Snapshot, snapshot_asset
from journeys_dagster.reporting.plots import bars
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import Settings
from journeys_dagster.sql.models import tables_of
from journeys_dagster.tables import boolean, double, integer, text

_USERS = "select user_id from users_in_scope where as_of = $as_of and {of_batch}"
_JOURNEYS = """
    select user_id, journey_id, stage, may_notify, confidence, return_probability
    from user_journeys
    where as_of = $as_of and {of_batch}
"""
_OPT_OUTS = """
    select user_id, about as channel
    from controls_in_force
    where control = 'opt_out' and valid_from <= $as_of and $as_of < valid_until and {of_batch}
"""
_HOURS = """
    select user_id, cast(hour(occurred_at) as integer) as hour, count(*) as events
    from user_events
    where as_of = $as_of and cast(occurred_at as date) > $clock_since and {of_batch}
    group by user_id, hour(occurred_at)
"""
_REASONS = "select reason, count(*) as users from notification_decisions where as_of = $as_of group by reason"
_WEEK = 7


def with_history(snapshot: Snapshot, batch: int, frames: dict[str, pl.DataFrame]) -> Frames:
    """What was sent to a batch of users lately, and when they are active."""
    chosen, as_of = snapshot.settings.notifications, snapshot.as_of
    since = as_of - timedelta(days=max(_WEEK, chosen.cooldown_days))
    clock_since = as_of - timedelta(days=chosen.clock_days)
    return {
        **frames,
        "sent": snapshot.read(SENT, batch=batch, params={"since": since, "feedback_days": chosen.feedback_days}),
        "hours": snapshot.read(_HOURS, batch=batch, params={"clock_since": clock_since}),
    }


def sent_and_explored(rows: pl.DataFrame) -> dict[str, float]:
    """Notifications, those of them that explore, and users who are notified of nothing."""
    return {
        "notifications": int(rows["is_sent"].sum()),
        "explored": rows.filter(reason="explored").height,
        "users_not_notified": rows.filter(~pl.col("is_sent")).height,
    }


def reasons(warehouse: Warehouse, as_of: date) -> tuple[bytes, str]:
    """How many notifications there are, and of how many users there are none for which reason."""
    counts = dict(warehouse.query(_REASONS, {"as_of": as_of}).iter_rows())
    order = ["best", "explored", *WHY_NOT]
    title = f"notifications, and why there are none, {as_of}"
    png = bars(order, [counts.get(each, 0) for each in order], title=title, x_label="reason", y_label="rows")
    return png, title


@snapshot_asset(
    grain="one row per as_of and notification, and one per as_of and user who gets none",
    columns={
        "is_sent": boolean("whether it is to be sent, on the day after as_of; else the row says why there is none"),
        "place": integer("the user's first, second, … notification of the day; 0 for none"),
        "reason": text(f"best or explored; else {', '.join(WHY_NOT)}"),
        "journey_id": text("the journey it is about", nullable=True),
        "channel": text("by what it is sent", nullable=True),
        "utc_hour": integer("hour at which it is to be sent, UTC", nullable=True),
        "local_hour": integer("the same in the user's clock", nullable=True),
        "score": double("what it is worth: confidence × probability of a return", nullable=True),
        "propensity": double("probability with which it was chosen, given those of the day before it", nullable=True),
    },
    key=("as_of", "user_id", "place"),
    reads={"users": _USERS, "journeys": _JOURNEYS, "opt_outs": _OPT_OUTS},
    read=with_history,
    # Announced lists alone are decided on.
    deps=(*tables_of(SENT, _HOURS), "user_snapshots"),
    kinds={"polars"},
    count=sent_and_explored,
    plot=reasons,
    decides=False,
    only_with=lambda settings: settings.notifications.enabled,
)
def notification_decisions(frames: Frames, as_of: date, settings: Settings) -> pl.DataFrame:
    """Who is to be notified the day after, of which of the journeys they have listed, by what channel, at which hour,
    and with which probability that was chosen; and of everyone else the one reason why not. Nothing is sent from here.
    """
    return decide(
        frames["users"]["user_id"],
        journeys=frames["journeys"],
        sent=frames["sent"],
        opt_outs=frames["opt_outs"],
        hours=frames["hours"],
        day=as_of + timedelta(days=1),
        settings=settings.notifications,
    ).select(*DECISION_SCHEMA)
