"""Step: evergreen, ongoing or ended."""

from datetime import date

import polars as pl

from journeys_dagster.inference import steps
from journeys_dagster.inference.stages import ENDED, EVERGREEN, ONGOING
from journeys_dagster.orchestration.snapshots import Snapshot, SnapshotStep
from journeys_dagster.reporting.plots import daily_counts
from journeys_dagster.resources.trained_models import STAGE_MODEL, stored_model
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.tables import Column

_JOURNEYS = """
    select user_id, journey_id, first_seen, last_seen, active_weeks, newest_actions
    from journey_engagement where as_of = $as_of and {of_batch}
    order by user_id, journey_id
"""
_FEATURES = """
    from journey_features where as_of = $as_of and {of_batch} order by user_id, journey_id
"""
_USUAL_SHARES = "select action, share from action_trends where as_of = $as_of order by action"
# Each journey of a snapshot that counts from its day until the user's next one, cut where it changes its stage.
_MIX = """
    with counted as (
        select user_id, as_of, lead(as_of, 1, $as_of + 1) over (partition by user_id order by as_of) as counts_until
        from users_in_scope
        where as_of > $as_of - $days and as_of <= $as_of and hash(user_id) % 1000000 < $share * 1000000
    ),

    journeys as (
        select as_of, counts_until, ends_on, coalesce(evergreen_until, as_of) as situational_from
        from stages join counted using (as_of, user_id)
    ),

    pieces as (
        select 'evergreen' as stage, as_of as starts, situational_from as ends, counts_until from journeys
        union all
        select 'ongoing', situational_from, ends_on, counts_until from journeys
        union all
        select 'ended', greatest(situational_from, ends_on), counts_until, counts_until from journeys
    ),

    changes as (
        select stage, starts as day, 1 as change from pieces where starts < least(ends, counts_until)
        union all
        select stage, least(ends, counts_until), -1 from pieces where starts < least(ends, counts_until)
    )

    select day, stage, sum(sum(change)) over (partition by stage order by day) as journeys
    from changes
    group by day, stage
"""
_DAYS_DRAWN = 90
_SNAPSHOTS = "select count(*) from users_in_scope where as_of > $as_of - $days and as_of <= $as_of"
_SNAPSHOTS_DRAWN = 50_000
"""Of users who have more of them together, a sample is drawn."""


def read(snapshot: Snapshot, batch: int) -> steps.Frames:
    """The journeys of a batch of users, and the model in use with their features where there is one that fits."""
    frames = {
        "journeys": snapshot.read(_JOURNEYS, batch=batch),
        "usual_shares": snapshot.warehouse.query(_USUAL_SHARES, {"as_of": snapshot.as_of}),
    }
    model = stored_model(snapshot.warehouse, snapshot.settings, STAGE_MODEL, snapshot.as_of)
    if model is not None:
        frames |= {"features": snapshot.read(_FEATURES, batch=batch), "model": model}
    return frames


def draw(warehouse: Warehouse, as_of: date) -> tuple[bytes, str]:
    """Stages of the journeys of everyone who was inferred lately, day by day."""
    params = {"as_of": as_of, "days": _DAYS_DRAWN}
    share = min(1.0, _SNAPSHOTS_DRAWN / max(1, warehouse.query(_SNAPSHOTS, params).item()))
    changes = warehouse.query(_MIX, params | {"share": share}).filter(pl.col("day") <= as_of)
    first: date = changes["day"].min() or as_of  # type: ignore[assignment]
    days = pl.DataFrame({"day": pl.date_range(first, as_of, eager=True)})
    mix = days.join(changes.pivot("stage", index="day", values="journeys"), on="day", how="left", maintain_order="left")
    mix = mix.fill_null(strategy="forward").fill_null(0)
    stages = {stage: mix[stage] for stage in (EVERGREEN, ONGOING, ENDED) if stage in mix.columns}
    of_whom = "" if share == 1.0 else f" of {share:.1%} of the users"
    png = daily_counts(mix["day"], stages, title=f"Stages, to {as_of}", y_label=f"journeys{of_whom}")
    return png, "journeys by stage and day"


STAGES = SnapshotStep(
    name="stages",
    description="Lifecycle (evergreen or situational), stage (evergreen, ongoing or ended) and phase (inspiration or "
    "action) of each journey; `stage_model` says what told ongoing from ended.",
    grain="one row per as_of, user and journey",
    columns={
        "journey_id": Column(type="VARCHAR", description="the journey"),
        "lifecycle": Column(type="VARCHAR", description="evergreen or situational"),
        "stage": Column(type="VARCHAR", description="evergreen, ongoing or ended"),
        "stage_model": Column(type="VARCHAR", description="rule, or the id of the model"),
        "return_probability": Column(
            type="DOUBLE",
            description="the model's probability that the user comes back within stages.return_days; null by rule",
            nullable=True,
        ),
        "phase": Column(type="VARCHAR", description="inspiration, action, or unknown where the log has one kind only"),
        "acting_share": Column(type="DOUBLE", description="share of acting among the journey's newest 20 events"),
        "usual_acting_share": Column(type="DOUBLE", description="share of acting among all events of 84 days"),
        "span_days": Column(type="INTEGER", description="days from first to last event"),
        "active_weeks_share": Column(type="DOUBLE", description="share of weeks since the first event with an event"),
        "days_since_last": Column(type="INTEGER", description="days from the last event to as_of"),
        "ends_on": Column(type="DATE", description="day from which it counts as ended if nothing happens"),
        "evergreen_until": Column(
            type="DATE",
            description="day from which it no longer counts as evergreen if nothing happens; null for situational",
            nullable=True,
        ),
    },
    key=("as_of", "user_id", "journey_id"),
    deps=("action_trends", "journey_engagement", "journey_features", "stage_model", "users_in_scope"),
    kinds=frozenset({"polars", "scipy"}),
    read=read,
    compute=steps.stage,
    model=STAGE_MODEL,
    draw=draw,
)
