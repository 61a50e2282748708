"""The service: what it gives, to whom, how much, also while a run has the warehouse; and that logs hold no ids."""

import base64
import logging
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

pytest.importorskip("fastapi", reason="fastapi missing: install the extra [serve]")
pytest.importorskip("prometheus_client", reason="prometheus_client missing: install the extra [serve]")
pytest.importorskip("httpx", reason="httpx missing, by which the service is asked")

from conftest import WORLD_LAST_DAY
from starlette.testclient import TestClient

from journeys_dagster.cli import cli
from journeys_dagster.resources.home import Home
from journeys_dagster.serving.api import ServingError, build_app, serve
from journeys_dagster.serving.guard import Limits
from journeys_dagster.serving.service import Journeys
from journeys_dagster.serving.web.grades import GradeError, land_grades
from journeys_dagster.serving.web.lanes import lanes
from journeys_dagster.settings import Settings
from journeys_dagster.sources.contracts import declared_sources
from journeys_dagster.sources.reader import read_days

LOCAL = "http://localhost"
TOKEN = "a secret of some length"  # noqa: S105


@pytest.fixture(scope="module")
def service(finished_home: Path) -> Iterator[Journeys]:
    found = Journeys(Home(finished_home), Settings(), on=WORLD_LAST_DAY)
    yield found
    found.close()


@pytest.fixture(scope="module")
def client(service: Journeys) -> TestClient:
    return TestClient(build_app(service, Limits()), base_url=LOCAL)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def rows(service: Journeys) -> list[dict[str, Any]]:
    """Rows of the user with the longest list."""
    longest = "select user_id from current_user_journeys group by user_id order by count(*) desc, user_id limit 1"
    found = service.rows(f"from current_user_journeys where user_id = ({longest}) order by rank")
    for row in found:
        for times in (row, *row["keywords"]):
            times |= {name: times[name] + "Z" for name in ("first_seen", "last_seen") if name in times}
    return found


@pytest.fixture(scope="module")
def user(rows: list[dict[str, Any]]) -> str:
    return rows[0]["user_id"]


def guarded(service: Journeys, **limits: Any) -> TestClient:
    return TestClient(build_app(service, Limits(**limits)), base_url=LOCAL)  # type: ignore[arg-type]


def test_a_list_is_that_of_the_view_and_filters_leave_ranks_as_they_are(
    client: TestClient, rows: list[dict[str, Any]], user: str
):
    url = f"/v1/users/{user}/journeys"
    found = client.get(url).json()
    assert found["read_on"] == found["day"] == str(WORLD_LAST_DAY)
    assert found["journeys"] == rows
    assert len(rows) > 3
    for name, values in (("stage", ("evergreen", "ongoing", "ended")), ("phase", ("inspiration", "action"))):
        for value in values:
            expected = [row for row in rows if row[name] == value]
            assert client.get(url, params={name: value}).json()["journeys"] == expected
    assert (
        client.get(url, params={"limit": 2, "notify_only": True}).json()["journeys"]
        == [row for row in rows if row["may_notify"]][:2]
    )
    assert client.get(url, params={"stage": "any"}).status_code == 422
    assert client.get("/v1/users/a stranger/é/journeys").json()["journeys"] == []


def test_a_client_that_has_the_publication_of_the_day_is_told_so(client: TestClient, user: str):
    url = f"/v1/users/{user}/journeys"
    tag = client.get(url).headers["etag"]
    again = client.get(url, headers={"if-none-match": tag})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get(url, headers={"if-none-match": '"another"'}).status_code == 200


def test_many_lists_come_in_order_and_no_more_than_are_allowed(
    client: TestClient, rows: list[dict[str, Any]], user: str
):
    found = client.post("/v1/users:batchGet", json={"users": ["stranger", user], "limit": 1}).json()
    assert [each["user_id"] for each in found["users"]] == ["stranger", user]
    assert [each["journeys"] for each in found["users"]] == [[], rows[:1]]
    for wrong in ([], ["u"] * 1_001, [""], ["u" * 501]):
        assert client.post("/v1/users:batchGet", json={"users": wrong}).status_code == 422


def test_why_and_related_are_what_the_warehouse_says(
    client: TestClient, service: Journeys, rows: list[dict[str, Any]], user: str
):
    journey = rows[0]["journey_id"]
    assert client.get(f"/v1/users/{user}/journeys/{journey}/why").json() == service.why(user, journey)
    assert client.get(f"/v1/users/{user}/journeys/none/why").status_code == 404
    expected = service.rows("from expansions where user_id = $user and as_of = $day", user=user, day=WORLD_LAST_DAY)
    found = client.get("/v1/related", params={"user_id": user}).json()["related"]
    assert sorted(row["related"] for row in found) == sorted(row["related"] for row in expected)


def test_while_a_run_has_the_warehouse_lists_are_there_and_the_rest_is_asked_again(
    client: TestClient, service: Journeys, rows: list[dict[str, Any]], user: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("journeys_dagster.serving.service._WAIT_SECONDS", 0.05)
    is_held, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        with service.home.look_up().open_for_writing():
            is_held.set()
            may_end.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert is_held.wait(30)
        assert client.get(f"/v1/users/{user}/journeys").json()["journeys"] == rows
        assert client.get("/readyz").status_code == 200
        refused = client.get(f"/v1/users/{user}/journeys/{rows[0]['journey_id']}/why")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
        page = client.get("/", params={"user": user})
        assert page.status_code == 200
        assert rows[0]["name"] in page.text
        assert "The list is all there is to see for now" in page.text
        assert client.get("/everyone").status_code == 503
    finally:
        may_end.set()
        thread.join()


def test_before_anything_is_published_it_lives_and_is_not_ready(tmp_path: Path):
    empty = guarded(Journeys(Home(tmp_path), Settings()))
    assert empty.get("/healthz").status_code == 200
    for path in ("/readyz", "/v1/users/u/journeys", "/?user=u", "/random"):
        assert empty.get(path).status_code == 503, path


def test_with_a_token_nobody_without_it_sees_anything(service: Journeys, user: str):
    client = guarded(service, token=TOKEN)
    basic = base64.b64encode(f"anybody:{TOKEN}".encode()).decode()
    wrong = ("", "Bearer", "Bearer wrong", f"Bearer {TOKEN}x", f"Digest {TOKEN}", "Basic !", "Basic YTpi", "Bearer é")
    for path in ("/", "/style.css", "/metrics", "/openapi.json", f"/v1/users/{user}/journeys", "/nothing"):
        for header in wrong:
            refused = client.get(path, headers=[(b"authorization", header.encode())])
            assert refused.status_code == 401, (path, header)
            assert user not in refused.text
    assert client.get("/healthz").status_code == 200
    for header in (f"Bearer {TOKEN}", f"bearer {TOKEN}", f"Basic {basic}"):
        found = client.get(f"/v1/users/{user}/journeys", headers={"authorization": header, "host": "any.example"})
        assert found.json()["user_id"] == user


def test_without_a_token_it_answers_to_this_machine_alone(client: TestClient, service: Journeys):
    for host in ("attacker.example", "localhost.attacker.example", "", "10.0.0.1:8321"):
        assert client.get("/", headers={"host": host}).status_code == 421, host
    for host in ("127.0.0.1:8321", "[::1]:80", "localhost"):
        assert client.get("/healthz", headers={"host": host}).status_code == 200, host
    with pytest.raises(ServingError, match="can be reached by others: set JOURNEYS_TOKEN"):
        serve(service, host="0.0.0.0", port=1, token="", per_second=1)  # noqa: S104
    with pytest.raises(ServingError, match="has 5 characters, and could be guessed"):
        serve(service, host="127.0.0.1", port=1, token="short", per_second=1)  # noqa: S106
    said = CliRunner().invoke(cli, ["serve", "--host", "10.1.1.1"], env={"JOURNEYS_HOME": str(service.home.path)})
    assert said.exit_code == 1
    assert "set JOURNEYS_TOKEN" in said.output


def test_large_bodies_floods_and_other_sites_are_refused(service: Journeys):
    client = guarded(service, body_bytes=1_000)
    assert client.post("/v1/users:batchGet", content=b"x" * 10_000_000).status_code == 413
    # Without a length, it is what has come that counts.
    assert client.post("/v1/users:batchGet", content=iter([b" " * 600] * 10)).status_code == 413
    assert client.post("/grades", content=iter([b"a=b&" * 100] * 10)).status_code == 413
    assert client.post("/grades", data={"user": "u"}, headers={"origin": "http://attacker.example"}).status_code == 403
    few = guarded(service, per_second=3)
    statuses = [few.get("/healthz").status_code for _ in range(6)]
    assert statuses[:3] == [200] * 3
    assert 429 in statuses


def test_neither_logs_nor_metrics_hold_ids(client: TestClient, user: str, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, logger="journeys.serving"):
        client.get(f"/v1/users/{user}/journeys")
        client.get("/", params={"user": user})
        client.get(f"/nothing/{user}")
    assert "GET /v1/users/{user_id:path}/journeys 200" in caplog.text
    metrics = client.get("/metrics").text
    assert 'journeys_requests_total{method="GET",route="/v1/users/{user_id:path}/journeys",status="200"}' in metrics
    assert user not in caplog.text + metrics


def test_the_page_shows_the_list_and_what_was_typed_is_text(client: TestClient, rows: list[dict[str, Any]], user: str):
    page = client.get("/", params={"user": user, "beside": str(WORLD_LAST_DAY)})
    assert page.status_code == 200
    assert all(row["name"] in page.text for row in rows)
    assert "default-src 'none'" in page.headers["content-security-policy"]
    hostile = client.get("/", params={"user": "<script>alert(1)</script>"}).text
    assert "<script" not in hostile
    assert "&lt;script&gt;" in hostile
    drawn = client.get("/random", follow_redirects=False)
    assert drawn.headers["location"].startswith("/?user=sim-user-")
    why = client.get("/why", params={"user": user, "journey": rows[0]["journey_id"]}).text
    assert "the stored score" in why
    assert client.get("/everyone").text.count("<tr>") > 5
    compared = client.get("/compare", params={"user": user})
    assert f'name="grade:{rows[0]["journey_id"]}"' in compared.text
    assert client.get("/why", params={"user": user, "journey": "none"}).status_code == 404


def test_grades_land_as_human_labels_that_a_run_takes_in(tmp_path: Path):
    home = Home(tmp_path)
    client = guarded(Journeys(home, Settings()))
    form = {"user": "ann é", "annotator": "me", "grade:j1": "5", "grade:j2": "1", "grade:j3": ""}
    answer = client.post("/grades", data=form, follow_redirects=False)
    assert answer.status_code == 303
    assert "graded=2" in answer.headers["location"]
    land_grades(home.landing, user="bob", annotator="me", grades={"j": 3})
    (folder,) = (home.landing / "human_labels").iterdir()
    day = datetime.now(UTC).date()
    assert abs(date.fromisoformat(folder.name.removeprefix("date=")) - day) <= timedelta(days=1)
    settings = Settings()
    landed = read_days(declared_sources(settings)["human_labels"], {day: folder}, settings.landing)
    assert landed.rejected.is_empty()
    found = landed.accepted.select("user_id", "journey_id", "grade", "annotator").sort("user_id", "journey_id").rows()
    assert found == [("ann é", "j1", 5, "me"), ("ann é", "j2", 1, "me"), ("bob", "j", 3, "me")]
    for wrong in ({"grade:j1": "6"}, {"grade:j1": "4", "annotator": " "}, {}):
        assert client.post("/grades", data={"user": "u", "annotator": "me", **wrong}).status_code == 422
    with pytest.raises(GradeError, match="from 1 to 5"):
        land_grades(home.landing, user="u", annotator="me", grades={"j": 0})
    assert len(list(folder.glob("*.ndjson"))) == 2


def test_sittings_are_dots_of_their_journeys_lane():
    start = datetime(2025, 6, 1, 10)
    minutes = {"j": [0, 29, 58, 200], "hidden": [10], None: [400]}
    events = [
        {"journey_id": journey, "occurred_at": start + timedelta(minutes=each)}
        for journey, times in minutes.items()
        for each in times
    ]
    drawn, ticks = lanes(events, [{"journey_id": "j", "name": "Sofa", "stage": "ongoing"}])
    assert [(lane.name, lane.stage, len(lane.dots)) for lane in drawn] == [
        ("Sofa", "ongoing", 2),
        ("not listed", "unlisted", 1),
        ("of no journey", "noise", 1),
    ]
    assert drawn[0].dots[0].says == "2025-06-01 10:00, 3 events"
    places = [dot.x for dot in (*drawn[0].dots, *drawn[2].dots)]
    assert places == sorted(places)
    assert (places[0], places[-1], ticks[0].x, ticks[-1].x) == (1, 99, 1, 99)
    assert lanes([], []) == ([], [])
