"""A home's status by Dagster's storage: runs, sensors and schedules, the daemon."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg

from journeys_dagster.orchestration.run_days import UNFINISHED, days_of_run, scope_of_run
from journeys_dagster.orchestration.sensors import AUTOMATION
from journeys_dagster.resources.home import Home
from journeys_dagster.resources.run_lock import was_killed

_DAEMON_ALIVE_SECONDS = 300.0


def dagster_status(home: Home) -> dict[str, Any]:
    """Runs and automation, from Dagster's storage; empty where it is not set up."""
    nothing: dict[str, Any] = {
        "runs": {"under_way": [], "lost": []},
        "automation": {"daemon_alive": False, "on": [], "off": list(AUTOMATION)},
        "failed_checks": [],
    }
    differs = home.differing_dagster_settings()
    nothing["dagster_settings_that_differ"] = differs
    if not home.has_dagster:
        return nothing
    with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
        runs = [_run(record) for record in instance.get_run_records(dg.RunsFilter(statuses=UNFINISHED))]
        lost = {run["run_id"] for run in runs if was_killed(home.path, run["run_id"])}
        return {
            "runs": {
                "under_way": [run for run in runs if run["run_id"] not in lost],
                "lost": [run for run in runs if run["run_id"] in lost],
            },
            "automation": _automation(instance),
            "failed_checks": _failed_checks(instance),
            "dagster_settings_that_differ": differs,
        }


def _failed_checks(instance: dg.DagsterInstance) -> list[dict[str, Any]]:
    """Checks that did not pass in the run that last materialised their asset."""
    newest_run = {
        record.asset_entry.asset_key: record.asset_entry.last_materialization_record.run_id
        for record in instance.get_asset_records()
        if record.asset_entry.last_materialization_record is not None
    }
    failed = {}
    for run_id in sorted(set(newest_run.values())):
        events = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION).records
        for record in events:
            event = record.event_log_entry.dagster_event
            check = event.asset_check_evaluation_data if event else None
            if check is None or newest_run.get(check.asset_key) != run_id:
                continue
            asset = check.asset_key.to_user_string()
            failed.pop((asset, check.check_name), None)
            if not check.passed:
                failed[asset, check.check_name] = {
                    "asset": asset,
                    "check": check.check_name,
                    "severity": check.severity.value.lower(),
                    "said": check.description or "not passed",
                    "run_id": run_id,
                }
    return [failed[key] for key in sorted(failed)]


def _run(record: dg.RunRecord) -> dict[str, Any]:
    run = record.dagster_run
    days = days_of_run(run)
    return {
        "run_id": run.run_id,
        "job": run.job_name,
        "first_day": days[0] if days else None,
        "last_day": days[1] if days else None,
        "scope": scope_of_run(run),
        "status": run.status.value.lower(),
        "since": _moment(record.start_time or record.create_timestamp.timestamp()),
    }


def _automation(instance: dg.DagsterInstance) -> dict[str, Any]:
    states = {state.instigator_name: state for state in instance.all_instigator_state() if state.is_running}
    on = []
    for name in AUTOMATION:
        if (state := states.get(name)) is None:
            continue
        ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
        last = (
            {"last_tick": _moment(ticks[0].timestamp), "last_tick_status": ticks[0].status.value.lower()}
            if ticks
            else {}
        )
        on.append({"name": name, "last_tick": None, "last_tick_status": None, **last})
    beats = [beat.timestamp for beat in instance.get_daemon_heartbeats().values()]
    alive = max(beats, default=0.0) > datetime.now(UTC).timestamp() - _DAEMON_ALIVE_SECONDS
    return {"daemon_alive": alive, "on": on, "off": [name for name in AUTOMATION if name not in states]}


def _moment(timestamp: float) -> str:
    return datetime.fromtimestamp(timestamp, UTC).isoformat(timespec="seconds")
