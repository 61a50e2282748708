"""Alerts: what is posted when a run fails, to a real server that may be ill, and never the URL or a user's words."""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import dagster as dg
import polars as pl
import pytest
from conftest import Pipeline
from polars.exceptions import SchemaError

from journeys_dagster.orchestration.alerts import failed_checks, run_failed_message
from journeys_dagster.orchestration.runs import infer
from journeys_dagster.resources.home import Home
from journeys_dagster.resources.migrations import MigrationError
from journeys_dagster.resources.ray_engine import RayEngineError
from journeys_dagster.resources.retention import RetentionError
from journeys_dagster.resources.webhook import post
from journeys_dagster.settings import AlertSettings, Settings
from journeys_dagster.sources.writer import write_day

DAY = date(2025, 6, 10)
SECRET = "T000-secret-path"  # noqa: S105 - of no real webhook
ALERTS = AlertSettings.model_validate({"timeout_seconds": 30, "retries": 2})


@dataclass
class Hook:
    """A webhook on loopback that answers by a script: status codes, or seconds of silence; then 200."""

    script: list[int | float] = field(default_factory=list)
    retry_after: str | None = None
    received: list[tuple[float, dict[str, object]]] = field(default_factory=list)
    url: str = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        self.received.append((time.monotonic(), json.loads(body)))
        step = self.script.pop(0) if self.script else 200
        if isinstance(step, float):
            time.sleep(step)
            step = 200
        handler.send_response(step)
        if self.retry_after and step != 200:
            handler.send_header("Retry-After", self.retry_after)
        if 300 <= step < 400:
            handler.send_header("Location", self.url)
        handler.end_headers()


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    hook = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            hook.answer(self)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    hook.url = f"http://127.0.0.1:{server.server_port}/services/{SECRET}"
    monkeypatch.setenv("JOURNEYS_WEBHOOK", hook.url)
    yield hook
    server.shutdown()
    server.server_close()
    thread.join()


# The webhook


def test_a_message_is_delivered(hook: Hook) -> None:
    delivery = post(ALERTS, {"text": "grüße"})
    assert (delivery.delivered, delivery.attempts) == (True, 1)
    assert [message for _, message in hook.received] == [{"text": "grüße"}]


def test_a_server_that_fails_first_is_tried_again(hook: Hook) -> None:
    hook.script = [500, 503]
    assert post(ALERTS, {"text": "x"}).attempts == 3
    assert len(hook.received) == 3


@pytest.mark.parametrize("status", [400, 404, 302])
def test_a_refusal_is_not_tried_again(hook: Hook, status: int) -> None:
    hook.script = [status]
    delivery = post(ALERTS, {"text": "x"})
    assert (delivery.delivered, delivery.outcome, len(hook.received)) == (False, f"HTTP {status}", 1)


def test_a_busy_server_says_how_long_to_wait(hook: Hook) -> None:
    hook.script, hook.retry_after = [429], "1"
    assert post(ALERTS, {"text": "x"}).delivered
    (first, _), (second, _) = hook.received
    assert second - first >= 1


def test_a_wait_that_is_too_long_is_not_waited(hook: Hook) -> None:
    hook.script, hook.retry_after = [429], "3600"
    assert not post(ALERTS, {"text": "x"}).delivered
    assert len(hook.received) == 1


def test_a_server_that_hangs_is_given_up(hook: Hook, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    hook.script = [2.0, 2.0, 2.0]
    delivery = post(ALERTS.model_copy(update={"timeout_seconds": 0.5}), {"text": "x"})
    assert (delivery.delivered, delivery.outcome) == (False, "no answer (ReadTimeout) after 3 attempts")
    assert SECRET not in caplog.text


@pytest.mark.parametrize("url", [f"http://127.0.0.1:9/{SECRET}", f"nonsense {SECRET}", f"http://[/{SECRET}"])
def test_a_dead_webhook_is_told_without_its_url(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, url: str
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("JOURNEYS_WEBHOOK", url)
    delivery = post(AlertSettings.model_validate({"retries": 1}), {"text": "x"})
    assert not delivery.delivered
    assert SECRET not in delivery.outcome + caplog.text
    assert "127.0.0.1" not in delivery.outcome


# Runs


def failing(home: Home) -> tuple[Pipeline, dg.DagsterRun]:
    """A run that fails because of what landed: most of its rows are rejected."""
    pipeline = Pipeline(home)
    times = [datetime(2025, 6, 10), None, None]
    frame = pl.DataFrame({"user_id": ["ann"] * 3, "query": ["my secret query"] * 3, "occurred_at": times})
    write_day(home.landing, source="searches", day=DAY, frame=frame)
    with pytest.raises(RuntimeError):
        infer(pipeline.defs, pipeline.instance, as_of=DAY, scope="all_users")
    (run,) = pipeline.instance.get_runs()
    return pipeline, run


def tick(pipeline: Pipeline, run: dg.DagsterRun, name: str, event_type: dg.DagsterEventType) -> dg.SkipReason | None:
    (event,) = (
        record.event_log_entry.dagster_event
        for record in pipeline.instance.get_records_for_run(run.run_id, of_type=event_type).records
    )
    sensor = next(sensor for sensor in pipeline.defs.sensors or [] if sensor.name == name)  # type: ignore[union-attr]
    assert event is not None
    context = dg.build_run_status_sensor_context(
        name, event, pipeline.instance, run, resources={"settings": pipeline.settings}
    )
    if event_type == dg.DagsterEventType.RUN_FAILURE:
        context = context.for_run_failure()
    return sensor(context)  # type: ignore[operator,return-value]


def test_a_failed_run_is_posted_without_users_words(home: Home, hook: Hook) -> None:
    pipeline, run = failing(home)
    assert tick(pipeline, run, "run_failure_alert", dg.DagsterEventType.RUN_FAILURE) is None
    ((_, message),) = hook.received
    assert message["kind"] == "run_failed"
    assert (message["job"], message["run_id"], message["scope"]) == ("full_inference", run.run_id, "all_users")
    assert (message["first_day"], message["last_day"]) == ("2025-06-10", "2025-06-10")
    assert [step["step"] for step in message["steps"]] == ["searches"]  # type: ignore[attr-defined]
    (check,) = message["failed_checks"]  # type: ignore[misc]
    assert (check["asset"], check["check"]) == ("searches", "rejected_share")
    assert "66.7%" in check["said"]
    assert str(message["text"]).startswith("Run failed: full_inference 2025-06-10 all_users")
    assert "journeys run --date 2025-06-10" in str(message["what_to_do"])
    assert "secret query" not in json.dumps(message)


def test_a_dead_webhook_does_not_break_the_tick(
    home: Home, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline, run = failing(home)
    monkeypatch.setenv("JOURNEYS_WEBHOOK", f"http://127.0.0.1:9/{SECRET}")
    said = tick(pipeline, run, "run_failure_alert", dg.DagsterEventType.RUN_FAILURE)
    assert isinstance(said, dg.SkipReason)
    assert "the alert was not delivered, no answer (ConnectionError)" in str(said.skip_message)
    assert SECRET not in str(said.skip_message) + caplog.text


def test_without_a_webhook_nobody_is_told(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline, run = failing(home)
    monkeypatch.setenv("JOURNEYS_WEBHOOK", " ")
    said = tick(pipeline, run, "run_failure_alert", dg.DagsterEventType.RUN_FAILURE)
    assert isinstance(said, dg.SkipReason)
    assert "JOURNEYS_WEBHOOK is not set" in str(said.skip_message)


def run_of(body: Callable[[], dg.MaterializeResult], instance: dg.DagsterInstance) -> dg.DagsterRun:
    @dg.asset(check_specs=[dg.AssetCheckSpec("complete", asset="numbers"), dg.AssetCheckSpec("near", asset="numbers")])
    def numbers() -> dg.MaterializeResult:
        return body()

    defs = dg.Definitions([numbers], jobs=[dg.define_asset_job("counting")], executor=dg.in_process_executor)
    defs.resolve_job_def("counting").execute_in_process(instance=instance, raise_on_error=False)
    return instance.get_runs(limit=1)[0]


def test_failed_checks_of_a_run_that_succeeds_are_posted(empty_pipeline: Pipeline, hook: Hook) -> None:
    def body() -> dg.MaterializeResult:
        wrong = dg.AssetCheckResult(passed=False, check_name="complete", description="half a day is missing")
        odd = dg.AssetCheckResult(passed=False, check_name="near", severity=dg.AssetCheckSeverity.WARN)
        return dg.MaterializeResult(check_results=[wrong, odd])

    run = run_of(body, empty_pipeline.instance)
    assert run.is_success
    assert tick(empty_pipeline, run, "failed_check_alert", dg.DagsterEventType.RUN_SUCCESS) is None
    ((_, message),) = hook.received
    assert message["kind"] == "checks_failed"
    assert message["failed_checks"] == [{"asset": "numbers", "check": "complete", "said": "half a day is missing"}]
    assert "half a day is missing" in str(message["text"])


def test_a_run_whose_checks_passed_is_not_posted(empty_pipeline: Pipeline, hook: Hook) -> None:
    def body() -> dg.MaterializeResult:
        passed = [dg.AssetCheckResult(passed=True, check_name=name) for name in ("complete", "near")]
        return dg.MaterializeResult(check_results=passed)

    run = run_of(body, empty_pipeline.instance)
    assert failed_checks(run, empty_pipeline.instance) == []
    assert tick(empty_pipeline, run, "failed_check_alert", dg.DagsterEventType.RUN_SUCCESS) is None
    assert hook.received == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("could not parse 'my secret query' as INT32"), "ValueError: could not parse '…' as INT32"),
        (ValueError("unfinished 'my secret query"), "ValueError: unfinished '…'"),
        (dg.Failure("table 'names' is empty", allow_retries=False), "table 'names' is empty"),
        (
            PermissionError(13, "no access", "/data/x"),
            "PermissionError: [Errno 13] no access: '/data/x'",
        ),
        (
            MigrationError("warehouse /home/x was made by an older version: run `journeys migrate`"),
            "MigrationError: warehouse /home/x was made by an older version: run `journeys migrate`",
        ),
        (
            RetentionError("pruning would have changed 'current_user_journeys': nothing was pruned"),
            "RetentionError: pruning would have changed 'current_user_journeys': nothing was pruned",
        ),
        (RayEngineError("a shard failed: 'my secret query'"), "RayEngineError: a shard failed: '…'"),
        (SchemaError("no column 'my secret query'"), "SchemaError: no column '…'"),
        (ValueError("x" * 2_000), "ValueError: " + "x" * 487 + "…"),
    ],
)
def test_errors_that_may_carry_user_text_lose_what_stands_in_quotes(error: Exception, said: str) -> None:
    def body() -> dg.MaterializeResult:
        raise error

    with dg.DagsterInstance.ephemeral() as instance:
        run = run_of(body, instance)
        (step,) = run_failed_message(run, instance)["steps"]
    assert step == {"step": "numbers", "error": said}


def test_settings_name_the_variable_not_the_url() -> None:
    assert Settings().alerts.webhook_variable == "JOURNEYS_WEBHOOK"
    with pytest.raises(ValueError, match="webhook_variable"):
        AlertSettings.model_validate({"webhook_variable": "https://example.com/hook"})
