"""What runs without a hand: each landed day once and in order, a changed algorithm once, and nothing else."""

import json
import os
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from conftest import Pipeline

from journeys_dagster.orchestration.jobs import DAILY_INCREMENTAL, INGEST_LANDING
from journeys_dagster.orchestration.runs import MissingDays, missing_days
from journeys_dagster.orchestration.sensors import (
    AUTOMATION,
    BACKLOG_DAYS,
    landing_requests,
    overdue_requests,
    read_cursor,
    stale_since,
)
from journeys_dagster.resources.home import Home
from journeys_dagster.sources.writer import write_day

DAY = date(2025, 6, 10)


def missing(*days: date, mark: str = "m") -> MissingDays:
    return MissingDays([(days[0], days[-1])] if days else [], [], {day: f"{mark}{day}" for day in days})


def days_from(first: date, count: int) -> list[date]:
    return [first + timedelta(days=number) for number in range(count)]


def test_each_day_is_requested_once_and_in_order() -> None:
    days = days_from(DAY, 3)
    requests, cursor = landing_requests(missing(*days), {})
    assert [request.partition_key for request in requests] == [day.isoformat() for day in days]
    assert {request.job_name for request in requests} == {DAILY_INCREMENTAL}
    again, cursor = landing_requests(missing(*days, DAY + timedelta(days=3)), cursor)
    assert [request.partition_key for request in again] == ["2025-06-13"]
    none, cursor = landing_requests(missing(*days[2:]), cursor)
    assert none == []
    assert cursor.keys() == {"2025-06-12"}


def test_a_day_that_changes_after_it_was_requested_is_requested_again() -> None:
    _, cursor = landing_requests(missing(DAY), {})
    changed, _ = landing_requests(missing(DAY, mark="other"), cursor)
    assert [request.partition_key for request in changed] == [DAY.isoformat()]
    (first,), _ = landing_requests(missing(DAY), {})
    assert changed[0].run_key != first.run_key


def test_a_backlog_is_taken_in_by_one_run_and_inferred_as_of_its_last_day() -> None:
    days = days_from(DAY, BACKLOG_DAYS + 2)
    (backlog, last), _ = landing_requests(missing(*days), {})
    assert (backlog.job_name, last.job_name) == (INGEST_LANDING, DAILY_INCREMENTAL)
    assert backlog.tags["dagster/asset_partition_range_start"] == DAY.isoformat()
    assert backlog.tags["dagster/asset_partition_range_end"] == days[-2].isoformat()
    assert last.partition_key == days[-1].isoformat()


def test_older_days_come_first_in_the_queue() -> None:
    requests, _ = landing_requests(missing(*days_from(DAY, 3)), {})
    priorities = [int(request.tags["dagster/priority"]) for request in requests]
    assert priorities == sorted(priorities, reverse=True)
    assert len(set(priorities)) == 3


@pytest.mark.parametrize("cursor", ["not json", "[1, 2]", '{"2025-06-10": {"fingerprint": "x"}}', "7", ""])
def test_a_cursor_that_is_not_ours_is_taken_for_none(cursor: str) -> None:
    assert read_cursor(cursor) == {}


def test_a_lost_cursor_requests_the_same_runs() -> None:
    """Dagster starts one run for each key."""
    first, _ = landing_requests(missing(*days_from(DAY, 3)), {})
    again, _ = landing_requests(missing(*days_from(DAY, 3)), read_cursor("garbage"))
    assert [request.run_key for request in again] == [request.run_key for request in first]


def test_what_is_overdue_is_requested_in_order_unless_a_run_is_under_way() -> None:
    days = days_from(DAY, 5)
    requests = overdue_requests(missing(*days), [(days[1], days[2])], attempt="now")
    assert [request.partition_key for request in requests] == [str(days[0]), str(days[3]), str(days[4])]


def test_a_long_overdue_stretch_is_one_run() -> None:
    days = days_from(DAY, BACKLOG_DAYS + 1)
    (request,) = overdue_requests(missing(*days), [], attempt="now")
    assert request.tags["dagster/asset_partition_range_start"] == str(days[0])
    assert request.tags["dagster/asset_partition_range_end"] == str(days[-1])


# On a home


def context_of(pipeline: Pipeline, cursor: str | None = None) -> dg.SensorEvaluationContext:
    return dg.build_sensor_context(
        instance=pipeline.instance,
        cursor=cursor,
        definitions=pipeline.defs,
        resources={
            "landing_zone": pipeline.home.landing_zone(),
            "warehouse": pipeline.warehouse,
            "settings": pipeline.settings,
        },
    )


def tick(pipeline: Pipeline, name: str, cursor: str | None = None) -> dg.SensorResult | dg.RunRequest | dg.SkipReason:
    sensor = next(sensor for sensor in pipeline.defs.sensors or [] if sensor.name == name)  # type: ignore[union-attr]
    return sensor(context_of(pipeline, cursor))  # type: ignore[operator,return-value]


def search(user: str, day: date) -> pl.DataFrame:
    return pl.DataFrame({"user_id": [user], "query": ["sofa"], "occurred_at": [datetime(day.year, day.month, day.day)]})


def test_a_day_without_success_waits_and_late_files_make_their_day_a_changed_one(home: Home) -> None:
    pipeline = Pipeline(home)
    folder = write_day(home.landing, source="searches", day=DAY, frame=search("ann", DAY))
    (folder / "_SUCCESS").unlink()
    waiting = tick(pipeline, "landing_sensor")
    assert isinstance(waiting, dg.SensorResult)
    assert not waiting.run_requests
    assert "searches 2025-06-10" in str(waiting.skip_reason)

    (folder / "_SUCCESS").touch()
    landed = tick(pipeline, "landing_sensor", waiting.cursor)
    assert isinstance(landed, dg.SensorResult)
    assert [request.partition_key for request in landed.run_requests or []] == [DAY.isoformat()]
    pipeline.ingest(DAY)
    quiet = tick(pipeline, "landing_sensor", landed.cursor)
    assert isinstance(quiet, dg.SensorResult)
    assert not quiet.run_requests
    assert json.loads(quiet.cursor or "") == {}

    search("ben", DAY).write_parquet(folder / "late.parquet")
    late = tick(pipeline, "landing_sensor", quiet.cursor)
    assert isinstance(late, dg.SensorResult)
    assert [request.partition_key for request in late.run_requests or []] == [DAY.isoformat()]


@pytest.mark.slow
def test_a_changed_algorithm_is_inferred_fully_once(
    copy_of_world: Callable[[str], Pipeline], world_days: list[date]
) -> None:
    pipeline = copy_of_world("changed")
    assert isinstance(tick(pipeline, "algorithm_change_sensor"), dg.SkipReason)
    changed = Pipeline(pipeline.home, pipeline.settings.model_validate({"clusters": {"distance_threshold": 0.6}}))
    waiting = tick(changed, "algorithm_change_sensor")
    assert isinstance(waiting, dg.SkipReason)
    assert "waits until the newest landing day" in str(waiting.skip_message)
    changed.ingest(world_days[3])
    request = tick(changed, "algorithm_change_sensor")
    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == world_days[3].isoformat()
    assert "the algorithm has changed" in request.tags["reason"]
    again = tick(changed, "algorithm_change_sensor")
    assert isinstance(again, dg.RunRequest)
    assert again.run_key == request.run_key
    changed.run(world_days[3], "all_users")
    assert isinstance(tick(changed, "algorithm_change_sensor"), dg.SkipReason)
    steered = Pipeline(
        pipeline.home,
        changed.settings.model_copy(update={"run": changed.settings.run.model_copy(update={"users_per_batch": 7})}),
    )
    assert isinstance(tick(steered, "algorithm_change_sensor"), dg.SkipReason)


def test_an_empty_home_waits_for_its_first_day(home: Home) -> None:
    pipeline = Pipeline(home)
    assert isinstance(tick(pipeline, "algorithm_change_sensor"), dg.SkipReason)
    assert stale_since(pipeline.warehouse, "v") == "no full inference yet"


def test_everything_is_stopped_and_named(empty_pipeline: Pipeline) -> None:
    defs = empty_pipeline.defs
    schedules = {schedule.name: schedule for schedule in defs.schedules or []}
    assert schedules["daily_schedule"].job_name == DAILY_INCREMENTAL  # type: ignore[union-attr]
    both = [*schedules.values(), *(defs.sensors or [])]
    assert {one.name for one in both} == set(AUTOMATION)
    assert {one.default_status.value for one in both} == {"STOPPED"}  # type: ignore[union-attr]


@pytest.mark.parametrize("offset", [0, 1, 400])
def test_a_day_that_is_not_over_waits(home: Home, offset: int) -> None:
    pipeline = Pipeline(home)
    write_day(home.landing, source="searches", day=DAY, frame=search("ann", DAY))
    day = datetime.now(UTC).date() + timedelta(days=offset)
    write_day(home.landing, source="searches", day=day, frame=search("ann", DAY))
    landed = tick(pipeline, "landing_sensor")
    assert isinstance(landed, dg.SensorResult)
    assert [request.partition_key for request in landed.run_requests or []] == [DAY.isoformat()]


def test_a_day_before_the_first_partition_does_not_fail_the_tick(home: Home) -> None:
    write_day(home.landing, source="searches", day=DAY, frame=search("ann", DAY))
    pipeline = Pipeline(home)
    assert pipeline.defs.jobs  # loaded before the earlier day lands
    write_day(home.landing, source="searches", day=DAY - timedelta(days=1), frame=search("ann", DAY))
    landed = tick(pipeline, "landing_sensor")
    assert isinstance(landed, dg.SensorResult)
    assert [request.partition_key for request in landed.run_requests or []] == [DAY.isoformat()]
    reloaded = tick(Pipeline(home), "landing_sensor", landed.cursor)
    assert isinstance(reloaded, dg.SensorResult)
    assert [request.partition_key for request in reloaded.run_requests or []] == [str(DAY - timedelta(days=1))]


def test_a_file_overwritten_in_place_is_noticed(home: Home) -> None:
    """Its folder does not change then."""
    pipeline = Pipeline(home)
    folder = write_day(home.landing, source="searches", day=DAY, frame=search("ann", DAY))
    before, of_folder = fingerprints(pipeline)[DAY], folder.stat().st_mtime_ns
    with (folder / "part-0.parquet").open("r+b") as file:
        file.seek(10)
        file.write(b"other")
    assert folder.stat().st_mtime_ns == of_folder
    assert fingerprints(pipeline)[DAY] != before


def test_the_schedule_requests_what_is_still_missing(home: Home) -> None:
    """The run that the sensor requested may have failed, or been deleted."""
    pipeline = Pipeline(home)
    write_day(home.landing, source="searches", day=DAY, frame=search("ann", DAY))
    landed = tick(pipeline, "landing_sensor")
    assert isinstance(landed, dg.SensorResult)
    assert landed.run_requests
    assert not tick(pipeline, "landing_sensor", landed.cursor).run_requests  # type: ignore[union-attr]
    schedule = next(schedule for schedule in pipeline.defs.schedules or [] if schedule.name == "daily_schedule")
    instance = home.dagster_instance()
    context = dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=datetime(2025, 6, 11, 6),
        resources={
            "landing_zone": home.landing_zone(),
            "warehouse": pipeline.warehouse,
            "settings": pipeline.settings,
        },
    )
    (request,) = schedule(context)  # type: ignore[operator,misc]
    assert request.partition_key == DAY.isoformat()  # type: ignore[union-attr]
    job = dg.job(name=DAILY_INCREMENTAL)(lambda: None)
    instance.create_run_for_job(job, tags={"dagster/partition": str(DAY)}, status=dg.DagsterRunStatus.STARTED)
    assert isinstance(schedule(context), dg.SkipReason)  # type: ignore[operator]
    instance.dispose()


@pytest.mark.parametrize("changes", ["name", "size", "time"])
def test_a_days_fingerprint_tells_a_change(home: Home, changes: str) -> None:
    pipeline = Pipeline(home)
    folder = write_day(home.landing, source="searches", day=DAY, frame=search("ann", DAY))
    before = fingerprints(pipeline)[DAY]
    (file,) = [path for path in folder.iterdir() if path.suffix == ".parquet"]
    if changes == "name":
        file.rename(Path(folder, "renamed.parquet"))
    elif changes == "size":
        file.write_bytes(file.read_bytes() + b"x")
    else:
        os.utime(file, (1, 1))
    assert fingerprints(pipeline)[DAY] != before


def fingerprints(pipeline: Pipeline) -> dict[date, str]:
    zone = pipeline.home.landing_zone()
    return missing_days(pipeline.warehouse, zone, ["searches"], up_to=date.max, max_rejected_share=0.05).fingerprints
