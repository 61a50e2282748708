"""The real daemon: a day lands, and its journeys appear in the warehouse without a hand, also after a power cut."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
from conftest import WORLD_LAST_DAY, Pipeline

from journeys_dagster.cli.home_status import home_status
from journeys_dagster.environment import PROJECT_ROOT
from journeys_dagster.resources.home import Home
from journeys_dagster.settings import Settings
from lab.simulation import simulate

BIN = Path(sys.executable).parent
SOURCES = ("searches", "engagements", "items", "board_items", "notification_feedback", "human_labels")


def environment(home: Home) -> dict[str, str]:
    return os.environ | {
        "JOURNEYS_HOME": str(home.path),
        "DAGSTER_HOME": str(home.dagster),
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(PROJECT_ROOT),
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def daemon(home: Home, log: Path, *, by: signal.Signals = signal.SIGINT) -> Iterator[subprocess.Popen[bytes]]:
    """`dg dev` on loopback, ended with all of its processes."""
    command = ["dg", "dev", "-w", "workspace.yaml", "--host", "127.0.0.1", "--port", str(free_port())]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=PROJECT_ROOT, env=environment(home), stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process
    finally:
        os.killpg(process.pid, by)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def eventually(met: Callable[[], bool], what: str, *, log: Path, seconds: float = 300) -> float:
    began = time.monotonic()
    while not met():
        assert time.monotonic() < began + seconds, f"{what} not within {seconds} s:\n{log.read_text()[-5000:]}"
        time.sleep(0.5)
    return time.monotonic() - began


@pytest.fixture
def watched(home: Home, tmp_path: Path) -> Path:
    """A home whose last day is still to come, inferred until the day before, with `landing_sensor` on; its last day."""
    simulate(home.landing, users=20, days=10, seed=11, last_day=WORLD_LAST_DAY)
    aside = tmp_path / "aside"
    aside.mkdir()
    for source in SOURCES:
        folder = home.landing_zone().folder(source, WORLD_LAST_DAY)
        if folder.exists():
            shutil.move(folder, aside / source)
    Pipeline(home).run(WORLD_LAST_DAY - timedelta(days=1), "all_users")
    home.dagster_instance().dispose()
    command = ["dagster", "sensor", "start", "landing_sensor", "-w", "workspace.yaml"]
    subprocess.run(command, cwd=PROJECT_ROOT, env=environment(home), check=True, capture_output=True, timeout=300)
    return aside


def land(home: Home, aside: Path) -> None:
    """Put the day there as a producer would: the files, then `_SUCCESS`."""
    folders = [(path, home.landing_zone().folder(path.name, WORLD_LAST_DAY)) for path in aside.iterdir()]
    for path, folder in folders:
        shutil.copytree(path, folder, ignore=shutil.ignore_patterns("_SUCCESS"))
    for _, folder in folders:
        (folder / "_SUCCESS").touch()


def inferred(home: Home) -> bool:
    found = home.warehouse(Settings()).query(
        f"from inferred_days where as_of = date '{WORLD_LAST_DAY}' and scope = 'active_users' and users > 0"
    )
    return not found.is_empty()


def journeys(home: Home) -> int:
    query = f"select count(*) as n from user_journeys where as_of = date '{WORLD_LAST_DAY}'"
    return home.warehouse(Settings()).query(query)["n"][0]


def runs(home: Home) -> list[dg.DagsterRun]:
    instance = home.dagster_instance()
    found = list(instance.get_runs())
    instance.dispose()
    return found


@pytest.mark.slow
def test_a_day_that_lands_is_inferred_without_a_hand(
    home: Home, watched: Path, tmp_path: Path, figures: Callable[..., None]
) -> None:
    log = tmp_path / "daemon.log"
    with daemon(home, log) as process:
        eventually(lambda: "Sensor landing_sensor skipped" in log.read_text(), "the first tick", log=log)
        assert not inferred(home)
        land(home, watched)
        seconds = eventually(lambda: inferred(home), "the day inferred", log=log)
        eventually(lambda: runs(home)[0].is_finished, "the run's end", log=log)
        assert process.poll() is None
    assert process.poll() is not None
    figures(seconds_from_landing_to_journeys=round(seconds, 1), journeys=journeys(home))
    assert journeys(home) > 0
    (run,) = runs(home)
    assert run.is_success
    assert run.tags["dagster/partition"] == WORLD_LAST_DAY.isoformat()
    assert home_status(home, Settings())["runs"] == {"under_way": [], "lost": []}


@pytest.mark.slow
def test_a_daemon_killed_in_the_middle_of_a_run_ends_the_run_and_goes_on(
    home: Home, watched: Path, tmp_path: Path, figures: Callable[..., None]
) -> None:
    """As by a power cut: nobody is left who could say that the run has failed."""
    before, after = tmp_path / "before.log", tmp_path / "after.log"
    land(home, watched)
    with daemon(home, before, by=signal.SIGKILL):
        eventually(lambda: "RUN_START" in before.read_text(), "the run's start", log=before)
    (run,) = runs(home)
    assert not run.is_finished
    assert [lost["run_id"] for lost in home_status(home, Settings())["runs"]["lost"]] == [run.run_id]
    with daemon(home, after):
        seconds = eventually(lambda: inferred(home), "the day inferred", log=after)
        eventually(lambda: runs(home)[0].is_finished, "the run's end", log=after)
    figures(seconds_from_restart_to_journeys=round(seconds, 1), journeys=journeys(home))
    again, first = runs(home)
    assert (first.run_id, first.is_failure, again.is_success) == (run.run_id, True, True)
    assert again.parent_run_id == run.run_id
