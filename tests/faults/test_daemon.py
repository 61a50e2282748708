"""The real daemon: a day lands, and its journeys appear in the warehouse without a hand."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import pytest
from conftest import WORLD_LAST_DAY, Pipeline

from journeys_dagster.automation.status import home_status
from journeys_dagster.resources.home import Home
from journeys_dagster.settings import PROJECT_ROOT, Settings
from journeys_dagster.simulation import simulate

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
def daemon(home: Home, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`dg dev` on loopback, ended with all of its processes."""
    command = ["dg", "dev", "-w", "workspace.yaml", "--host", "127.0.0.1", "--port", str(free_port())]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=PROJECT_ROOT, env=environment(home), stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGINT)
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


def turn_on(home: Home, *sensors: str) -> None:
    for sensor in sensors:
        command = ["dagster", "sensor", "start", sensor, "-w", "workspace.yaml"]
        subprocess.run(command, cwd=PROJECT_ROOT, env=environment(home), check=True, capture_output=True, timeout=120)


def hold_back(home: Home, day: date, aside: Path) -> None:
    """Take a day out of the landing zone."""
    for source in SOURCES:
        folder = home.landing_zone().folder(source, day)
        if folder.exists():
            shutil.move(folder, aside / source)


def land(home: Home, day: date, aside: Path) -> None:
    """Put it back as a producer would: the files, then `_SUCCESS`."""
    folders = [(path, home.landing_zone().folder(path.name, day)) for path in aside.iterdir()]
    for path, folder in folders:
        shutil.copytree(path, folder, ignore=shutil.ignore_patterns("_SUCCESS"))
    for _, folder in folders:
        (folder / "_SUCCESS").touch()


@pytest.mark.slow
def test_a_day_that_lands_is_inferred_without_a_hand(home: Home, tmp_path: Path, figures: Callable[..., None]) -> None:
    day, log, aside = WORLD_LAST_DAY, tmp_path / "daemon.log", tmp_path / "aside"
    simulate(home.landing, users=20, days=10, seed=11, last_day=day)
    aside.mkdir()
    hold_back(home, day, aside)
    Pipeline(home).run(day - timedelta(days=1), "all_users")
    home.dagster_instance().dispose()
    turn_on(home, "landing_sensor")
    warehouse = home.warehouse(Settings())

    def inferred() -> bool:
        where = f"as_of = date '{day}' and scope = 'active_users' and users > 0"
        return not warehouse.query(f"from inferred_days where {where}").is_empty()

    with daemon(home, log) as process:
        eventually(lambda: "Sensor landing_sensor skipped" in log.read_text(), "the first tick", log=log)
        assert not inferred()
        land(home, day, aside)
        seconds = eventually(inferred, f"{day} inferred", log=log)
        journeys = warehouse.query(f"select count(*) as n from user_journeys where as_of = date '{day}'")["n"][0]
        assert process.poll() is None
        instance = home.dagster_instance()
        eventually(lambda: instance.get_runs()[0].is_finished, "the run's end", log=log)
        (run,) = instance.get_runs()
        instance.dispose()
    figures(seconds_from_landing_to_journeys=round(seconds, 1), journeys=journeys)
    assert journeys > 0
    assert process.poll() is not None
    assert run.is_success
    assert run.tags["dagster/partition"] == day.isoformat()
    assert home_status(home, Settings())["what_to_do"] == []
