"""The service over HTTP: lists by user from the store, why and related from the warehouse, and the page."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from journeys_dagster.environment import what_is_missing
from journeys_dagster.errors import ExpectedError
from journeys_dagster.serving.evidence import NoSuchJourneyError
from journeys_dagster.serving.guard import LOOPBACK, App, Guard, Limits
from journeys_dagster.serving.lists import UserList
from journeys_dagster.serving.publication import Publication, StoreError, UnreachableStoreError
from journeys_dagster.serving.server import run
from journeys_dagster.serving.service import BusyError, Journeys

if TYPE_CHECKING:
    from fastapi import FastAPI

EXTRA = "serve"
NEEDED = ("fastapi", "jinja2", "prometheus_client", "uvicorn")
TOKEN_VARIABLE = "JOURNEYS_TOKEN"  # noqa: S105 - the variable's name
_LEAST_TOKEN = 16


class ServingError(ExpectedError, RuntimeError, carries_user_text=False):
    """The service cannot be started; the message says what to do."""


def build_app(journeys: Journeys, limits: Limits, *, other: Journeys | None = None) -> App:
    """The service as an ASGI application.

    Parameters
    ----------
    other : Journeys, optional
        Another home, whose lists the page shows beside.
    """
    from prometheus_client import CollectorRegistry

    registry = CollectorRegistry()
    return Guard(_routes(journeys, registry, other), limits, registry)


def allowed_limits(host: str, token: str, *, per_second: float = Limits.per_second) -> Limits:
    """The limits of a service at an address.

    Raises
    ------
    ServingError
        The extra is not installed; others than this machine could ask, and there is no token; or it could be guessed.
    """
    if said := what_is_missing(EXTRA, NEEDED):
        raise ServingError(f"to serve journeys takes {said}")
    if host not in LOOPBACK and not token:
        raise ServingError(
            f"{host} can be reached by others: set {TOKEN_VARIABLE} to a secret that each request must bring, or serve "
            "on 127.0.0.1"
        )
    if token and len(token) < _LEAST_TOKEN:
        raise ServingError(
            f"{TOKEN_VARIABLE} has {len(token)} characters, and could be guessed: use {_LEAST_TOKEN} or more"
        )
    return Limits(token=token, per_second=per_second)


def serve(
    journeys: Journeys, *, host: str, port: int, token: str, per_second: float, other: Journeys | None = None
) -> None:
    """Serve until the process is ended.

    Raises
    ------
    ServingError
        As from `allowed_limits`.
    StoreError
        Lists are in a server, and its URL is missing.
    """
    _ = journeys.store
    limits = allowed_limits(host, token, per_second=per_second)
    run(build_app(journeys, limits, other=other), host=host, port=port)


def _routes(journeys: Journeys, registry: Any, other: Journeys | None) -> "FastAPI":  # noqa: ANN401 - of an extra
    from fastapi import FastAPI, Path, Query, Request, Response
    from fastapi.concurrency import run_in_threadpool
    from fastapi.responses import JSONResponse
    from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

    from journeys_dagster.serving import schemas
    from journeys_dagster.serving.web.page import add_page

    app = FastAPI(title="Journeys", version="1", docs_url=None, redoc_url=None, openapi_url="/openapi.json")
    refusals: dict[int | str, dict[str, Any]] = {
        503: {"model": schemas.Refusal, "description": "Nothing is published yet, or a run has the warehouse"}
    }

    @app.exception_handler(StoreError)
    @app.exception_handler(BusyError)
    async def unavailable(request: Request, error: Exception) -> Response:
        detail = str(error)
        if isinstance(error, StoreError):
            is_there = isinstance(error, UnreachableStoreError)
            detail = "the published lists do not answer" if is_there else "nothing is published yet"
        return JSONResponse({"detail": detail}, 503, headers={"retry-after": "2"})

    @app.exception_handler(NoSuchJourneyError)
    async def unknown(request: Request, error: Exception) -> Response:
        return JSONResponse({"detail": "that user has no such journey listed"}, 404)

    def answer(request: Request, publication: Publication, today: date, **more: Any) -> Response:  # noqa: ANN401
        """An answer that a client may keep until the next publication or day."""
        tag = f'"{publication.version}-{today}"'
        headers = {"etag": tag, "cache-control": "private, no-cache"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        body = {"version": publication.version, "day": publication.day, "read_on": today, **more}
        return Response(msgspec.json.encode(body), media_type="application/json", headers=headers)

    async def lists(users: Sequence[str]) -> tuple[Publication, dict[str, UserList]]:
        if journeys.published.is_remote:
            return await run_in_threadpool(journeys.lists, users)
        return journeys.lists(users)

    # What answers from memory is asynchronous; what waits for the warehouse or a server runs in a thread.
    @app.get("/v1/users/{user_id:path}/journeys/{journey_id:path}/why", responses={
        200: {"model": schemas.Why}, 404: {"model": schemas.Refusal}, **refusals,
    })  # fmt: skip
    def why(user_id: schemas.UserId, journey_id: Annotated[str, Path(min_length=1, max_length=100)]) -> Response:
        """Why a journey is listed, where it is, and as what: as data, and in words."""
        return JSONResponse(journeys.why(user_id, journey_id))

    @app.get("/v1/users/{user_id:path}/journeys", responses={
        200: {"model": schemas.UserJourneys}, 304: {"description": "The list that the client has"},
        404: {"model": schemas.Refusal, "description": "An id with a line break, which no user has"}, **refusals,
    })  # fmt: skip
    async def user_journeys(
        request: Request,
        user_id: schemas.UserId,
        *,
        stage: schemas.Stage | None = None,
        phase: schemas.Phase | None = None,
        notify_only: bool = False,
        limit: Annotated[int, Query(ge=1, le=100)] = 100,
    ) -> Response:
        """A user's list as of today; the journeys that are left by the filters keep their ranks."""
        today = journeys.today
        publication, found = await lists([user_id])
        rows = _filtered(found.get(user_id), today, stage, phase, notify_only=notify_only, limit=limit)
        return answer(request, publication, today, user_id=user_id, journeys=rows)

    @app.post("/v1/users:batchGet", responses={200: {"model": schemas.ManyJourneys}, **refusals})
    async def batch_get(request: Request, asked: schemas.BatchGet) -> Response:
        """The lists of up to 1,000 users, all of one publication."""
        today = journeys.today
        publication, found = await lists(asked.users)
        users = [
            {
                "user_id": user,
                "journeys": _filtered(
                    found.get(user), today, asked.stage, asked.phase, notify_only=asked.notify_only, limit=asked.limit
                ),
            }
            for user in asked.users
        ]
        return answer(request, publication, today, users=users)

    @app.get("/v1/related", responses={200: {"model": schemas.Related}, **refusals})
    def related(user_id: Annotated[str, Query(min_length=1, max_length=500)]) -> Response:
        """The related journeys that a user is offered, best first."""
        return JSONResponse({"user_id": user_id, "related": journeys.related(user_id)})

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Whether the process answers."""
        return {"status": "ok"}

    @app.get("/readyz", responses=refusals)
    def readyz() -> dict[str, Any]:
        """Whether lists can be looked up, and of which publication."""
        published = journeys.published.publication()
        return {"version": published.version, "day": published.day, "users": published.users}

    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Requests by route and status, and how long they took, for Prometheus."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    add_page(app, journeys, other)
    return app


def _filtered(
    found: UserList | None, today: date, stage: str | None, phase: str | None, *, notify_only: bool, limit: int
) -> list[dict[str, Any]]:
    rows: Iterable[dict[str, Any]] = found.rows(today) if found is not None else []
    return [
        _with_zone(row)
        for row in rows
        if stage in {None, row["stage"]} and phase in {None, row["phase"]} and (row["may_notify"] or not notify_only)
    ][:limit]


def _with_zone(row: dict[str, Any]) -> dict[str, Any]:
    """The row with its times as RFC 3339 wants them; they are in UTC."""
    keywords = [{**each, "last_seen": each["last_seen"].replace(tzinfo=UTC)} for each in row["keywords"]]
    seen = {name: row[name].replace(tzinfo=UTC) for name in ("first_seen", "last_seen")}
    return {**row, **seen, "keywords": keywords}
