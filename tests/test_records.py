"""Dagster's records in SQLite stay open while a command writes them."""

from pathlib import Path
from typing import Any

import dagster as dg

from journeys_dagster.orchestration.records import KeptEventLogStorage
from journeys_dagster.resources.home import Home

_NORMAL, _FULL = 1, 2
"""How SQLite calls them."""


def test_the_log_of_records_is_folded_back_once_at_the_end(tmp_path: Path) -> None:
    home = Home(tmp_path)
    instance = home.dagster_instance()
    storage = instance.event_log_storage
    assert isinstance(storage, KeptEventLogStorage)
    logs = [Path(instance.root_directory, "history", "runs", f"{name}.db-wal") for name in ("index", "a-run")]
    instance.report_engine_event("hello", run_id="a-run", job_name="a job")
    instance.report_runless_asset_event(dg.AssetMaterialization("an_asset"))
    assert all(log.exists() for log in logs)
    assert _synchronous(storage) == _NORMAL
    instance.dispose()
    assert not any(log.exists() for log in logs)


def test_whoever_opens_the_home_with_dagsters_own_storage_sees_the_same(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with home.dagster_instance() as instance, dg.DagsterInstance.from_config(str(home.dagster)) as other:
        instance.report_engine_event("hello", run_id="a-run", job_name="a job")
        instance.report_runless_asset_event(dg.AssetMaterialization("an_asset"))
        assert not isinstance(other.event_log_storage, KeptEventLogStorage)
        assert [event.message for event in other.all_logs("a-run")] == ["hello"]
        assert other.get_latest_materialization_event(dg.AssetKey("an_asset")) is not None
        other.report_engine_event("and hello", run_id="a-run", job_name="a job")
        assert [event.message for event in instance.all_logs("a-run")] == ["hello", "and hello"]
        assert _synchronous(other.event_log_storage) == _FULL


def test_a_storage_that_the_operator_has_chosen_is_left_alone(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.dagster_instance().dispose()
    settings = home.dagster / "dagster.yaml"
    chosen = f"\nstorage:\n  sqlite:\n    base_dir: {tmp_path / 'elsewhere'}\n"
    settings.write_text(settings.read_text(encoding="utf-8") + chosen, encoding="utf-8")
    with home.dagster_instance() as instance:
        assert not isinstance(instance.event_log_storage, KeptEventLogStorage)


def _synchronous(storage: Any) -> int:
    with storage.index_connection() as connection:
        return connection.exec_driver_sql("pragma synchronous").scalar()
