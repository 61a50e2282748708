"""Step: evergreen, ongoing or ended."""

from datetime import date

import polars as pl

from assets.snapshots import Snapshot, SnapshotStep
from journeys_dagster.inference.stages import stage_journeys
from journeys_dagster.reporting.plots import bars
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.tables import Column

_JOURNEYS = """
    select user_id, journey_id, first_seen, last_seen, active_weeks
    from journey_engagement where as_of = $as_of and user_id in {users}
"""


def compute(snapshot: Snapshot, batch: int) -> pl.DataFrame:
    """Stage a batch of users' journeys."""
    settings = snapshot.settings.stages
    return stage_journeys(
        snapshot.read(_JOURNEYS, batch=batch),
        as_of=snapshot.as_of,
        evergreen_min_span_days=settings.evergreen_min_span_days,
        evergreen_min_active_weeks_share=settings.evergreen_min_active_weeks_share,
        ended_after_days=settings.ended_after_days,
    )


def draw(warehouse: Warehouse, as_of: date) -> tuple[bytes, str]:
    """How many journeys are in each stage."""
    mix = warehouse.query(
        "select stage, count(*) as journeys from stages where as_of = $as_of group by stage order by stage",
        {"as_of": as_of},
    )
    png = bars(
        mix["stage"].to_list(),
        mix["journeys"].to_list(),
        title=f"Stages, {as_of}",
        x_label="stage",
        y_label="journeys",
    )
    return png, "journeys by stage"


STAGES = SnapshotStep(
    name="stages",
    description="Lifecycle (evergreen or situational) and stage (evergreen, ongoing or ended) of each journey.",
    grain="one row per as_of, user and journey",
    columns={
        "journey_id": Column(type="VARCHAR", description="the journey"),
        "lifecycle": Column(type="VARCHAR", description="evergreen or situational"),
        "stage": Column(type="VARCHAR", description="evergreen, ongoing or ended"),
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
    deps=("journey_engagement", "users_in_scope"),
    kinds=frozenset({"polars"}),
    compute=compute,
    draw=draw,
)
