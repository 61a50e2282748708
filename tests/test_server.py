"""What the server waits for and takes in has an end, and who behaves notices nothing of it."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="uvicorn missing: install the extra [serve]")
import uvicorn

from journeys_dagster.serving import server

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:uvicorn.*")
REQUEST = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"
LARGE = b"x" * 20_000_000


async def answer(scope: Any, receive: Any, send: Any) -> None:
    body = LARGE if scope["path"] == "/large" else b"hello"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with socket.socket() as listening, pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "_HEAD_SECONDS", 0.2)
        patch.setattr(server, "_UNREAD_SECONDS", 0.2)
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(answer, http=server.bounded_protocol(), ws="none", log_level="critical")
        running = uvicorn.Server(config)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
        thread.start()
        while not running.started:
            time.sleep(0.01)
        yield listening.getsockname()[1]
        running.should_exit = True
        thread.join()


@pytest.fixture
def connection(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connected:
        yield connected


def to_its_end(connection: socket.socket) -> bytes:
    """What comes until the server ends the connection."""
    came = b""
    with suppress(ConnectionError):
        while more := connection.recv(1 << 20):
            came += more
    return came


def say(connection: socket.socket, data: bytes) -> None:
    with suppress(ConnectionError):
        connection.sendall(data)


@pytest.mark.parametrize("said", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nhost: localhost\r\n"])
def test_a_head_that_does_not_come_is_not_waited_for(connection: socket.socket, said: bytes):
    say(connection, said)
    assert to_its_end(connection) == b""


def test_nor_is_the_next_one_of_a_connection(connection: socket.socket):
    say(connection, REQUEST)
    assert connection.recv(1_000).endswith(b"hello")
    say(connection, b"GET / HTTP/1.1\r\n")
    assert to_its_end(connection) == b""


def test_between_requests_a_client_may_rest(connection: socket.socket):
    for _ in range(2):
        say(connection, REQUEST)
        assert connection.recv(1_000).endswith(b"hello")
        time.sleep(0.4)


@pytest.mark.parametrize("head", [b"x: y\r\n" * 100_000, b"x: " + b"y" * 600_000, b"x" * 600_000])
def test_a_head_without_an_end_is_cut_off(connection: socket.socket, head: bytes):
    say(connection, b"GET / HTTP/1.1\r\n" + head)
    say(connection, b"\r\n\r\n")
    assert b"hello" not in to_its_end(connection)


def test_a_few_requests_may_wait_for_their_turn_and_not_any_number(port: int):
    for count, are_answered in ((10, True), (1_000, False)):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connected:
            say(connected, REQUEST * (count - 1) + REQUEST.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
            assert (to_its_end(connected).count(b"hello") == count) is are_answered


def test_an_answer_that_nobody_reads_is_given_up(connection: socket.socket):
    say(connection, b"GET /large HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
    time.sleep(1)
    assert len(to_its_end(connection)) < len(LARGE)
