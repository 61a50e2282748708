"""Freshness: the newest inferred day counts, not when anything was materialised last."""

from datetime import UTC, date, datetime, timedelta

import dagster as dg
import polars as pl
import pytest
from conftest import Pipeline

from journeys_dagster.orchestration.alerts import failed_checks
from journeys_dagster.resources.home import Home
from journeys_dagster.settings import Settings

DEADLINE = datetime(2025, 6, 20, 9, tzinfo=UTC)


def evaluated(pipeline: Pipeline, deadline: datetime) -> dg.AssetCheckEvaluation:
    """What the schedule's run of a deadline says."""
    schedule = pipeline.defs.resolve_schedule_def("freshness_schedule")
    context = dg.build_schedule_context(instance=pipeline.instance, scheduled_execution_time=deadline)
    (request,) = schedule.evaluate_tick(context).run_requests or []
    job = pipeline.defs.resolve_job_def("freshness")
    result = job.execute_in_process(instance=pipeline.instance, run_config=request.run_config)
    (evaluation,) = result.get_asset_check_evaluations()
    (run,) = pipeline.instance.get_runs(limit=1)
    assert bool(failed_checks(run, pipeline.instance)) is not evaluation.passed
    return evaluation


def inferred(pipeline: Pipeline, *days: date) -> None:
    rows = pl.DataFrame({"as_of": days})
    with pipeline.warehouse.write() as connection:
        connection.register("rows", rows)
        connection.execute("create table if not exists inferred_days (as_of date)")
        connection.execute("insert into inferred_days from rows")
    for day in days:
        event = dg.AssetMaterialization("user_journeys", partition=day.isoformat())
        pipeline.instance.report_runless_asset_event(event)


def test_an_old_day_run_again_makes_nothing_fresh(empty_pipeline: Pipeline) -> None:
    assert not evaluated(empty_pipeline, DEADLINE).passed
    inferred(empty_pipeline, date(2025, 6, 18), date(2025, 6, 1))
    late = evaluated(empty_pipeline, DEADLINE)
    assert not late.passed
    assert "the newest inferred day is 2025-06-18" in str(late.description)
    inferred(empty_pipeline, date(2025, 6, 19))
    assert evaluated(empty_pipeline, DEADLINE).passed
    assert not evaluated(empty_pipeline, DEADLINE + timedelta(days=1)).passed


@pytest.mark.parametrize(("hours", "fresh"), [(9.0, False), (33.0, True)])
def test_how_old_the_newest_day_may_be_is_a_setting(home: Home, hours: float, fresh: bool) -> None:
    pipeline = Pipeline(home, Settings.model_validate({"automation": {"freshness_hours": hours}}))
    inferred(pipeline, date(2025, 6, 18))
    assert evaluated(pipeline, DEADLINE).passed is fresh


def test_no_day_of_a_run_is_asked_whether_it_is_fresh(empty_pipeline: Pipeline) -> None:
    graph = empty_pipeline.defs.resolve_asset_graph()
    assert all(graph.get(key).freshness_policy is None for key in graph.get_all_asset_keys())
    for name in ("daily_incremental", "full_inference"):
        checks = empty_pipeline.defs.resolve_job_def(name).asset_layer.asset_graph.asset_check_keys
        assert checks
        assert "newest_day" not in {check.name for check in checks}
