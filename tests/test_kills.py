"""Publishers and the service killed at random moments: nobody sees a mixed list, and the next one goes on."""

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import pytest
from conftest import REDIS_VARIABLE

from journeys_dagster.serving.publication import Store

DAY = date(2025, 6, 10)
NEXT = DAY + timedelta(days=1)
LIST = (
    '["{user}","2025-06-10",[["j",1,"version {version}","keyword",true,[],"action","rule",0.5,0.5,0.5,"heuristic",1,1,'
    '"2025-06-01T00:00:00","2025-06-01T00:00:00","2025-07-01",null,"v","all_users"]]]'
)
STORE = """
import sys
from datetime import date
from pathlib import PosixPath
from journeys_dagster.serving.redis_store import RedisStore
from journeys_dagster.serving.store import FolderStore
store, text, users = eval(sys.argv[1]), sys.argv[2], [f"u{number}" for number in range(int(sys.argv[3]))]
print("ready", flush=True)
"""
PUBLISHER = f"""{STORE}
while True:
    with store.publishing(day=date(2025, 6, 10)) as made:
        version = 1 if made.before is None else made.before.version + 1
        for user in users:
            made.put(user, text.replace("{{user}}", user).replace("{{version}}", str(version)))
    print("published", flush=True)
"""
# What it has seen it says five times a second at most, as nobody listens until the end.
READER = f"""{STORE}
import time
lists, said, at = store.lists(), 0, 0.0
while True:
    published, found = lists.get(users)
    names = {{found[user].journeys[0].name for user in users}}
    if names != {{f"version {{published.version}}"}}:
        print("mixed", published, names, flush=True)
    if published.version != said and time.monotonic() > at + 0.2:
        said, at = published.version, time.monotonic()
        print("saw", said, flush=True)
    time.sleep(0.002)
"""
SERVER = "from journeys_dagster.cli import main; main()"


def start(code: str, store: Store, users: int) -> subprocess.Popen[str]:
    """A process that has opened nothing yet, and begins."""
    command = [sys.executable, "-c", code, repr(store), LIST, str(users)]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    assert started.stdout.readline() == "ready\n"
    return started


def publish_first(store: Store, users: int) -> None:
    with store.publishing(day=DAY) as made:
        for number in range(users):
            made.put(f"u{number}", LIST.replace("{user}", f"u{number}").replace("{version}", "1"))


def kill_a_publisher(store: Store, users: int, drawn: random.Random) -> int:
    """How many publications it ended before it was killed."""
    publisher = start(PUBLISHER, store, users)
    assert publisher.stdout is not None
    # Killed within the first, second or third publication, however fast they are.
    ended = drawn.randint(0, 2)
    for _ in range(ended):
        assert publisher.stdout.readline() == "published\n"
    time.sleep(drawn.uniform(0, 0.05))
    publisher.send_signal(signal.SIGKILL)
    publisher.communicate()
    return ended


def version_of(store: Store) -> int:
    with closing(store.lists()) as lists:
        return lists.publication().version


def assert_the_next_publication_goes_on(store: Store, users: int) -> None:
    last = version_of(store)
    with store.publishing(day=NEXT) as made:
        assert made.users() == users
        made.put("u0", LIST.replace("{user}", "u0").replace("{version}", "newest"))
    with closing(store.lists()) as lists:
        publication, found = lists.get(["u0", "u1"])
    assert (publication.version, publication.users) == (last + 1, users)
    assert found["u0"].journeys[0].name == "version newest"
    assert found["u1"].journeys[0].name == f"version {last}"


def kill_publishers(store: Store, *, kills: int, users: int, readers: int, seed: int = 3) -> None:
    """Publishers killed at random moments while others read, who see whole publications, the last one too."""
    drawn = random.Random(seed)  # noqa: S311
    publish_first(store, users)
    reading = [start(READER, store, users) for _ in range(readers)]
    try:
        published = 1 + sum(kill_a_publisher(store, users, drawn) for _ in range(kills))
        last = version_of(store)
        assert last >= published
        for reader in reading:
            assert reader.stdout is not None
            for line in reader.stdout:
                assert line.startswith("saw "), line
                if line == f"saw {last}\n":
                    break
    finally:
        for reader in reading:
            reader.kill()
            reader.communicate()
    assert_the_next_publication_goes_on(store, users)


def test_killed_publishers_never_leave_a_mixed_list(store: Store):
    kill_publishers(store, kills=2, users=300, readers=1)


@pytest.mark.slow
def test_200_killed_publishers_never_leave_a_mixed_list(store: Store):
    kill_publishers(store, kills=200, users=3_000, readers=2)


@dataclass
class OverHttp:
    """Somebody who asks the service for many lists at once, again and again, and finds it gone now and then."""

    port: int
    users: int
    answers: int = 0
    unanswered: int = 0
    versions: set[int] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)
    should_end: bool = False

    def ask(self) -> None:
        body = json.dumps({"users": [f"u{number}" for number in range(self.users)]})
        while not self.should_end:
            try:
                with closing(http.client.HTTPConnection("localhost", self.port, timeout=10)) as connection:
                    while not self.should_end:
                        connection.request("POST", "/v1/users:batchGet", body, {"content-type": "application/json"})
                        answer = connection.getresponse()
                        self._look(answer.status, answer.read())
                        time.sleep(0.002)
            except (OSError, http.client.HTTPException):
                self.unanswered += 1
                time.sleep(0.02)

    def _look(self, status: int, body: bytes) -> None:
        told = json.loads(body)
        names = {each["journeys"][0]["name"] for each in told.get("users", [])}
        if status != 200 or names != {f"version {told['version']}"}:
            self.wrong.append(f"{status}: {body[:200]!r}, {names}")
        self.answers += 1
        self.versions.add(told.get("version", 0))


@contextmanager
def service(store: Store, folder: Path, users: int) -> Iterator[tuple[Callable[[], None], OverHttp]]:
    """The service on published lists, what kills it and starts it anew, and somebody who asks it."""
    settings = folder / "journeys.toml"
    prefix = getattr(store, "prefix", None)
    if prefix is not None:
        lines = ("[serving]", 'store = "redis"', f'redis_variable = "{REDIS_VARIABLE}"', f'redis_prefix = "{prefix}"')
        settings.write_text("\n".join(lines))
    else:
        settings.write_text("")
        (folder / "published").symlink_to(store.folder)  # type: ignore[attr-defined]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "JOURNEYS_HOME": str(folder), "JOURNEYS_SETTINGS": str(settings)}
    command = [sys.executable, "-c", SERVER, "serve", "--port", str(port), "--per-second", "1000000"]
    running: list[subprocess.Popen[bytes]] = []
    asking = OverHttp(port, users)
    thread = threading.Thread(target=asking.ask)

    def start_anew() -> None:
        if running:
            killed = running.pop()
            killed.send_signal(signal.SIGKILL)
            killed.wait()
        running.append(subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL))
        before = asking.answers
        for _ in range(6_000):
            if asking.answers > before:
                return
            assert running[0].poll() is None
            time.sleep(0.01)
        raise TimeoutError("the service does not answer")

    thread.start()
    try:
        start_anew()
        yield start_anew, asking
    finally:
        asking.should_end = True
        for each in running:
            each.kill()
            each.wait()
        thread.join()


@pytest.mark.slow
def test_200_kills_of_publishers_and_the_service_show_nobody_a_mixed_list(
    store: Store, tmp_path: Path, figures: Callable[..., None]
):
    users, drawn = 300, random.Random(5)  # noqa: S311
    publish_first(store, users)
    reader = start(READER, store, users)
    counts = {"publishers": 0, "services": 0}
    try:
        with service(store, tmp_path, users) as (start_anew, asking):
            for _ in range(200):
                if drawn.random() < 0.5:
                    counts["publishers"] += 1
                    kill_a_publisher(store, users, drawn)
                else:
                    counts["services"] += 1
                    # While somebody publishes.
                    publisher = start(PUBLISHER, store, users)
                    time.sleep(drawn.uniform(0, 0.2))
                    start_anew()
                    publisher.kill()
                    publisher.communicate()
            last = version_of(store)
            for _ in range(3_000):
                if last in asking.versions:
                    break
                time.sleep(0.01)
            assert asking.wrong == []
            assert last in asking.versions
            assert reader.stdout is not None
            for line in reader.stdout:
                assert line.startswith("saw "), line
                if line == f"saw {last}\n":
                    break
    finally:
        reader.kill()
        reader.communicate()
    assert_the_next_publication_goes_on(store, users)
    figures(**counts, answers=asking.answers, unanswered=asking.unanswered, versions_seen=len(asking.versions))
