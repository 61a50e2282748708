"""The routes of the page: a person, why, everyone, compare, and grades."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from journeys_dagster.reporting.text import format_number, printable
from journeys_dagster.serving.evidence import NoSuchJourneyError
from journeys_dagster.serving.publication import StoreError
from journeys_dagster.serving.service import BusyError, Journeys
from journeys_dagster.serving.web import queries
from journeys_dagster.serving.web.grades import GradeError, land_grades
from journeys_dagster.serving.web.lanes import lanes

if TYPE_CHECKING:
    from fastapi import FastAPI

_FILES = Path(__file__).parent
_GRADED = "grade:"
_GRADE_WORDS = {1: "irrelevant", 2: "hardly", 3: "partly", 4: "relevant", 5: "highly relevant"}
_TABLE_ROWS, _FEWEST_BARS = 15, 14


def add_page(app: "FastAPI", journeys: Journeys, other: Journeys | None) -> None:
    """Add the page's routes to the service."""
    import jinja2
    from fastapi import Request
    from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response

    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FILES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    templates.filters |= {
        "said": printable,
        "number": format_number,
        "share": lambda value: f"{value:.0%}",
        "link": lambda params: "?" + urlencode({name: value for name, value in params.items() if value}),
    }

    def render(name: str, *, status: int = 200, **told: Any) -> Response:  # noqa: ANN401 - what the template asks for
        text = templates.get_template(name).render(told | {"today": journeys.today, "has_other": other is not None})
        return HTMLResponse(text, status, headers={"cache-control": "no-store"})

    @app.get("/style.css", include_in_schema=False)
    async def style() -> Response:
        return FileResponse(_FILES / "style.css", media_type="text/css")

    @app.get("/favicon.ico", include_in_schema=False)
    async def no_icon() -> Response:
        return Response(status_code=204)

    @app.get("/", include_in_schema=False)
    def person(user: str = "", beside: str = "") -> Response:
        try:
            told = _person(journeys, user.strip(), beside) if user.strip() else {}
        except StoreError as error:
            return render("person.html", status=503, user=user, problem=str(error))
        return render("person.html", user=user.strip(), **told)

    @app.get("/random", include_in_schema=False)
    def anybody() -> Response:
        try:
            found = journeys.published.anybody()
        except StoreError as error:
            return render("person.html", status=503, user="", problem=str(error))
        return RedirectResponse("/?" + urlencode({"user": found or ""}), 303)

    @app.get("/why", include_in_schema=False)
    def why(user: str = "", journey: str = "") -> Response:
        try:
            told = journeys.why(user, journey)
            tree = journeys.rows(queries.TREE, user=user, journey=journey)
        except NoSuchJourneyError:
            return render("why.html", status=404, user=user, problem="that user has no such journey listed")
        except BusyError as error:
            return render("why.html", status=503, user=user, problem=str(error))
        return render("why.html", user=user, told=told, tree=tree)

    @app.get("/everyone", include_in_schema=False)
    def everyone() -> Response:
        try:
            return render("everyone.html", **_everyone(journeys))
        except BusyError as error:
            return render("everyone.html", status=503, problem=str(error))

    @app.get("/compare", include_in_schema=False)
    def compare(user: str = "", left: str = "", right: str = "", graded: int = 0) -> Response:
        try:
            told = _compare(journeys, other, user.strip(), left, right) if user.strip() else {}
        except (BusyError, StoreError) as error:
            return render("compare.html", status=503, user=user, problem=str(error))
        return render("compare.html", user=user.strip(), grades=_GRADE_WORDS, graded=graded, **told)

    @app.post("/grades", include_in_schema=False)
    async def grade(request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode("utf-8", "replace"), max_num_fields=500))
        given = {name.removeprefix(_GRADED): value for name, value in form.items() if name.startswith(_GRADED)}
        grades = {journey: int(value) for journey, value in given.items() if value.isascii() and value.isdecimal()}
        user = form.get("user", "")
        try:
            land_grades(journeys.home.landing, user=user, annotator=form.get("annotator", ""), grades=grades)
        except GradeError as error:
            return render("compare.html", status=422, user=user, grades=_GRADE_WORDS, problem=str(error))
        back = {name: form.get(name, "") for name in ("user", "left", "right")}
        return RedirectResponse("/compare?" + urlencode(back | {"graded": len(grades)}), 303)


def _person(journeys: Journeys, user: str, beside: str) -> dict[str, Any]:
    """What the page shows of a user; without the warehouse, the list alone."""
    publication, found = journeys.lists([user])
    rows = found[user].rows(journeys.today) if user in found else []
    told: dict[str, Any] = {"publication": publication, "rows": rows, "is_known": bool(rows), "beside": beside}
    try:
        events = journeys.rows(queries.EVENTS, user=user)
        told["days"] = [row["day"] for row in journeys.rows(queries.DAYS, user=user)]
        told["noise"] = journeys.rows(queries.NOISE, user=user)
        told["related"] = journeys.related(user)
        told["earlier"] = journeys.rows(queries.LIST_OF_DAY, user=user, day=beside) if _is_day(beside) else []
    except BusyError as error:
        return {**told, "problem": f"The list is all there is to see for now: {error}"}
    timed = [{**event, "occurred_at": datetime.fromisoformat(event["occurred_at"])} for event in events]
    told["lanes"], told["ticks"] = lanes(timed, rows)
    told["is_known"] = bool(rows or told["days"])
    return told


def _everyone(journeys: Journeys) -> dict[str, Any]:
    told: dict[str, Any] = {
        "mix": _bars(journeys.rows(queries.MIX), ("evergreen", "ongoing", "ended")),
        "volume": _bars(journeys.rows(queries.VOLUME), ("rows",)),
        "largest": journeys.trends(limit=_TABLE_ROWS, least_users=2, growing=False),
        "growing": journeys.trends(limit=_TABLE_ROWS, least_users=3, growing=True),
        "runs": journeys.rows(queries.RUNS),
        "alarms": journeys.rows(queries.ALARMS),
        "judge": journeys.rows(queries.JUDGE),
    }
    told["without"] = next(iter(journeys.rows(queries.WITHOUT)), None)
    try:
        told["publication"] = journeys.published.publication()
    except StoreError as error:
        told["problem"] = str(error)
    return told


def _bars(rows: Sequence[Mapping[str, Any]], parts: Sequence[str]) -> dict[str, Any]:
    """Stacked bars by day, in per cent of the drawing."""
    most = max((sum(row[part] for part in parts) for row in rows), default=0) or 1
    width = 100 / max(len(rows), _FEWEST_BARS)
    bars = []
    for place, row in enumerate(rows):
        top = 100.0
        for part in parts:
            height = 100 * row[part] / most
            top -= height
            said = f"{row['day']}: {row[part]:,} {part}"
            bars.append(
                {"x": place * width, "y": top, "width": width * 0.8, "height": height, "of": part, "says": said}
            )
    return {"bars": bars, "parts": parts, "most": most, "rows": rows}


def _compare(journeys: Journeys, other: Journeys | None, user: str, left: str, right: str) -> dict[str, Any]:
    """Two lists of a user: of two days, or of this home and the other one."""
    days = [row["day"] for row in journeys.rows(queries.DAYS, user=user)]
    right = right if right in days else next(iter(days), "")
    there = other if other is not None else journeys
    earlier = [row["day"] for row in there.rows(queries.DAYS, user=user)]
    left = left if left in earlier else next((day for day in earlier if other is not None or day != right), right)
    places = [("the other home, ", there, left), ("this home, ", journeys, right)] if right else []
    sides = [
        {"title": (which if other else "") + day, "rows": of.rows(queries.LIST_OF_DAY, user=user, day=day)}
        for which, of, day in places
    ]
    shown: dict[str, dict[str, Any]] = {}
    for side in sides:
        ids = {row["journey_id"] for each in sides if each is not side for row in each["rows"]}
        for row in side["rows"]:
            row["is_new"] = row["journey_id"] not in ids
            shown.setdefault(row["journey_id"], row)
    return {
        "days": days,
        "earlier": earlier,
        "left": left,
        "right": right,
        "sides": sides,
        "graded_rows": list(shown.values()),
    }


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
