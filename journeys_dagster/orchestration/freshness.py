"""Whether the marts are fresh: the newest inferred day, looked at by a deadline.

Not by a freshness policy of Dagster's, which asks when an asset was materialised last, whatever the partition: running
an old day again would make a late mart fresh.
"""

from datetime import UTC, datetime, time, timedelta

import dagster as dg

from journeys_dagster.orchestration.asset import WAREHOUSE_POOL, Location
from journeys_dagster.orchestration.jobs import AssetJob, newest_day_check
from journeys_dagster.orchestration.timing import require_cron
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import Settings

FRESHNESS_SCHEDULE = "freshness_schedule"
_NEWEST = "select max(as_of) as day from inferred_days"


class DeadlineConfig(dg.Config):
    """By when the newest day must have been inferred; empty: now."""

    deadline: str = ""


def _newest_day(
    config: DeadlineConfig, warehouse: Warehouse, settings: dg.ResourceParam[Settings]
) -> dg.AssetCheckResult:
    """Compare the newest inferred day with the deadline."""
    deadline = datetime.fromisoformat(config.deadline) if config.deadline else datetime.now(UTC)
    due = deadline - timedelta(hours=settings.automation.freshness_hours)
    newest = warehouse.query(_NEWEST)["day"][0] if warehouse.has_table("inferred_days") else None
    ended = datetime.combine(newest + timedelta(days=1), time(), UTC) if newest else None
    return dg.AssetCheckResult(
        passed=ended is not None and ended >= due,
        description=f"the newest inferred day is {newest or 'none'}; by {deadline:%Y-%m-%d %H:%M} UTC, one was to be "
        f"there that ended at {due:%Y-%m-%d %H:%M} UTC or later",
    )


def build_freshness(job: AssetJob, location: Location) -> dg.Definitions:
    """The check, and the schedule that makes it at the deadlines of automation.freshness_cron."""
    automation, key = location.settings.automation, newest_day_check(location)
    check = dg.asset_check(
        asset=key.asset_key,
        name=key.name,
        pool=WAREHOUSE_POOL,
        description="The newest inferred day had ended at most automation.freshness_hours before the deadline.",
    )(_newest_day)

    @dg.schedule(
        job=job,
        name=FRESHNESS_SCHEDULE,
        cron_schedule=require_cron("automation.freshness_cron", automation.freshness_cron),
        execution_timezone="UTC",
        description="Looks whether the newest day has been inferred by the deadline; a late one is a failed check.",
    )
    def freshness_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        config = DeadlineConfig(deadline=context.scheduled_execution_time.isoformat())
        return dg.RunRequest(run_config=dg.RunConfig(ops={check.node_def.name: config}))

    return dg.Definitions(asset_checks=[check], schedules=[freshness_schedule])
