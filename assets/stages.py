"""Evergreen, ongoing or ended."""

from datetime import date

import polars as pl

from journeys_dagster.inference.frames import Frames
from journeys_dagster.inference.stage_model import FEATURES, stage_model
from journeys_dagster.inference.stages import ENDED, EVERGREEN, ONGOING, phase_journeys, stage_journeys
from journeys_dagster.orchestration.snapshot_asset import Snapshot, snapshot_asset
from journeys_dagster.reporting.plots import daily_counts
from journeys_dagster.resources.trained_models import STAGE_MODEL, stored_model
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import Settings
from journeys_dagster.tables import double, integer, text, utc_day

_JOURNEYS = f"""
    select
        user_id, journey_id, first_seen, last_seen, active_months, newest_actions,
        {", ".join(f"journey_features.{name}" for name in FEATURES)}
    from journey_engagement join journey_features using (as_of, user_id, journey_id)
    where as_of = $as_of and {{of_batch}}
    order by user_id, journey_id
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


def model_that_fits(snapshot: Snapshot, _batch: int, frames: dict[str, pl.DataFrame]) -> Frames:
    """The model in use, where there is one that fits."""
    model = stored_model(snapshot.warehouse, snapshot.settings, STAGE_MODEL, snapshot.as_of)
    return frames if model is None else {**frames, "model": model}


def stage_mix(warehouse: Warehouse, as_of: date) -> tuple[bytes, str]:
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


@snapshot_asset(
    grain="one row per as_of, user and journey",
    columns={
        "journey_id": text("the journey"),
        "lifecycle": text("evergreen or situational"),
        "stage": text("evergreen, ongoing or ended"),
        "stage_model": text("what said when it ends: rule, or the id of the model that saw it sooner"),
        "phase": text("inspiration, action, or unknown where the log has one kind only"),
        "acting_share": double("share of acting actions in the newest 20 events"),
        "usual_acting_share": double("the population's share of acting actions in 84 days"),
        "span_days": integer("days from first to last event"),
        "active_months_share": double(
            "share of months (of 28 days) from first to last event with an event; null in snapshots of before 0.2",
            nullable=True,
        ),
        "days_since_last": integer("days from the last event to as_of"),
        "ends_on": utc_day("day from which it counts as ended if nothing happens"),
        "evergreen_until": utc_day(
            "day from which it no longer counts as evergreen if nothing happens; null for situational",
            nullable=True,
        ),
    },
    key=("as_of", "user_id", "journey_id"),
    reads={"journeys": _JOURNEYS, "usual_shares": _USUAL_SHARES},
    read=model_that_fits,
    model=STAGE_MODEL,
    kinds={"polars", "scipy"},
    plot=stage_mix,
)
def stages(frames: Frames, as_of: date, settings: Settings) -> pl.DataFrame:
    """Lifecycle (evergreen or situational), stage (evergreen, ongoing or ended) and phase (inspiration or action)
    of each journey; `stage_model` says what decided when it ends.
    """
    stages, journeys = settings.stages, frames["journeys"]
    model = stage_model(frames["model"]) if "model" in frames else None
    staged = stage_journeys(journeys, as_of=as_of, settings=stages, model=model)
    usual = dict(frames["usual_shares"].iter_rows())
    phases = phase_journeys(journeys, usual, acting_actions=stages.acting_actions, acting_odds=stages.acting_odds)
    return staged.join(phases, on=["user_id", "journey_id"], how="left", maintain_order="left")
