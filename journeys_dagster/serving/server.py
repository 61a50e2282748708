"""Running an application on a port, also where clients take their time or never come to an end."""

import asyncio
from typing import Any

from journeys_dagster.serving.guard import App

_HEAD_SECONDS, _HEAD_BYTES = 10.0, 64 * 1024
_UNREAD_SECONDS = 30.0
_REQUEST_BYTES = 16 * 1024 * 1024
"""What is refused is still read that far, so that the client comes to read the refusal."""
_PIPELINED = 16
"""Requests of a connection that wait for the answers to earlier ones, which hardly any client has."""
_MOST_FILES = 65_536


def run(app: App, *, host: str, port: int) -> None:
    """Serve until the process is ended."""
    import uvicorn

    _allow_many_connections()
    asgi: Any = app
    # Its own log would hold ids.
    uvicorn.run(
        asgi,
        host=host,
        port=port,
        http=bounded_protocol(),
        ws="none",
        access_log=False,
        server_header=False,
        log_level="warning",
    )


def bounded_protocol() -> Any:  # noqa: ANN401 - of an extra
    """Uvicorn's protocol, with an end to what it would wait for or take in without one; the guard sees to the body."""
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    base: Any = AutoHTTPProtocol

    class Bounded(base):
        """Ends a connection that brings no whole head in time, too much at once, or reads no answer."""

        _head_is_due: asyncio.TimerHandle | None = None
        _is_unread: asyncio.TimerHandle | None = None
        _is_in_head = False
        _came = 0

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self._wait_for_head()

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            self._came += len(data)
            if self._came > (_HEAD_BYTES if self._is_in_head else _REQUEST_BYTES):
                self.transport.abort()
                return
            before = self.cycle
            if before is None or before.response_complete:
                self._wait_for_head()
            super().data_received(data)
            if self.cycle is not before:
                self._came = 0
                self._head_is_due = _cancelled(self._head_is_due)

        def connection_lost(self, exc: Exception | None) -> None:
            self._head_is_due, self._is_unread = _cancelled(self._head_is_due), _cancelled(self._is_unread)
            super().connection_lost(exc)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._is_unread = self.loop.call_later(_UNREAD_SECONDS, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            self._is_unread = _cancelled(self._is_unread)

        # Of httptools alone, which sets no bound itself.
        def on_message_begin(self) -> None:
            self._is_in_head, self._came = True, 0
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            self._is_in_head = False
            if len(self.pipeline) >= _PIPELINED:
                self.transport.abort()
                return
            super().on_headers_complete()

        def _wait_for_head(self) -> None:
            if self._head_is_due is None:
                self._head_is_due = self.loop.call_later(_HEAD_SECONDS, self.transport.abort)

    return Bounded


def _cancelled(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


def _allow_many_connections() -> None:
    """As many open files as the system lets this process have: each connection is one."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
