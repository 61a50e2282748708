"""The service against those who mean harm: they get no data, it does not end, and others are answered meanwhile."""

import asyncio
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="fastapi missing: install the extra [serve]")
pytest.importorskip("uvicorn", reason="uvicorn missing: install the extra [serve]")

from conftest import WORLD_LAST_DAY

from journeys_dagster.resources.home import Home
from journeys_dagster.serving.service import Journeys
from journeys_dagster.settings import Settings

pytestmark = pytest.mark.slow
TOKEN = "a secret of some length"  # noqa: S105
BEARER = f"authorization: Bearer {TOKEN}"
SERVER = "from journeys_dagster.cli import main; main()"
TRICKS = (
    "/../../../../etc/passwd",
    "/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "/..%2f..%2f..%2fetc%2fpasswd",
    "/%252e%252e%252fetc%252fpasswd",
    "//etc/passwd",
    "/style.css/../page.py",
    "/style.css%2f..%2fpage.py",
    "/style.css%00.html",
    "/./style.css/../../../service.py",
    "/..\\..\\..\\warehouse.duckdb",
    "/healthz/../metrics",
    "/healthz/../v1/users/{user}/journeys",
    "/healthz;/v1/users/{user}/journeys",
    "/healthz/",
    "//healthz",
    "/v1//users/{user}/journeys",
    "/v1/users/..%2f{user}/journeys",
    "/v1/users/{user}%00/journeys",
    "/V1/users/{user}/journeys",
    "/static/../journeys.toml",
    "/warehouse.duckdb",
    "/published/data.mdb",
    "/file:///etc/passwd",
    "*",
    "http://localhost/v1/users/{user}/journeys",
    "/?user=" + "%00" * 50,
    "/?user=../../../../etc/passwd&beside=../../etc/passwd",
    "/compare?user={user}&left=../../etc/passwd&right=%27%20or%201=1--",
    "/why?user={user}&journey=%27%20or%201=1--",
    "/v1/related?user_id=%27%20or%20%27%27=%27",
)
SECRETS = ("root:", "import ", "DUCK", "[serving]", TOKEN)


@dataclass(frozen=True)
class Served:
    """A running service, and whom it knows."""

    port: int
    process: subprocess.Popen[bytes]
    user: str
    names: tuple[str, ...]

    def memory(self, *, at_most: bool = False) -> float:
        """Megabytes that it has, or has had at most."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return int(status.partition("VmHWM:" if at_most else "VmRSS:")[2].split()[0]) / 1e3

    async def ask(self, target: str, *headers: str, body: bytes = b"", method: str = "GET") -> tuple[int, str]:
        """Status and body of an answer; status 0 where the connection was ended without one."""
        lines = (f"{method} {target} HTTP/1.1", "host: localhost", "connection: close", *headers)
        said = ("\r\n".join(lines) + "\r\n\r\n").encode() + body
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            try:
                writer.write(said)
                await writer.drain()
                answer = await reader.read(-1)
            except ConnectionError:
                return 0, ""
            return (int(answer[9:12]), answer.decode("utf-8", "replace")) if answer else (0, "")
        finally:
            writer.transport.abort()


@pytest.fixture(scope="module")
def served(finished_home: Path) -> Iterator[Served]:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 20_000) if most > 0 else 20_000, most))
    service = Journeys(Home(finished_home), Settings(), on=WORLD_LAST_DAY)
    listed = "select user_id, list(name order by rank) as names from current_user_journeys group by user_id"
    row = service.rows(f"from ({listed}) order by len(names) desc, user_id limit 1")[0]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "JOURNEYS_HOME": str(finished_home), "JOURNEYS_TOKEN": TOKEN}
    options = ("--port", str(port), "--per-second", "100000", "--on", str(WORLD_LAST_DAY))
    # A small limit, as many systems have it: what serves raises its own.
    command = ["bash", "-c", 'ulimit -Sn 256; exec "$@"', "-", sys.executable, "-c", SERVER, "serve", *options]
    started = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        for _ in range(3_000):
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        yield Served(port, started, row["user_id"], tuple(row["names"]))
        assert started.poll() is None
    finally:
        started.kill()
        started.wait()


def run(asked: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(asked, 300))


async def assert_others_are_answered(served: Served, times: int = 20) -> None:
    for _ in range(times):
        status, text = await served.ask(f"/v1/users/{served.user}/journeys", BEARER)
        assert status == 200
        assert served.names[0] in text


def test_without_the_token_no_path_gives_anything(served: Served):
    async def ask() -> None:
        paths = ("/", "/style.css", "/metrics", "/openapi.json", "/readyz", "/v1/users/{user}/journeys", *TRICKS)
        for target in (path.replace("{user}", served.user) for path in paths):
            for header in (
                "x: y",
                "authorization: Bearer wrong",
                "authorization: Basic OmE=",
                f"cookie: token={TOKEN}",
            ):
                status, text = await served.ask(target, header)
                assert status in {400, 401}, (target, header, status)
                assert not any(name in text for name in (*served.names, *SECRETS)), (target, header)
        await assert_others_are_answered(served)

    run(ask())


def test_with_the_token_no_path_leads_to_a_file_or_to_another_user(served: Served):
    async def ask() -> None:
        for target in (path.replace("{user}", served.user) for path in TRICKS):
            status, text = await served.ask(target, BEARER)
            assert 200 <= status < 500, (target, status)
            assert not any(secret in text for secret in SECRETS), target
        # What looks like a query's end is a text that nobody has.
        _, text = await served.ask("/v1/related?user_id=%27%20or%20%27%27=%27", BEARER)
        assert '"related":[]' in text
        await assert_others_are_answered(served)

    run(ask())


def test_bodies_and_heads_of_10_megabytes_are_refused_and_not_kept(served: Served, figures: Callable[..., None]):
    large = b"x" * 10_000_000
    chunked = b"".join(b"%x\r\n%b\r\n" % (10_000, large[:10_000]) for _ in range(1_000)) + b"0\r\n\r\n"

    async def ask() -> None:
        await assert_others_are_answered(served)
        before = served.memory()
        for target in ("/v1/users:batchGet", "/grades", "/nothing"):
            for header in (BEARER, "x: y"):
                length = f"content-length: {len(large)}"
                for framing, body in ((length, large), ("transfer-encoding: chunked", chunked)):
                    status, _ = await served.ask(target, header, framing, body=body, method="POST")
                    assert status in {0, 401, 404, 413}, (target, header, framing)
        for _ in range(10):
            status, _ = await served.ask("/", "x: " + "x" * 10_000_000)
            assert status in {0, 400, 401}
            status, _ = await served.ask("/", *(f"x{number}: {'y' * 1_000}" for number in range(10_000)))
            assert status in {0, 400, 401}
            status, _ = await served.ask("/" + "x" * 10_000_000)
            assert status in {0, 400, 401}
        await assert_others_are_answered(served)
        grown = served.memory(at_most=True) - before
        figures(memory_grown_mb=grown)
        assert grown < 100

    run(ask())


@asynccontextmanager
async def crowd(served: Served, count: int, begin: bytes) -> AsyncIterator[list[asyncio.StreamReader]]:
    """Connections that have begun to say something."""
    pairs = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(count)]
    for _, writer in pairs:
        writer.write(begin)
    try:
        yield [reader for reader, _ in pairs]
    finally:
        for _, writer in pairs:
            writer.transport.abort()


SLOW = {
    "nothing": (b"", b""),
    "head": (b"GET /v1/users/a/journeys HTTP/1.1\r\nhost: localhost\r\n", b"x: y\r\n"),
    "body": (
        f"POST /v1/users:batchGet HTTP/1.1\r\nhost: localhost\r\n{BEARER}\r\ncontent-length: 60000\r\n\r\n".encode(),
        b" ",
    ),
    "after the answer": (
        b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\nGET /healthz HTTP/1.1\r\nhost: localhost\r\n",
        b"x: y\r\n",
    ),
}


@pytest.mark.parametrize("slow", SLOW)
def test_1000_slow_connections_are_ended_and_others_answered_meanwhile(served: Served, slow: str):
    begin, more = SLOW[slow]

    async def say_more(writers: list[asyncio.StreamReader]) -> None:
        for reader in writers:
            transport: Any = getattr(reader, "_transport")  # noqa: B009
            if not transport.is_closing():
                transport.write(more)

    async def ask() -> None:
        async with crowd(served, 1_000, begin) as slow_ones:
            ended = asyncio.gather(*(_to_its_end(each) for each in slow_ones))
            for _ in range(100):
                await assert_others_are_answered(served, 5)
                await say_more(slow_ones)
                if ended.done():
                    break
                await asyncio.sleep(1)
            assert ended.done(), "connections that say next to nothing are kept"
            answers = await ended
        assert not any(name.encode() in answer for name in served.names for answer in answers)
        await assert_others_are_answered(served)

    run(ask())


def test_connections_that_read_no_answer_hold_nobody_up(served: Served, figures: Callable[..., None]):
    many = f"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n{BEARER}\r\n\r\n".encode() * 1_000

    async def ask() -> None:
        before = served.memory()
        async with crowd(served, 200, many):
            for _ in range(10):
                await assert_others_are_answered(served, 5)
                await asyncio.sleep(0.5)
        grown = served.memory(at_most=True) - before
        figures(memory_grown_mb=grown)
        assert grown < 300

    run(ask())


async def _to_its_end(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(-1)
    except ConnectionError:
        return b""
