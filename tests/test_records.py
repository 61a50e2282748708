"""Dagster's records in SQLite stay open while a run writes them."""

from pathlib import Path
from typing import Any

import dagster as dg

from journeys_dagster.orchestration.records import open_records
from journeys_dagster.resources.home import Home

_NORMAL, _FULL = 1, 2
"""How SQLite calls them."""


def test_the_log_of_records_is_folded_back_once_at_the_end(tmp_path: Path) -> None:
    instance = Home(tmp_path).dagster_instance()
    storage = instance.event_log_storage
    logs = [Path(instance.root_directory, "history", "runs", f"{name}.db-wal") for name in ("index", "a-run")]
    with open_records(instance, "a-run"):
        instance.report_engine_event("hello", run_id="a-run", job_name="a job")
        instance.report_runless_asset_event(dg.AssetMaterialization("an_asset"))
        assert all(log.exists() for log in logs)
        assert _synchronous(storage) == _NORMAL
    assert _synchronous(storage) == _FULL
    assert not any(log.exists() for log in logs)
    assert [event.message for event in storage.get_logs_for_run("a-run")] == ["hello"]
    assert instance.get_latest_materialization_event(dg.AssetKey("an_asset")) is not None


def _synchronous(storage: Any) -> int:
    with storage.index_connection() as connection:
        return connection.exec_driver_sql("pragma synchronous").scalar()


def test_records_in_memory_are_left_alone() -> None:
    with dg.DagsterInstance.ephemeral() as instance, open_records(instance, "a-run"):
        instance.report_engine_event("hello", run_id="a-run", job_name="a job")
        assert [event.message for event in instance.all_logs("a-run")] == ["hello"]
