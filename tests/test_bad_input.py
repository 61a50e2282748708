"""Bad input through the whole pipeline: it is kept aside, said, and never costs good data."""

from datetime import UTC, date, datetime, timedelta

import dagster as dg
import polars as pl
import pytest
from conftest import Pipeline

from journeys_dagster.orchestration.runs import RunFailedError
from journeys_dagster.sources.writer import write_day

DAY = date(2025, 6, 10)


def searches(count: int, *, blank: int = 0) -> pl.DataFrame:
    queries = [f"kitchen tiles {number}" for number in range(count)] + [" "] * blank
    moment = datetime(2025, 6, 10, 9, tzinfo=UTC)
    return pl.DataFrame({"user_id": ["ann"] * len(queries), "query": queries, "occurred_at": [moment] * len(queries)})


def failures(pipeline: Pipeline, *assets: str) -> list[str]:
    result = pipeline.materialize(*assets, days=(DAY, DAY))
    assert not result.success
    return [
        str(event.step_failure_data.user_failure_data.description)
        for event in result.filter_events(lambda event: event.is_step_failure)
        if event.step_failure_data.user_failure_data
    ]


def test_a_platform_that_only_has_searches_gets_journeys_whatever_else_is_among_them(empty_pipeline: Pipeline) -> None:
    """A few bad rows and an unreadable file are put aside and named by checks, and the run goes on."""
    landing = empty_pipeline.home.landing
    folder = write_day(landing, source="searches", day=DAY, frame=searches(99, blank=1))
    for number in range(30):
        searches(5).write_parquet(folder / f"more-{number}.parquet")
    (folder / "broken.parquet").write_bytes(b"PAR1")
    (landing / "Board_Items" / "date=2025-06-10").mkdir(parents=True)
    (landing / "Board_Items" / "date=2025-06-10" / "a.csv").touch()
    result = empty_pipeline.materialize(days=(DAY, DAY))
    assert result.success
    rejected = empty_pipeline.table("rejected_rows").sort("reason")
    blank, unreadable = rejected.iter_rows(named=True)
    assert blank["reason"] == "query is blank"
    assert unreadable["reason"].startswith("unreadable file")
    assert unreadable["file"] == "broken.parquet"
    assert len(empty_pipeline.table("searches")) == 99
    assert len(empty_pipeline.table("user_journeys")) > 0
    assert empty_pipeline.table("engagements").is_empty()
    checks = {
        (check.asset_key.to_user_string(), check.check_name): check for check in result.get_asset_check_evaluations()
    }
    assert checks["items", "files_read"].passed
    files_read, everything_read = checks["searches", "files_read"], checks["users_in_scope", "everything_read"]
    for check in (files_read, everything_read):
        assert (check.passed, check.blocking, check.severity) == (False, False, dg.AssetCheckSeverity.WARN)
    assert files_read.description == "searches: 1 file not read, so these days are not whole: 2025-06-10"
    assert "broken.parquet" in str(files_read.metadata["files"].value)
    assert everything_read.description == "passed over in the landing zone: Board_Items"
    assert "write it as board" in str(everything_read.metadata["not_read"].value)


def test_too_many_bad_rows_stop_the_run_but_the_good_ones_are_in(empty_pipeline: Pipeline) -> None:
    write_day(empty_pipeline.home.landing, source="searches", day=DAY, frame=searches(8, blank=2))
    result = empty_pipeline.materialize(days=(DAY, DAY))
    assert not result.success
    (check,) = [
        check
        for check in result.get_asset_check_evaluations()
        if (check.asset_key.to_user_string(), check.check_name) == ("searches", "rejected_share")
    ]
    assert not check.passed
    assert "20.0%" in str(check.description)
    said = str(check.description)
    assert said.index("2 × query is blank (fill it in") < said.index("landing.max_rejected_share")
    assert len(empty_pipeline.table("searches")) == 8
    assert not empty_pipeline.warehouse.has_table("user_journeys")


def test_a_day_with_too_many_bad_rows_stops_later_runs_too_until_it_is_mended(empty_pipeline: Pipeline) -> None:
    landing = empty_pipeline.home.landing
    write_day(landing, source="searches", day=DAY, frame=searches(8, blank=2))
    write_day(landing, source="searches", day=DAY + timedelta(days=1), frame=searches(5))
    for _ in range(2):
        with pytest.raises(RunFailedError, match="rejected"):
            empty_pipeline.run_in_dagster(DAY + timedelta(days=1))
    assert not empty_pipeline.warehouse.has_table("user_journeys")
    write_day(landing, source="searches", day=DAY, frame=searches(8))
    empty_pipeline.ingest(DAY + timedelta(days=1))
    assert len(empty_pipeline.table("searches")) == 13


def test_a_day_without_success_is_refused_by_its_name(empty_pipeline: Pipeline) -> None:
    folder = write_day(empty_pipeline.home.landing, source="searches", day=DAY, frame=searches(5))
    (folder / "_SUCCESS").unlink()
    (failure,) = failures(empty_pipeline, "searches")
    assert "2025-06-10 of searches is not complete" in failure
    assert str(folder) in failure


def test_a_day_that_did_not_land_keeps_what_was_taken_in_before(empty_pipeline: Pipeline) -> None:
    folder = write_day(empty_pipeline.home.landing, source="searches", day=DAY, frame=searches(5))
    empty_pipeline.ingest(DAY)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    assert empty_pipeline.materialize("searches", days=(DAY, DAY)).success
    assert len(empty_pipeline.table("searches")) == 5


def test_a_changed_day_is_taken_in_again(empty_pipeline: Pipeline) -> None:
    write_day(empty_pipeline.home.landing, source="searches", day=DAY, frame=searches(5))
    empty_pipeline.ingest(DAY)
    write_day(empty_pipeline.home.landing, source="searches", day=DAY, frame=searches(7))
    empty_pipeline.ingest(DAY)
    assert len(empty_pipeline.table("searches")) == 7


def test_an_unknown_scope_is_refused(empty_pipeline: Pipeline) -> None:
    write_day(empty_pipeline.home.landing, source="searches", day=DAY, frame=searches(5))
    result = empty_pipeline.defs.resolve_job_def("daily_incremental").execute_in_process(
        instance=empty_pipeline.instance,
        partition_key=DAY.isoformat(),
        run_config={"ops": {"users_in_scope": {"config": {"scope": "everybody"}}}},
        raise_on_error=False,
    )
    (failed,) = result.filter_events(lambda event: event.is_step_failure)
    assert "everybody" in str(failed.step_failure_data.user_failure_data)
