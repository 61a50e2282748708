"""The service as it is used: the page in a browser without a window, the API against its own schema."""

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="fastapi missing: install the extra [serve]")
pytest.importorskip("jinja2", reason="jinja2 missing: install the extra [serve]")
pytest.importorskip("prometheus_client", reason="prometheus_client missing: install the extra [serve]")
pytest.importorskip("uvicorn", reason="uvicorn missing: install the extra [serve]")
pytest.importorskip("playwright", reason="playwright missing, which drives the browser")
import uvicorn
from conftest import WORLD_LAST_DAY
from hypothesis import HealthCheck, given, settings
from playwright.sync_api import Browser, Page, expect, sync_playwright  # pyright: ignore[reportMissingImports]

from journeys_dagster.resources.home import Home
from journeys_dagster.serving.api import build_app
from journeys_dagster.serving.guard import Limits
from journeys_dagster.serving.service import Journeys
from journeys_dagster.settings import Settings

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium missing: apt-get install chromium"),
    # Of the server's own libraries, in its thread.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:websockets.*", "ignore::DeprecationWarning:uvicorn.*"),
]
USER = "sim-user-000031"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, finished_home: Path) -> Home:  # type: ignore[override]
    return Home(Path(shutil.copytree(finished_home, tmp_path_factory.mktemp("page") / "home")))


@pytest.fixture(scope="module")
def address(home: Home) -> Iterator[str]:
    service = Journeys(home, Settings(), on=WORLD_LAST_DAY)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        app: Any = build_app(service, Limits(per_second=1e9))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            time.sleep(0.02)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()
    service.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    said: list[str] = []
    context = browser.new_context(base_url=address, viewport={"width": 1200, "height": 900})
    opened = context.new_page()
    opened.on("console", lambda message: said.append(message.text))
    # Nothing is fetched from anywhere else.
    opened.on("request", lambda request: said.append(request.url) if not request.url.startswith(address) else None)
    opened.goto("/")
    yield opened
    context.close()
    assert said == []


def test_a_user_is_found_and_why_is_opened_and_an_earlier_day_is_put_beside(page: Page):
    page.get_by_label("User").fill(USER)
    page.get_by_role("button", name="Find").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(USER)
    assert page.locator(".lane circle").count() > 5
    name = page.locator(".list h3").first.inner_text()
    day = page.get_by_label("An earlier day beside it").locator("option").last.inner_text()
    page.get_by_label("An earlier day beside it").select_option(day)
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("heading", level=2, name=day)).to_be_visible()
    page.get_by_role("link", name=f"Why {name}").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Why “{name}”")
    expect(page.get_by_text("the stored score")).to_be_visible()
    page.get_by_text("All its keywords").click()
    assert page.locator("details li").first.is_visible()


def test_keyboard_alone_finds_a_user(page: Page):
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("Skip to content")
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "user":
            break
    page.keyboard.type(USER)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(USER)
    for _ in range(60):
        page.keyboard.press("Tab")
        if (page.evaluate("document.activeElement.getAttribute('aria-label')") or "").startswith("Why "):
            break
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Why")


def test_two_days_are_compared_and_grades_land(page: Page, home: Home):
    page.goto(f"/compare?user={USER}")
    assert page.locator(".sides section").count() == 2
    group = page.get_by_role("group").first
    group.get_by_label("4 relevant").check()
    page.get_by_label("Who grades").fill("a tester")
    page.get_by_role("button", name="Save grades").click()
    expect(page.get_by_role("status")).to_contain_text("1 grades are in the landing zone")
    written = [file.read_text() for file in (home.landing / "human_labels").rglob("page-*.ndjson")]
    assert len(written) == 1
    assert '"grade": 4, "annotator": "a tester"' in written[0]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", [f"/?user={USER}", "/everyone", f"/compare?user={USER}", f"/why?user={USER}"])
def test_every_view_fits_a_narrow_screen_and_can_be_read(page: Page, path: str, scheme: Any):
    page.set_viewport_size({"width": 360, "height": 740})
    page.emulate_media(color_scheme=scheme)
    if path.startswith("/why"):
        page.goto(f"/?user={USER}")
        path = page.locator(".figures a").first.get_attribute("href") or ""
    page.goto(path)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate(LEAST_CONTRAST) >= 4.5


def test_the_api_keeps_its_own_schema(address: str):
    schemathesis = pytest.importorskip("schemathesis", reason="schemathesis missing")
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) >= 7

    for operation in operations:

        @settings(
            max_examples=150,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
        )
        @given(case=operation.as_strategy())
        def keeps_it(case: Any) -> None:
            case.call_and_validate()

        keeps_it()


LEAST_CONTRAST = """() => {
    const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
    const luminance = rgb => rgb.slice(0, 3).map(value => value / 255)
        .map(value => value <= .03928 ? value / 12.92 : ((value + .055) / 1.055) ** 2.4)
        .reduce((sum, value, place) => sum + value * [.2126, .7152, .0722][place], 0);
    const behind = element => {
        for (let at = element; at; at = at.parentElement) {
            const found = numbers(getComputedStyle(at).backgroundColor);
            if (found.length < 4 || found[3] > 0) return found;
        }
        return [255, 255, 255];
    };
    const texts = [...document.querySelectorAll('body *')].filter(each => each.checkVisibility() &&
        [...each.childNodes].some(node => node.nodeType === 3 && node.textContent.trim()));
    return Math.min(...texts.map(each => {
        const style = getComputedStyle(each);
        const colour = numbers(each.closest('svg') ? style.fill : style.color);
        const both = [colour, behind(each)].map(luminance);
        return (Math.max(...both) + .05) / (Math.min(...both) + .05);
    }));
}"""
