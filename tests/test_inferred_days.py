"""The record of inference: what was inferred completely, by which algorithm, seeing what of the landing zone."""

from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest
from conftest import Pipeline

from journeys_dagster.definitions import algorithm_in_use
from journeys_dagster.inference.fingerprint import step_version
from journeys_dagster.orchestration.sensors import stale_since
from journeys_dagster.resources.home import Home
from journeys_dagster.resources.landing_state import LANDING_FINGERPRINT
from journeys_dagster.settings import Settings
from journeys_dagster.sources.writer import write_day

DAY = date(2025, 6, 10)
NEXT = date(2025, 6, 11)
VERSION = algorithm_in_use(Settings()).version


def search(home: Home, day: date, *users: str) -> Path:
    times = [datetime(day.year, day.month, day.day)] * len(users)
    frame = pl.DataFrame({"user_id": users, "query": ["sofa"] * len(users), "occurred_at": times})
    return write_day(home.landing, source="searches", day=day, frame=frame)


def recorded(pipeline: Pipeline) -> dict[tuple[date, str], dict[str, object]]:
    return {(row["as_of"], row["scope"]): row for row in pipeline.table("inferred_days").iter_rows(named=True)}


def test_an_incremental_run_of_the_day_leaves_the_record_of_the_full_one(
    copy_of_world: Callable[[str], Pipeline], world_days: list[date]
) -> None:
    pipeline = copy_of_world("both")
    before = recorded(pipeline)[world_days[0], "all_users"]
    assert stale_since(pipeline.warehouse, VERSION) is None
    assert pipeline.materialize("users_in_scope", "inferred_days", days=(world_days[0], world_days[0])).success
    after = recorded(pipeline)
    assert after[world_days[0], "all_users"] == before
    assert 0 < int(str(after[world_days[0], "active_users"]["users"])) < int(str(before["users"]))
    assert stale_since(pipeline.warehouse, VERSION) is None


def test_the_record_counts_users_and_journeys(finished: Pipeline, world_days: list[date]) -> None:
    record = recorded(finished)[world_days[-1], "active_users"]
    snapshot = finished.table("user_snapshots", f"as_of = date '{world_days[-1]}'")
    assert record["users"] == snapshot.height
    assert record["journeys"] == snapshot["journeys"].sum()
    assert record["algorithm_version"] == VERSION


def test_a_day_with_nobody_in_scope_is_recorded_too(home: Home) -> None:
    pipeline = Pipeline(home)
    search(home, DAY)
    pipeline.run(DAY, up_to=["inferred_days", "current_user_journeys"])
    (record,) = recorded(pipeline).values()
    assert (record["scope"], record["users"], record["journeys"]) == ("active_users", 0, 0)
    assert record["landing_fingerprint"] == seen(pipeline, DAY)
    assert pipeline.table("users_in_scope").is_empty()
    assert pipeline.table("current_user_journeys").is_empty()


def seen(pipeline: Pipeline, as_of: date) -> str:
    return pipeline.warehouse.query(LANDING_FINGERPRINT, {"as_of": as_of})["landing_fingerprint"][0]


@pytest.mark.slow
def test_the_fingerprint_covers_what_had_arrived_until_the_day(home: Home) -> None:
    pipeline = Pipeline(home)
    search(home, DAY, "ann")
    search(home, NEXT, "ben")
    pipeline.run(DAY)
    pipeline.run(NEXT)
    records = recorded(pipeline)
    first, second = records[DAY, "active_users"], records[NEXT, "active_users"]
    assert first["landing_fingerprint"] == seen(pipeline, DAY) != second["landing_fingerprint"]
    search(home, NEXT, "ben", "cat")
    pipeline.ingest(NEXT)
    assert first["landing_fingerprint"] == seen(pipeline, DAY)
    assert second["landing_fingerprint"] != seen(pipeline, NEXT)


@pytest.mark.slow
def test_states_of_landing_days_are_kept_in_the_order_in_which_inference_saw_them(home: Home) -> None:
    pipeline = Pipeline(home)
    search(home, DAY, "ann")
    search(home, NEXT, "ben")
    pipeline.run(DAY)
    pipeline.run(DAY)
    pipeline.run(NEXT)
    search(home, DAY, "ann", "cat")
    pipeline.run(NEXT)
    states = pipeline.table("seen_landing_days")
    assert states.select("number", "arrival_day").rows() == [(1, DAY), (2, NEXT), (3, DAY)]


def test_a_run_that_fails_leaves_no_record(copy_of_world: Callable[[str], Pipeline], world_days: list[date]) -> None:
    pipeline = copy_of_world("failing")
    with pipeline.warehouse.write() as connection:
        connection.execute("alter table keywords drop column weight")
    with pytest.raises(RuntimeError, match="keywords"):
        pipeline.run_in_dagster(world_days[3])
    assert (world_days[3], "active_users") not in recorded(pipeline)


def test_what_the_algorithm_was_made_of_is_kept(finished: Pipeline) -> None:
    parts = finished.table("algorithm_parts")
    assert set(parts["algorithm_version"]) == {VERSION}
    values = dict(parts.select("part", "value").iter_rows())
    assert values["clusters.distance_threshold"] == "0.54"
    assert values["step stages"] == f'"{step_version("stages")}"'
    assert "step keywords" in values
    assert values["embedding model"].startswith('"all-MiniLM-L6-v2@')
    assert not [part for part in values if part.startswith(("run.", "landing.", "automation.", "alerts."))]
