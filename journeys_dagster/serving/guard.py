"""What every request passes: who may ask, how much and how often; and what is counted and logged of it, without ids.

As ASGI middleware of its own and not as one of FastAPI's, which would cost each request more than its answer does.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import logging
import os
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from journeys_dagster.errors import JourneysError

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_LOG = logging.getLogger("journeys.serving")
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_CLIENTS = 10_000
_BODY_SECONDS = 10.0
_UNGUARDED = frozenset({"/healthz"})
_HEADERS = [
    (b"content-security-policy", b"default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
     b"base-uri 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]  # fmt: skip
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5)


@dataclass(frozen=True)
class Limits:
    """What the service bears.

    Attributes
    ----------
    token : str
        What each request must bring; empty: none, and then only names of this machine are answered to.
    body_bytes : int
        Largest body of a request.
    per_second : float
        Requests of one address in a second; as many may come at once.
    """

    token: str = field(default="", repr=False)
    body_bytes: int = 64 * 1024
    per_second: float = 1_000.0


class _Refused(JourneysError, carries_user_text=False):  # noqa: N818 - an answer, not a fault
    def __init__(self, status: int, detail: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers


class Guard:
    """An application behind its limits.

    Parameters
    ----------
    registry : CollectorRegistry
        Where requests are counted.
    """

    def __init__(self, app: App, limits: Limits, registry: "CollectorRegistry") -> None:
        from prometheus_client import Counter, Histogram

        self._app, self._limits = app, limits
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._salt = os.urandom(16)
        labels = ("method", "route", "status")
        self._counted = Counter("journeys_requests", "Requests by route and status", labels, registry=registry)
        self._seconds = Histogram(
            "journeys_request_seconds", "How long answers took", ("route",), buckets=_BUCKETS, registry=registry
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status, has_begun = time.perf_counter(), 500, False

        async def answer(message: Message) -> None:
            nonlocal status, has_begun
            if message["type"] == "http.response.start":
                has_begun, status = True, message["status"]
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        try:
            self._admit(scope)
            await self._app(scope, self._limited(scope, receive), answer)
        except _Refused as refused:
            if not has_begun:
                await _refuse(answer, refused)
        except Exception as error:  # noqa: BLE001 - whatever it is, its message may hold what a user wrote
            _LOG.error("an answer failed: %s", type(error).__name__)
            if not has_begun:
                await _refuse(answer, _Refused(500, "the service has failed; its log says where"))
        finally:
            self._record(scope, status, time.perf_counter() - begun)

    def _admit(self, scope: Scope) -> None:
        headers = dict(scope["headers"])
        if not self._limits.token:
            # Else a page of anybody's could have a browser ask this machine, under a name that leads to it.
            host = headers.get(b"host", b"").decode("latin-1").rsplit(":", 1)[0].strip("[]")
            if host not in LOOPBACK:
                raise _Refused(421, "without a token the service answers to localhost alone")
        self._spend(scope["client"][0] if scope.get("client") else "")
        if self._limits.token and scope["path"] not in _UNGUARDED:
            given = _token(headers.get(b"authorization", b""))
            if not hmac.compare_digest(given, self._limits.token.encode()):
                raise _Refused(
                    401, "a token is needed", (b"www-authenticate", b'Basic realm="journeys", charset="UTF-8"')
                )
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self._limits.body_bytes:
            raise _Refused(413, f"a body of over {self._limits.body_bytes} bytes is not read")
        origin = headers.get(b"origin")
        if scope["method"] != "GET" and origin is not None and origin.partition(b"://")[2] != headers.get(b"host"):
            raise _Refused(403, "another site's page may not write here")

    def _spend(self, client: str) -> None:
        """One request of a client's allowance, which fills up as time goes by."""
        now, most = time.monotonic(), self._limits.per_second
        left, at = self._buckets.pop(client, (most, now))
        left = min(most, left + (now - at) * most)
        self._buckets[client] = (max(left - 1.0, 0.0), now)
        if len(self._buckets) > _CLIENTS:
            self._buckets.popitem(last=False)
        if left < 1.0:
            raise _Refused(429, "too many requests", (b"retry-after", b"1"))

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        """The body, as long as it is within the limits of size and time."""
        from starlette.exceptions import HTTPException

        read, until = 0, time.monotonic() + _BODY_SECONDS
        has_ended = False

        async def limited() -> Message:
            nonlocal read, has_ended
            if has_ended:
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), max(0.0, until - time.monotonic()))
            except TimeoutError:
                raise HTTPException(408, "the body came too slowly") from None
            read += len(message.get("body", b""))
            has_ended = not message.get("more_body", False)
            if read > self._limits.body_bytes:
                raise HTTPException(413, f"a body of over {self._limits.body_bytes} bytes is not read")
            return message

        return limited if scope["method"] not in {"GET", "HEAD"} else receive

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        self._counted.labels(scope["method"] if status != 405 else "other", route, status).inc()
        self._seconds.labels(route).observe(seconds)
        user = (scope.get("path_params") or {}).get("user_id")
        # The same within a process, so that one user's requests can be told from another's, and nothing outside of it.
        masked = (
            f" user {hashlib.blake2b(user.encode('utf-8', 'replace'), key=self._salt, digest_size=4).hexdigest()}"
            if user
            else ""
        )
        _LOG.info("%s %s %d %.1f ms%s", scope["method"], route, status, seconds * 1e3, masked)


def _token(authorization: bytes) -> bytes:
    """What was given as the token: a bearer's, or the password of a browser's dialogue."""
    kind, _, given = authorization.partition(b" ")
    if kind.lower() == b"basic":
        try:
            return base64.b64decode(given, validate=True).partition(b":")[2]
        except binascii.Error:
            return b""
    return given.strip() if kind.lower() == b"bearer" else b""


async def _refuse(send: Send, refused: _Refused) -> None:
    body = b'{"detail":"' + refused.detail.encode() + b'"}'
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *refused.headers]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
