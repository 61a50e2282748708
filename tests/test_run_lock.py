"""Runs of one home take turns, and a killed run is told from one that lives."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.launcher import WorkerStatus

from journeys_dagster.definitions import build_defs
from journeys_dagster.orchestration.run_launcher import HomeRunLauncher
from journeys_dagster.resources.file_lock import LockTimeoutError, file_lock
from journeys_dagster.resources.home import Home
from journeys_dagster.resources.run_lock import RunLockError, RunWarehouse, _mark, run_lock, was_killed
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import Settings

HOLD = """
import sys, time
from pathlib import Path
from journeys_dagster.resources.run_lock import run_lock
with run_lock(Path(sys.argv[1]), run_id=sys.argv[2], title="the other", timeout_seconds=10, say=print):
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def held_by_a_process(home: Path, run_id: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", HOLD, str(home), run_id]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            yield holder
        finally:
            holder.kill()


def kill(holder: "subprocess.Popen[str]") -> None:
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()


def test_a_run_that_has_to_wait_says_for_whom_and_gives_up_with_the_way_out(tmp_path: Path) -> None:
    said: list[str] = []
    with held_by_a_process(tmp_path, "aaaa") as holder:
        with (
            pytest.raises(RunLockError, match=r"mine .* waited for over 0\.2 s for the other .*lock_timeout_seconds"),
            run_lock(tmp_path, run_id="bbbb", title="mine", timeout_seconds=0.2, say=said.append),
        ):
            pass
        assert len(said) == 1
        assert f"waits for the other (process {holder.pid}, run aaaa)" in said[0]
        kill(holder)
        with run_lock(tmp_path, run_id="cccc", title="mine", timeout_seconds=60, say=said.append):
            pass
    assert len(said) == 1, "the lock of a killed process is free"


def test_a_run_waits_until_the_other_one_has_ended(tmp_path: Path) -> None:
    ended: list[float] = []

    def other() -> None:
        with run_lock(tmp_path, run_id="aaaa", title="other", timeout_seconds=60, say=print):
            begun.set()
            time.sleep(0.2)
            ended.append(time.monotonic())

    begun, thread = threading.Event(), threading.Thread(target=other)
    thread.start()
    assert begun.wait(60)
    with run_lock(tmp_path, run_id="bbbb", title="mine", timeout_seconds=60, say=lambda _: None):
        assert ended
    thread.join()


def test_a_run_within_a_run_shares_its_turn_and_another_home_has_its_own(tmp_path: Path) -> None:
    def turn(home: str, run_id: str):
        return run_lock(tmp_path / home, run_id=run_id, title="", timeout_seconds=0, say=pytest.fail)

    with turn("home", "aaaa"), turn("home", "bbbb"), turn("elsewhere", "cccc"):
        assert was_killed(tmp_path / "home", "aaaa") is False


def test_a_killed_run_is_told_from_one_that_lives_and_one_that_ended(tmp_path: Path) -> None:
    with held_by_a_process(tmp_path, "aaaa") as holder:
        assert was_killed(tmp_path, "aaaa") is False
        kill(holder)
    assert was_killed(tmp_path, "aaaa") is True
    with run_lock(tmp_path, run_id="bbbb", title="", timeout_seconds=0, say=print):
        pass
    assert was_killed(tmp_path, "bbbb") is None


# With Dagster


@pytest.fixture
def instance(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("DAGSTER_HOME", "")
    with home.dagster_instance() as instance:
        yield instance


@dg.asset
def nothing() -> None:
    pass


def started_run(instance: dg.DagsterInstance) -> dg.DagsterRun:
    """A run as it stands in Dagster's records while it is under way, or after it was killed."""
    run = instance.create_run_for_job(dg.Definitions([nothing]).resolve_implicit_global_asset_job_def())
    instance.report_dagster_event(
        dg.DagsterEvent(event_type_value="PIPELINE_START", job_name=run.job_name), run_id=run.run_id
    )
    return run


def status(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRunStatus:
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found.status


def test_every_asset_is_covered(home: Home) -> None:
    defs = build_defs(settings=Settings(), home=home)
    for asset in defs.resolve_asset_graph().assets_defs:
        assert "warehouse" in asset.required_resource_keys, asset.key
    assert isinstance(defs.resources["warehouse"], RunWarehouse)  # type: ignore[index]


def test_the_next_run_records_the_end_of_killed_ones_and_of_no_others(home: Home, instance: dg.DagsterInstance) -> None:
    killed, living = started_run(instance), started_run(instance)
    with held_by_a_process(home.path, killed.run_id) as holder:
        kill(holder)
    lives, over = threading.Event(), threading.Event()

    @dg.asset
    def alone(context: dg.AssetExecutionContext, warehouse: Warehouse) -> None:
        assert isinstance(warehouse, RunWarehouse)
        assert was_killed(home.path, context.run.run_id) is False
        with pytest.raises(LockTimeoutError), ThreadPoolExecutor() as another:
            another.submit(take_the_lock, home.path).result()

    def wait() -> None:
        # A run that waits for its turn lives.
        with held_mark(home.path, living.run_id):
            lives.set()
            over.wait(30)

    thread = threading.Thread(target=wait)
    thread.start()
    assert lives.wait(5)
    try:
        resources = {"warehouse": home.run_warehouse(Settings())}
        assert dg.materialize([alone], instance=instance, resources=resources).success
    finally:
        over.set()
        thread.join()
    assert status(instance, killed) == dg.DagsterRunStatus.FAILURE
    assert status(instance, living) == dg.DagsterRunStatus.STARTED
    assert list((home.path / "runs").iterdir()) == []


def take_the_lock(home: Path) -> None:
    with file_lock(home / "run.lock", shared=False, timeout_seconds=0):
        pass


@contextmanager
def held_mark(home: Path, run_id: str) -> Iterator[None]:
    with _mark(home / "runs" / run_id, "waits"):
        yield


def test_run_monitoring_learns_of_killed_runs_from_the_launcher(home: Home, instance: dg.DagsterInstance) -> None:
    launcher = instance.run_launcher
    assert isinstance(launcher, HomeRunLauncher)
    assert launcher.supports_check_run_worker_health
    run = started_run(instance)
    assert launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING, "it may be about to leave its mark"
    with held_by_a_process(home.path, run.run_id) as holder:
        assert launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING
        kill(holder)
    assert launcher.check_run_worker_health(run).status == WorkerStatus.FAILED


def test_a_run_that_was_killed_before_it_left_a_mark_is_found_too(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = started_run(instance)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 301)
    assert instance.run_launcher.check_run_worker_health(run).status == WorkerStatus.FAILED


def test_the_settings_of_dagster_name_the_launcher(home: Home) -> None:
    home.dagster_instance().dispose()
    assert "class: HomeRunLauncher" in (home.dagster / "dagster.yaml").read_text()
