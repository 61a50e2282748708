"""Whom to notify of what, and of everyone else why not."""

from datetime import date, timedelta

import polars as pl

from journeys_dagster.inference.embedding import model_revision
from journeys_dagster.inference.frames import Frames
from journeys_dagster.notification.arms import CONTROL_ARM, decide_by_arm
from journeys_dagster.notification.decisions import WHY_NOT, decide
from journeys_dagster.notification.features import HISTORY_DAYS
from journeys_dagster.notification.leads import LEADS, with_leads
from journeys_dagster.notification.send_model import SendModel
from journeys_dagster.notification.sends import SEND_FEATURES, SENT
from journeys_dagster.notification.similar import HALF_LIVES, similar_lately
from journeys_dagster.orchestration.reads import embeddings_of
from journeys_dagster.orchestration.snapshot_asset import Snapshot, snapshot_asset
from journeys_dagster.reporting.plots import bars
from journeys_dagster.resources.trained_models import SEND_MODEL, stored_model
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import NotificationSettings, Settings, settings_of_arms
from journeys_dagster.sql.models import tables_of
from journeys_dagster.tables import Column, boolean, double, integer, text

_USERS = "select user_id from users_in_scope where as_of = $as_of and {of_batch}"
_JOURNEYS = """
    select user_id, journey_id, stage, may_notify, confidence, return_probability, rank as list_rank,
        lifecycle = 'evergreen' as is_evergreen, cast($as_of + 1 - cast(last_seen as date) as integer) as idle_days,
        search_count + action_count as events
    from user_journeys
    where as_of = $as_of and {of_batch}
"""
_HIDDEN = "select user_id, journey_id from unwanted_journeys where as_of = $as_of and {of_batch}"
# Where nothing was sent lately, nothing can resemble it.
_KEYWORDS = """
    select user_id, journey_id, list_transform(keywords, lambda each: each.keyword) as keywords
    from user_journeys
    where as_of = $as_of and {of_batch}
        and user_id in (select user_id from notification_sends where as_of < $as_of and day >= $since and {of_batch})
"""
_HEADS = """
    select user_id, journey_id, keywords[1].keyword as keyword, keywords[1].shown as lead
    from user_journeys
    where as_of = $as_of and may_notify and {of_batch}
"""
_ITEMS = f"""
    with heads as ({_HEADS}),
    items as (select keyword, item_id, rank from keyword_items where as_of = $as_of),
    seen as (select user_id, item_id from user_events where as_of = $as_of and item_id is not null and {{of_batch}})
    select user_id, journey_id, item_id as lead
    from heads join items using (keyword)
    anti join seen using (user_id, item_id)
    qualify row_number() over (partition by user_id, journey_id order by rank) = 1
"""
_RELATED = """
    with named as (
        select user_id, journey_id, keyword from names where as_of = $as_of and {of_batch}
    ),
    offered as (
        select user_id, related, rank, because_of from expansions where as_of = $as_of and {of_batch}
    )
    select user_id, journey_id, arg_min(related, rank) as lead
    from offered join named using (user_id)
    where because_of = keyword
    group by user_id, journey_id
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


def with_history(snapshot: Snapshot, batch: int, frames: dict[str, pl.DataFrame]) -> Frames:
    """What was sent to a batch of users before, what resembles it, when they are active, and the model that fits."""
    chosen, as_of, warehouse = snapshot.settings.notifications, snapshot.as_of, snapshot.warehouse
    in_arms = _of_all_arms(snapshot.settings)
    cooldown_days = max(each.cooldown_days for each in in_arms)
    since = as_of - timedelta(days=max(HISTORY_DAYS, cooldown_days, HALF_LIVES * chosen.fatigue_half_life_days))
    clock_since = as_of - timedelta(days=chosen.clock_days)
    sent = snapshot.read(SENT, batch=batch, params={"since": since, "feedback_days": chosen.feedback_days})
    listed = snapshot.read(_KEYWORDS, batch=batch, params={"since": since})
    keywords = pl.concat([sent["keywords"], listed["keywords"]]).explode(empty_as_null=True, keep_nulls=True)
    embedding = snapshot.settings.embedding
    revision = model_revision(embedding.model, embedding.revision)
    is_scored = any(each.use_model for each in in_arms)
    model = stored_model(warehouse, snapshot.settings, SEND_MODEL, as_of) if is_scored else None
    return {
        **frames,
        "sent": sent,
        "listed_keywords": listed,
        "embeddings": embeddings_of(warehouse, keywords.drop_nulls().unique(), revision),
        "hours": snapshot.read(_HOURS, batch=batch, params={"clock_since": clock_since}),
        **({} if model is None else {"model": model}),
    }


def _of_all_arms(settings: Settings) -> list[NotificationSettings]:
    """Settings that some user may be decided on by: what is read is enough for each."""
    base = settings.notifications
    arms = [arm for experiment in settings.experiments.declared for arm in experiment.arms.values()]
    return [base, *(settings_of_arms(base, [arm]) for arm in arms)]


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
    order = ["best", "explored", *WHY_NOT, CONTROL_ARM]
    title = f"notifications, and why there are none, {as_of}"
    png = bars(order, [counts.get(each, 0) for each in order], title=title, x_label="reason", y_label="rows")
    return png, title


@snapshot_asset(
    grain="one row per as_of and notification, and one per as_of and user who gets none",
    columns={
        "is_sent": boolean("whether it is to be sent, on the day after as_of; else the row says why there is none"),
        "place": integer("the user's first, second, … notification of the day; 0 for none"),
        "reason": text(f"best or explored; else {', '.join((*WHY_NOT, CONTROL_ARM))}"),
        "journey_id": text("the journey it is about", nullable=True),
        "channel": text("by what it is sent", nullable=True),
        "utc_hour": integer("hour at which it is to be sent, UTC", nullable=True),
        "local_hour": integer("the same in the user's clock", nullable=True),
        "lead_kind": text(f"what it leads to: {', '.join(LEADS)}", nullable=True),
        "lead": text("the item's id, or what is searched for", nullable=True),
        "score": double("what it is worth: by the rule, or the probability of a click", nullable=True),
        "scored_by": text("what says so: rule, or the id of the model", nullable=True),
        "propensity": double("probability with which it was chosen, given those of the day before it", nullable=True),
        "features": SEND_FEATURES,
        "arms": Column(
            type="STRUCT(experiment VARCHAR, arm VARCHAR)[]",
            description="experiments that run on the day of sending and have the user in an arm, each with the arm",
            nullable=True,
        ),
    },
    key=("as_of", "user_id", "place"),
    reads={
        "users": _USERS,
        "journeys": _JOURNEYS,
        "opt_outs": _OPT_OUTS,
        "hidden": _HIDDEN,
        "items": _ITEMS,
        "related": _RELATED,
        "heads": _HEADS,
    },
    read=with_history,
    # Announced lists alone are decided on.
    deps=(*tables_of(SENT, _HOURS, _KEYWORDS), "keyword_embeddings", "user_snapshots"),
    model=SEND_MODEL,
    kinds={"polars", "xgboost"},
    count=sent_and_explored,
    plot=reasons,
    decides=False,
    only_with=lambda settings: settings.notifications.enabled,
)
def notification_decisions(frames: Frames, as_of: date, settings: Settings) -> pl.DataFrame:
    """Who is to be notified the day after, of which of the journeys they have listed, by what channel, at which hour,
    leading where, and with which probability that was chosen; and of everyone else the one reason why not. Nothing is
    sent from here.
    """
    day = as_of + timedelta(days=1)
    resembling = similar_lately(
        frames["listed_keywords"], frames["sent"], frames["embeddings"], day=day, settings=settings
    )
    model = SendModel.stored(frames["model"].row(0, named=True)) if "model" in frames else None

    def decide_on(users: pl.Series, own: NotificationSettings) -> pl.DataFrame:
        return decide(
            users,
            journeys=frames["journeys"],
            sent=frames["sent"],
            similar=resembling,
            opt_outs=frames["opt_outs"],
            hidden=frames["hidden"],
            hours=frames["hours"],
            day=day,
            settings=own,
            model=model if own.use_model else None,
        )

    decided = decide_by_arm(
        frames["users"]["user_id"],
        decide_on,
        settings.experiments.declared,
        day=day,
        settings=settings.notifications,
    )
    return with_leads(decided, items=frames["items"], related=frames["related"], keywords=frames["heads"])
