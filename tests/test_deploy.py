"""What `deploy/` holds: facts of the compose file, and its processes without containers on a real Postgres."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import WORLD_LAST_DAY, Pipeline

from journeys_dagster.environment import PROJECT_ROOT
from journeys_dagster.resources.home import Home
from lab.simulation import simulate

DEPLOY = PROJECT_ROOT / "deploy"
SHIPPED = PROJECT_ROOT / "journeys_dagster" / "resources" / "dagster.yaml"
LASTING = ("code", "daemon", "postgres", "webserver")
BIN = Path(sys.executable).parent


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return read(DEPLOY / "compose.yaml")


def test_what_runs_on_is_looked_after(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert {*services} == {*LASTING, "setup"}
    for name in LASTING:
        assert services[name]["restart"] == "unless-stopped", name
        assert services[name]["healthcheck"]["test"][0] == "CMD", name
    assert services["setup"]["restart"] == "no"
    waits = {name: service.get("depends_on", {}) for name, service in services.items()}
    assert waits == {
        "postgres": {},
        "setup": {"postgres": {"condition": "service_healthy"}},
        "code": {"setup": {"condition": "service_completed_successfully"}},
        "webserver": {"code": {"condition": "service_healthy"}},
        "daemon": {"code": {"condition": "service_healthy"}},
    }


def test_one_port_is_open_on_loopback_and_no_secret_is_written(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", ())]
    assert ports == ["127.0.0.1:3000:3000"]
    for name, service in compose["services"].items():
        for variable, value in service["environment"].items():
            if variable.endswith(("PASSWORD", "KEY", "WEBHOOK", "TOKEN")):
                assert value is None or value.startswith("${"), (name, variable)
        if name != "postgres":
            assert service["cap_drop"] == ["ALL"]
            assert service["environment"]["DAGSTER_PG_PASSWORD"].startswith("${DAGSTER_PG_PASSWORD:?")


def test_every_process_has_the_home_and_the_same_dagster_settings(compose: dict[str, Any]) -> None:
    assert {*compose["volumes"]} == {"home", "records"}
    for name in ("code", "daemon", "setup", "webserver"):
        mounted = [volume.split(":") for volume in compose["services"][name]["volumes"]]
        assert ["home", "/data"] in mounted
        for source, target, *_ in mounted:
            assert source == "home" or (target.startswith("/data/dagster/") and (DEPLOY / source).is_file()), name
    image = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    assert "JOURNEYS_HOME=/data DAGSTER_HOME=/data/dagster" in image
    assert "\nUSER journeys\n" in image


def test_dagster_settings_are_those_of_a_home_with_records_in_postgres() -> None:
    settings = read(DEPLOY / "dagster.yaml")
    storage = settings.pop("storage")
    assert settings == read(SHIPPED)
    assert storage["postgres"]["postgres_db"]["password"] == {"env": "DAGSTER_PG_PASSWORD"}


def test_the_image_is_sent_what_it_copies() -> None:
    image = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").splitlines()
    sent = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {word for line in image if line.startswith("COPY ") for word in line.split()[1:-1]}
    assert copied == sent
    assert all((PROJECT_ROOT / name).exists() for name in sent)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="docker-compose is not installed")
def test_compose_reads_the_file() -> None:
    # Debian's version is older than the key `name`.
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8").replace("\nname: journeys\n", "\n")

    def config(**variables: str) -> subprocess.CompletedProcess[str]:
        others = {name: value for name, value in os.environ.items() if name != "DAGSTER_PG_PASSWORD"}
        command = ["docker-compose", "--project-directory", str(DEPLOY), "--file", "-", "config"]
        return subprocess.run(
            command, input=text, env=others | variables, capture_output=True, text=True, check=False, timeout=300
        )

    told = config(**{"DAGSTER_PG_PASSWORD": (chosen := "of this test alone")})
    assert told.returncode == 0, told.stderr
    services = yaml.safe_load(told.stdout)["services"]
    told_to = {
        (name, key) for name in services for key, value in services[name]["environment"].items() if value == chosen
    }
    assert told_to == {("postgres", "POSTGRES_PASSWORD")} | {
        (name, "DAGSTER_PG_PASSWORD") for name in ("code", "daemon", "setup", "webserver")
    }
    refused = config()
    assert refused.returncode != 0
    assert "a password for Postgres" in refused.stderr


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def eventually(met: Callable[[], bool], what: str, *, logs: Path, seconds: float = 300) -> None:
    began = time.monotonic()
    while not met():
        said = "\n".join(f"{log.name}: {log.read_text()[-3000:]}" for log in logs.glob("*.log"))
        assert time.monotonic() < began + seconds, f"{what} not within {seconds} s:\n{said}"
        time.sleep(0.5)


@contextmanager
def process(command: list[str], log: Path, **named: Any) -> Iterator[None]:
    """A process on its own, ended with all that it started."""
    with log.open("wb") as output:
        started = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True, **named)
    try:
        yield
    finally:
        os.killpg(started.pid, signal.SIGTERM)
        try:
            started.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            started.wait()


class Postgres:
    """A server of its own on loopback; it refuses to run as root."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.port, self.password = free_port(), "of this test alone"
        self._programs, self._data, self._logs = programs, folder / "data", folder
        self._as_user: dict[str, Any] = {"user": "postgres"} if os.geteuid() == 0 else {}
        (folder / "password").write_text(self.password)
        if self._as_user:
            for path in (folder, folder / "password"):
                os.chown(path, pwd.getpwnam("postgres").pw_uid, -1)

    @contextmanager
    def serving(self) -> Iterator[None]:
        set_up = [self._programs / "initdb", "--pgdata", self._data, "--username=dagster", "--auth=scram-sha-256"]
        password = f"--pwfile={self._logs / 'password'}"
        subprocess.run([*map(str, set_up), password], check=True, capture_output=True, cwd="/", **self._as_user)
        serve = [self._programs / "postgres", "-D", self._data, "-k", self._logs, "-h", "127.0.0.1", "-p", self.port]
        with process([*map(str, serve)], self._logs / "postgres.log", cwd="/", **self._as_user):
            ready = [str(self._programs / "pg_isready"), "-h", "127.0.0.1", "-p", str(self.port)]
            eventually(lambda: subprocess.run(ready, check=False).returncode == 0, "Postgres", logs=self._logs)
            self.ask("create database dagster", database="postgres")
            yield

    def ask(self, query: str, *, database: str = "dagster") -> list[list[str]]:
        command = [str(self._programs / "psql"), "-h", "127.0.0.1", "-p", str(self.port), "-U", "dagster", "-AtX"]
        environment = os.environ | {"PGPASSWORD": self.password}
        told = subprocess.run(
            [*command, "-d", database, "-c", query], env=environment, capture_output=True, text=True, check=True
        )
        return [line.split("|") for line in told.stdout.splitlines()]


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("Debian's package postgresql is not installed")
    folder = Path(tempfile.mkdtemp(prefix="postgres"))
    server = Postgres(folder, found[-1].parent)
    with server.serving():
        yield server
    shutil.rmtree(folder)


class Stack:
    """Services of the compose file as plain processes of this machine."""

    def __init__(self, compose: Mapping[str, Any], home: Home, postgres: Postgres, logs: Path) -> None:
        self._services, self._logs = compose["services"], logs
        code, web = str(free_port()), str(free_port())
        everywhere = "0.0.0.0"  # noqa: S104 - what containers listen on; here it is loopback
        self._here = {"/data": str(home.path), everywhere: "127.0.0.1", "4000": code, "3000": web}
        self._environment = os.environ | {
            **{name: str(value) for name, value in self._services["setup"]["environment"].items()},
            "DAGSTER_PG_HOST": "127.0.0.1",
            "DAGSTER_PG_PORT": str(postgres.port),
            "DAGSTER_PG_PASSWORD": postgres.password,
            "DAGSTER_CODE_HOST": "127.0.0.1",
            "DAGSTER_CODE_PORT": code,
            "JOURNEYS_HOME": str(home.path),
            "DAGSTER_HOME": str(home.dagster),
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(PROJECT_ROOT),
        }
        self._folder = home.path

    def command(self, words: list[str]) -> list[str]:
        for there, here in self._here.items():
            words = [word.replace(there, here) for word in words]
        return words

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = self.command([*words])
        return subprocess.run(
            command, cwd=self._folder, env=self._environment, capture_output=True, text=True, check=False, timeout=300
        )

    def is_healthy(self, service: str) -> bool:
        return self.run(*self._services[service]["healthcheck"]["test"][1:]).returncode == 0

    @contextmanager
    def up(self) -> Iterator[None]:
        done = self.run(*self._services["setup"]["command"])
        assert done.returncode == 0, done.stderr
        with ExitStack() as running:
            for service in ("code", "webserver", "daemon"):
                command = self.command(self._services[service]["command"])
                log = self._logs / f"{service}.log"
                running.enter_context(process(command, log, cwd=self._folder, env=self._environment))
                eventually(lambda name=service: self.is_healthy(name), f"{service} healthy", logs=self._logs)
            yield


@pytest.mark.slow
def test_landed_days_run_through_the_services_on_postgres(
    compose: dict[str, Any], postgres: Postgres, home: Home, tmp_path: Path
) -> None:
    pytest.importorskip("dagster_postgres", reason="the extra postgres is not installed")
    simulate(home.landing, users=20, days=2, seed=11, last_day=WORLD_LAST_DAY)
    home.dagster.mkdir()
    shutil.copy(DEPLOY / "workspace.yaml", home.dagster)
    # So that nothing but the pool of the warehouse has runs wait for each other.
    settings = read(DEPLOY / "dagster.yaml")
    settings["concurrency"]["runs"]["max_concurrent_runs"] = 5
    (home.dagster / "dagster.yaml").write_text(yaml.safe_dump(settings))
    stack = Stack(compose, home, postgres, tmp_path)
    of_days = "from runs where pipeline_name = 'daily_incremental'"
    with stack.up():
        started = stack.run("dagster", "sensor", "start", "landing_sensor", "-w", "/data/dagster/workspace.yaml")
        assert started.returncode == 0, started.stderr
        ended = f"select count(*) {of_days} and status = 'SUCCESS'"
        eventually(lambda: postgres.ask(ended) == [["2"]], "two runs", logs=tmp_path, seconds=900)
        assert all(stack.is_healthy(service) for service in ("code", "webserver", "daemon"))
    runs = [[*map(float, run)] for run in postgres.ask(f"select start_time, end_time {of_days} order by start_time")]
    (_, first_ended), (second_started, _) = runs
    assert second_started >= first_ended
    # No record lies in SQLite's files.
    assert not list(home.dagster.rglob("*.db"))
    own = Home(tmp_path / "own")
    shutil.copytree(home.landing, own.landing)
    expected = Pipeline(own)
    for back in (1, 0):
        expected.run(WORLD_LAST_DAY - timedelta(days=back))
    journeys = expected.table("user_journeys")
    assert not journeys.is_empty()
    assert home.warehouse(expected.settings).query("from user_journeys order by all").equals(journeys)
