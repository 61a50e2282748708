"""Sensors and schedules: landed days, a changed algorithm, training once a week, and alerts."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from journeys_dagster.orchestration.alerts import build_alert_sensors
from journeys_dagster.orchestration.asset import Asset, Location
from journeys_dagster.orchestration.freshness import FRESHNESS_SCHEDULE, build_freshness
from journeys_dagster.orchestration.jobs import (
    DAILY_INCREMENTAL,
    FRESHNESS,
    FULL_INFERENCE,
    INGEST_LANDING,
    AssetJob,
    range_tags,
)
from journeys_dagster.orchestration.run_days import priority_tags, requested_days
from journeys_dagster.orchestration.runs import MissingDays, missing_days
from journeys_dagster.orchestration.timing import OPERATIONS_GROUP, TRAINING_GROUP, require_cron
from journeys_dagster.resources.landing_zone import LandingZone
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import Settings
from journeys_dagster.sources.contracts import declared_sources

BACKLOG_DAYS = 31
"""Days in a row from which a range is ingested by one run, and inferred as of its last day only."""

TRAINING_SENSOR = "training_sensor"
RETENTION_SENSOR = "retention_sensor"
AUTOMATION = (
    "landing_sensor",
    "algorithm_change_sensor",
    TRAINING_SENSOR,
    RETENTION_SENSOR,
    "run_failure_alert",
    "failed_check_alert",
    "daily_schedule",
    FRESHNESS_SCHEDULE,
)
"""Names of all sensors and schedules."""

_LAST_FULL = """
    select algorithm_version as version from inferred_days where scope = 'all_users' order by as_of desc limit 1
"""
_NEWEST_TAKEN_IN = "select max(arrival_day) as day from landed_days"


def landing_requests(missing: MissingDays, requested: Mapping[str, str]) -> tuple[list[dg.RunRequest], dict[str, str]]:
    """Runs for days that are missing and have not been requested as they lie, in order of days.

    Parameters
    ----------
    missing : MissingDays
    requested : mapping of str to str
        Fingerprint by day, of what was requested before.

    Returns
    -------
    requests : list of RunRequest
        ``daily_incremental`` for each day; of a stretch of more than `BACKLOG_DAYS`, ``ingest_landing`` for all but
        the last day first.
    requested : dict of str to str
        The days that are missing now.
    """
    new = [day for day, mark in missing.fingerprints.items() if requested.get(day.isoformat()) != mark]
    requests = []
    for stretch in _stretches(new, missing.ranges):
        daily = stretch if len(stretch) <= BACKLOG_DAYS else stretch[-1:]
        if backlog := stretch[: len(stretch) - len(daily)]:
            requests.append(
                dg.RunRequest(
                    run_key=f"{INGEST_LANDING}:{backlog[0]}:{backlog[-1]}:{_short(missing, backlog)}",
                    job_name=INGEST_LANDING,
                    tags=range_tags(backlog[0], backlog[-1]) | priority_tags(backlog[0]),
                )
            )
        requests.extend(
            dg.RunRequest(
                run_key=f"{DAILY_INCREMENTAL}:{day}:{missing.fingerprints[day]}",
                job_name=DAILY_INCREMENTAL,
                partition_key=day.isoformat(),
                tags=priority_tags(day),
            )
            for day in daily
        )
    return requests, {day.isoformat(): mark for day, mark in missing.fingerprints.items()}


def overdue_requests(
    missing: MissingDays, under_way: Sequence[tuple[date, date]], *, attempt: str
) -> list[dg.RunRequest]:
    """Runs of ``daily_incremental`` for days that are missing although nothing is under way for them, in order of days.

    Unlike `landing_requests`, days are requested whatever was requested before: that run may have failed, or been
    deleted. Of a stretch of more than `BACKLOG_DAYS`, one run infers all days.

    Parameters
    ----------
    under_way : sequence of (date, date)
        First and last day of the runs that wait or are under way.
    attempt : str
        One run for each day and attempt.
    """
    days = [day for day in missing.fingerprints if not any(first <= day <= last for first, last in under_way)]
    requests = []
    for stretch in _stretches(days, missing.ranges):
        if len(stretch) > BACKLOG_DAYS:
            tags = range_tags(stretch[0], stretch[-1]) | priority_tags(stretch[0])
            requests.append(dg.RunRequest(run_key=f"schedule:{attempt}:{stretch[0]}:{stretch[-1]}", tags=tags))
            continue
        requests.extend(
            dg.RunRequest(run_key=f"schedule:{attempt}:{day}", partition_key=day.isoformat(), tags=priority_tags(day))
            for day in stretch
        )
    return requests


def read_cursor(cursor: str | None) -> dict[str, str]:
    """What was requested before; nothing where the cursor is none of ours, as of another version.

    A lost cursor requests nothing twice: a run's key holds day and fingerprint.
    """
    try:
        read = json.loads(cursor or "{}")
    except json.JSONDecodeError:
        return {}
    if not isinstance(read, dict) or not all(isinstance(mark, str) for mark in read.values()):
        return {}
    return read


def _short(missing: MissingDays, days: Sequence[date]) -> str:
    marks = "".join(missing.fingerprints[day] for day in days)
    return hashlib.sha256(marks.encode()).hexdigest()[:16]


def _stretches(days: Sequence[date], ranges: Sequence[tuple[date, date]]) -> list[list[date]]:
    within = ([day for day in sorted(days) if first <= day <= last] for first, last in ranges)
    return [stretch for stretch in within if stretch]


def stale_since(warehouse: Warehouse, algorithm_version: str) -> str | None:
    """Why everyone has to be inferred again, or None.

    Returns
    -------
    str or None
        "no full inference yet", or that the algorithm has changed since the last one, with both versions.
    """
    if not warehouse.has_table("inferred_days"):
        return "no full inference yet"
    found = warehouse.query(_LAST_FULL)["version"].to_list()
    if not found:
        return "no full inference yet"
    if found[0] == algorithm_version:
        return None
    return f"the algorithm has changed since the last full inference, from {found[0]} to {algorithm_version}"


def build_automation(
    assets: Sequence[Asset], location: Location, jobs: Mapping[str, AssetJob], *, first_day: date
) -> dg.Definitions:
    """Sensors and the schedule; all are stopped until they are turned on.

    Parameters
    ----------
    assets : sequence of Asset
        Those in use.
    jobs : mapping of str to job
        From `build_jobs`.
    first_day : date
        First partition.
    """
    algorithm_version, automation = location.algorithm.version, location.settings.automation

    @dg.sensor(
        jobs=[jobs[INGEST_LANDING], jobs[DAILY_INCREMENTAL]],
        minimum_interval_seconds=60,
        description="Requests daily_incremental for every complete landing day that is new or has changed, once, in "
        "order of days. Late files make their day a changed one.",
    )
    def landing_sensor(
        context: dg.SensorEvaluationContext,
        landing_zone: LandingZone,
        warehouse: Warehouse,
        settings: dg.ResourceParam[Settings],
    ) -> dg.SensorResult:
        missing = _missing(landing_zone, warehouse, settings, first_day)
        requests, cursor = landing_requests(missing, read_cursor(context.cursor))
        waiting = ", ".join(f"{source} {day}" for source, day in missing.incomplete[:5])
        reason = f"nothing new; without _SUCCESS: {waiting}" if waiting else "nothing new"
        return dg.SensorResult(
            run_requests=requests, cursor=json.dumps(cursor), skip_reason=None if requests else dg.SkipReason(reason)
        )

    @dg.sensor(
        job=jobs[FULL_INFERENCE],
        minimum_interval_seconds=300,
        description="Requests full_inference as of the newest day when the algorithm version differs from that of the "
        "last full snapshot, once per version.",
    )
    def algorithm_change_sensor(
        landing_zone: LandingZone, warehouse: Warehouse, settings: dg.ResourceParam[Settings]
    ) -> dg.RunRequest | dg.SkipReason:
        reason = stale_since(warehouse, algorithm_version)
        if reason is None:
            return dg.SkipReason(f"everyone was inferred by {algorithm_version}")
        newest = newest_day(warehouse)
        landed = max(_missing(landing_zone, warehouse, settings, first_day).fingerprints, default=None)
        if newest is None or (landed is not None and landed >= newest):
            # A first start, or a day that has just landed: one full inference after it, not one before and none after.
            return dg.SkipReason(f"{reason}; waits until the newest landing day has been ingested")
        return dg.RunRequest(
            run_key=f"{FULL_INFERENCE}:{algorithm_version}",
            partition_key=newest.isoformat(),
            tags={"reason": reason} | priority_tags(newest),
        )

    @dg.schedule(
        job=jobs[DAILY_INCREMENTAL],
        cron_schedule=require_cron("automation.daily_cron", automation.daily_cron),
        execution_timezone="UTC",
        description="The safety net of landing_sensor: once a day, days that are still missing are requested again, "
        "unless a run for them waits or is under way.",
    )
    def daily_schedule(
        context: dg.ScheduleEvaluationContext,
        landing_zone: LandingZone,
        warehouse: Warehouse,
        settings: dg.ResourceParam[Settings],
    ) -> list[dg.RunRequest] | dg.SkipReason:
        missing = _missing(landing_zone, warehouse, settings, first_day)
        under_way = requested_days(context.instance, {INGEST_LANDING, DAILY_INCREMENTAL, FULL_INFERENCE})
        attempt = f"{context.scheduled_execution_time:%Y-%m-%dT%H:%M}"
        return overdue_requests(missing, under_way, attempt=attempt) or dg.SkipReason("no day is missing")

    training_sensor = dg.AutomationConditionSensorDefinition(
        TRAINING_SENSOR,
        target=location.select(asset for asset in assets if asset.group == TRAINING_GROUP),
        minimum_interval_seconds=60,
        description=f"Trains the models at {automation.training_cron} (UTC); those that win take over.",
    )
    retention_sensor = dg.AutomationConditionSensorDefinition(
        RETENTION_SENSOR,
        target=location.select(asset for asset in assets if asset.group == OPERATIONS_GROUP),
        minimum_interval_seconds=60,
        description=f"Prunes old snapshots at {location.settings.retention.cron} (UTC).",
    )
    sensors = dg.Definitions(
        sensors=[
            landing_sensor,
            algorithm_change_sensor,
            training_sensor,
            retention_sensor,
            *build_alert_sensors(),
        ],
        schedules=[daily_schedule],
    )
    return dg.Definitions.merge(sensors, build_freshness(jobs[FRESHNESS], location))


def newest_day(warehouse: Warehouse) -> date | None:
    """Newest ingested landing day."""
    if not warehouse.has_table("landed_days"):
        return None
    return warehouse.query(_NEWEST_TAKEN_IN)["day"][0]


def _missing(landing_zone: LandingZone, warehouse: Warehouse, settings: Settings, first_day: date) -> MissingDays:
    """Missing days that are partitions: one that is not over, or is before the first one, would fail the whole tick."""
    return missing_days(
        warehouse,
        landing_zone,
        declared_sources(settings),
        since=first_day,
        up_to=datetime.now(UTC).date() - timedelta(days=1),
        max_rejected_share=settings.landing.max_rejected_share,
    )
