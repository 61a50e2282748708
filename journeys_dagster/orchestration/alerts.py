"""Telling people: a run that failed, and failed checks of a run that succeeded, posted to a webhook.

A message holds names, days, counts and what the project's own errors say; of other errors what stands in quotes is left
out, since it may be a user's words.
"""

import pkgutil
import re
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from journeys_dagster.errors import JourneysError, without_quoted
from journeys_dagster.orchestration.run_days import days_of_run, scope_of_run
from journeys_dagster.resources.webhook import post, webhook_is_set
from journeys_dagster.settings import Settings

_MOST_CHARACTERS = 500
_NAMED = re.compile(r"((?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*)(?:: |$)")
"""How a message begins: with the full name of its class."""
_OWN_PACKAGES = ("assets", "journeys_dagster")
_OF_DAGSTER_WITHOUT_USER_TEXT = ("Failure", "DagsterAssetCheckFailedError")


def run_failed_message(run: dg.DagsterRun, instance: dg.DagsterInstance) -> dict[str, Any]:
    """What is posted when a run has failed."""
    steps = [
        {"step": record.event_log_entry.step_key or "", "error": _said(record.event_log_entry.dagster_event)}
        for record in instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE).records
    ]
    retried = run.tags.get("dagster/will_retry") == "true"
    what = "; ".join(f"{step['step']}: {step['error']}" for step in steps) or "its process ended before its work"
    hint = "It is retried automatically." if retried else _hint(run)
    message = _message(run, "run_failed", failed_checks(run, instance), hint)
    return message | {
        "text": f"Run failed: {message['what']}. {what}. {hint}",
        "steps": steps,
        "will_be_retried": retried,
    }


def failed_checks_message(run: dg.DagsterRun, checks: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """What is posted when a run has succeeded but checks of it have not."""
    hint = "The checks' pages in the UI show the figures and rows; `journeys status` shows the state of the home."
    message = _message(run, "checks_failed", checks, hint)
    listed = "; ".join(f"{check['asset']}, {check['check']}: {check['said']}" for check in checks[:10])
    return message | {"text": f"{len(checks)} checks failed: {message['what']}. {listed}. {hint}"}


def failed_checks(run: dg.DagsterRun, instance: dg.DagsterInstance) -> list[dict[str, str]]:
    """Checks of severity ERROR that did not pass in a run."""
    found = []
    events = instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION).records
    for record in events:
        event = record.event_log_entry.dagster_event
        check = event.asset_check_evaluation_data if event else None
        if check is None or check.passed or check.severity != dg.AssetCheckSeverity.ERROR:
            continue
        found.append(
            {
                "asset": check.asset_key.to_user_string(),
                "check": check.check_name,
                "said": _cut(check.description or "not passed"),
            }
        )
    return found


def build_alert_sensors() -> list[dg.SensorDefinition]:
    """The sensors; like all others, stopped until they are turned on."""

    @dg.run_failure_sensor(
        minimum_interval_seconds=30,
        description="Posts every run that fails to the webhook of alerts.webhook_variable.",
    )
    def run_failure_alert(
        context: dg.RunFailureSensorContext, settings: dg.ResourceParam[Settings]
    ) -> dg.SkipReason | None:
        return _report(context, settings, run_failed_message(context.dagster_run, context.instance))

    @dg.run_status_sensor(
        run_status=dg.DagsterRunStatus.SUCCESS,
        minimum_interval_seconds=30,
        description="Posts failed checks of severity ERROR of runs that succeed to the webhook of "
        "alerts.webhook_variable.",
    )
    def failed_check_alert(
        context: dg.RunStatusSensorContext, settings: dg.ResourceParam[Settings]
    ) -> dg.SkipReason | None:
        checks = failed_checks(context.dagster_run, context.instance)
        if not checks:
            return None
        return _report(context, settings, failed_checks_message(context.dagster_run, checks))

    return [run_failure_alert, failed_check_alert]


def _report(context: dg.RunStatusSensorContext, settings: Settings, message: Mapping[str, Any]) -> dg.SkipReason | None:
    if not webhook_is_set(settings.alerts):
        return dg.SkipReason(f"not posted: the environment variable {settings.alerts.webhook_variable} is not set")
    delivery = post(settings.alerts, message)
    if delivery.delivered:
        context.log.info(f"{message['what']}: alert {delivery.outcome}")
        return None
    reason = f"{message['what']}: the alert was not delivered, {delivery.outcome}"
    context.log.warning(reason)
    return dg.SkipReason(reason)


def _message(run: dg.DagsterRun, kind: str, checks: Sequence[Mapping[str, str]], what_to_do: str) -> dict[str, Any]:
    days, scope = days_of_run(run), scope_of_run(run)
    shown = " to ".join(sorted({day.isoformat() for day in days})) if days else ""
    what = " ".join(part for part in (run.job_name, shown, scope, f"(run {run.run_id[:8]})") if part)
    return {
        "kind": kind,
        "what": what,
        "job": run.job_name,
        "run_id": run.run_id,
        "first_day": days[0].isoformat() if days else None,
        "last_day": days[1].isoformat() if days else None,
        "scope": scope,
        "failed_checks": list(checks),
        "what_to_do": what_to_do,
    }


def _hint(run: dg.DagsterRun) -> str:
    days = days_of_run(run)
    if not days:
        return "Look at the run in the UI, mend the cause and start the job again."
    return (
        "Look at the run in the UI and mend the cause; daily_schedule requests the day again while it is missing, or "
        f"`journeys run --date {days[1]}` does it at once."
    )


def _said(event: dg.DagsterEvent | None) -> str:
    """What an error says, of its first cause."""
    error = event.step_failure_data.error if event else None
    while error is not None and error.cause is not None:
        error = error.cause
    if error is None:
        return "no reason given"
    message = error.message.strip()
    named = _NAMED.match(message)
    said = message[named.end() :] if named else message
    if not named or _may_carry_user_text(named[1]):
        said = without_quoted(said)
    name = error.cls_name or "error"
    return _cut(said if name == "Failure" else f"{name}: {said}")


def _may_carry_user_text(class_path: str) -> bool:
    """What a class of the project says of itself: Dagster keeps an error's full name alone, so it is looked up."""
    package, dotted, _ = class_path.partition(".")
    if package == "dagster":
        return not class_path.endswith(_OF_DAGSTER_WITHOUT_USER_TEXT)
    if dotted and package not in _OWN_PACKAGES:
        return True
    try:
        found = pkgutil.resolve_name(class_path if dotted else f"builtins.{class_path}")
    except (AttributeError, ImportError):
        return True
    if isinstance(found, type) and issubclass(found, JourneysError):
        return found.carries_user_text
    return not (isinstance(found, type) and issubclass(found, OSError))


def _cut(text: str) -> str:
    one_line = " ".join(text.split())
    return one_line if len(one_line) <= _MOST_CHARACTERS else one_line[: _MOST_CHARACTERS - 1] + "…"
