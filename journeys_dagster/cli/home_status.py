"""The status of a home: what has landed, been ingested and inferred, what is stale and why, what runs, what to do.

Nothing is changed by asking.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from journeys_dagster.definitions import algorithm_in_use
from journeys_dagster.orchestration.dagster_status import dagster_status
from journeys_dagster.orchestration.warehouse_status import warehouse_status
from journeys_dagster.reporting.text import json_value
from journeys_dagster.resources.home import Home
from journeys_dagster.settings import Settings


def home_status(home: Home, settings: Settings) -> dict[str, Any]:
    """How a home stands, as one JSON object.

    Returns
    -------
    dict
        ``landing``, ``inference``, ``algorithm``, ``models``, ``runs``, ``automation``, and under ``what_to_do`` one
        line for whatever is not as it should be.
    """
    algorithm = algorithm_in_use(settings)
    status: dict[str, Any] = {
        "home": str(home.path),
        **warehouse_status(home, settings, algorithm),
        **dagster_status(home),
    }
    inference, under_way = status["inference"], status["runs"]["under_way"]
    inference["unfinished"] = [day for day in inference["unfinished"] if not _is_under_way(day, under_way)]
    return json_value(status | {"what_to_do": _what_to_do(status)})


def _is_under_way(day: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> bool:
    return any(run["first_day"] and run["first_day"] <= day["as_of"] <= run["last_day"] for run in runs)


def _what_to_do(status: Mapping[str, Any]) -> list[str]:
    landing, inference, algorithm = status["landing"], status["inference"], status["algorithm"]
    runs, automation = status["runs"], status["automation"]
    newest = landing["newest_taken_in"] or landing["newest_landed"]
    todo = []
    if not landing["complete_days"] and not landing["incomplete"]:
        todo.append("The landing zone is empty: `journeys simulate`, `journeys import`, or write your own days to it.")
    if landing["incomplete"]:
        todo.append("Incomplete days wait for `_SUCCESS`; create it where the producer has finished.")
    missing = landing["not_taken_in"] + landing["changed"]
    if missing:
        last = max(pair["day"] for pair in missing)
        todo.append(f"Ingest what is new or changed: turn landing_sensor on, or `journeys run --date {last}`.")
    if landing["held_up"]:
        todo.append("Days held up: look at rejected_rows, mend their files, or raise landing.max_rejected_share.")
    if inference["unfinished"]:
        first = inference["unfinished"][0]
        todo.append(
            f"A run was begun and not finished: `journeys run --date {first['as_of']} --scope {first['scope']}`; "
            "what is shown is the older, whole snapshot."
        )
    if algorithm["last_full_version"] is None and newest:
        todo.append(f"Nobody was inferred fully yet: `journeys run --date {newest} --scope all_users`.")
    elif algorithm["last_full_version"] not in {None, algorithm["version"]} or inference["users_with_stale_journeys"]:
        todo.append(
            f"Infer everyone again: turn algorithm_change_sensor on (for a changed algorithm), or "
            f"`journeys run --date {newest} --scope all_users`."
        )
    if runs["lost"]:
        todo.append(
            "A run's process was killed: the next `journeys run`, or the daemon's run monitoring, marks it as failed; "
            "until then it holds up the queue."
        )
    if automation["on"] and not automation["daemon_alive"]:
        todo.append("No daemon has been seen for five minutes: start `dg dev` or `dagster-daemon run`.")
    if status["dagster_settings_that_differ"]:
        todo.append("dagster.yaml of the home is not the one of this version: compare both, and copy what you want.")
    return todo
