"""The status of a home: what has landed, been ingested and inferred, what is stale and why, what runs, what to do.

Nothing is changed by asking.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from journeys_dagster.definitions import algorithm_in_use
from journeys_dagster.orchestration.checks import EVERYTHING_READ, FILES_READ, PROMOTED, REJECTED_SHARE_CHECK
from journeys_dagster.orchestration.dagster_status import dagster_status
from journeys_dagster.orchestration.shortfalls import ITEMS_KNOWN
from journeys_dagster.orchestration.warehouse_status import warehouse_status
from journeys_dagster.reporting.text import counted, json_value
from journeys_dagster.resources.home import Home
from journeys_dagster.settings import Settings

_SHOWN = 5
_SAID_OTHERWISE = {PROMOTED, REJECTED_SHARE_CHECK, FILES_READ, EVERYTHING_READ, ITEMS_KNOWN}
"""Checks of which the other lines say more, or that fail where nothing is wrong: a new model did not win."""


def home_status(home: Home, settings: Settings) -> dict[str, Any]:
    """How a home stands, as one JSON object.

    Returns
    -------
    dict
        ``landing``, ``inference``, ``shortfalls``, ``algorithm``, ``models``, ``runs``, ``failed_checks``,
        ``automation``, and under ``what_to_do`` a line for whatever is not as it should be.
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
    return [*_of_landing(status["landing"]), *_of_lists(status), *_of_runs(status)]


def _of_landing(landing: Mapping[str, Any]) -> Iterator[str]:
    if not landing["complete_days"] and not landing["incomplete"] and not landing["passed_over"]:
        yield "The landing zone is empty: `journeys simulate`, `journeys import`, or write your own days to it."
    if landing["passed_over"]:
        yield f"Not everything in the landing zone is read: {landing['passed_over_in_short']}."
        yield from _cures(landing["passed_over"])
    if landing["incomplete"]:
        at_root = sorted({pair["source"] for pair in landing["incomplete"]} & set(landing["marked_at_root"]))
        marks = f" One in the folder of {' or '.join(at_root)} itself says so of no day." if at_root else ""
        yield f"Incomplete days wait for `_SUCCESS`; create it where the producer has finished.{marks}"
    if missing := landing["not_taken_in"] + landing["changed"]:
        last = max(pair["day"] for pair in missing)
        yield f"Ingest what is new or changed: turn landing_sensor on, or `journeys run --date {last}`."
    if landing["held_up"]:
        yield (
            "Days held up by rejected rows: `journeys rejected` says what is wrong with which, and what to do. Mend "
            "their files and run them again; only where such rows may be lost, raise landing.max_rejected_share."
        )
    if landing["not_whole"]:
        days = landing["not_whole"]
        cures = "; ".join(dict.fromkeys(day["what_to_do"] for day in days if day["what_to_do"]))
        yield (
            f"Not whole, as {counted(sum(day['files'] for day in days), 'file')} could not be read: "
            f"{counted(len(days), 'day')} of sources{f' ({cures})' if cures else ''}. `journeys rejected` names them."
        )


def _cures(passed_over: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The first of what is passed over, each with what to do."""
    for each in passed_over[:_SHOWN]:
        yield f"  {each['path']}: {each['cure']}."
    if len(passed_over) > _SHOWN:
        yield f"  +{len(passed_over) - _SHOWN:,} more: `journeys status --json`."


def _of_lists(status: Mapping[str, Any]) -> Iterator[str]:
    landing, inference, algorithm = status["landing"], status["inference"], status["algorithm"]
    lacks = status["shortfalls"]
    newest = landing["newest_taken_in"] or landing["newest_landed"]
    if inference["unfinished"]:
        first = inference["unfinished"][0]
        yield (
            f"A run was begun and not finished: `journeys run --date {first['as_of']} --scope {first['scope']}`; "
            "what is shown is the older, whole snapshot."
        )
    if algorithm["last_full_version"] is None and newest:
        yield f"Nobody was inferred fully yet: `journeys run --date {newest} --scope all_users`."
    elif algorithm["last_full_version"] not in {None, algorithm["version"]} or inference["users_with_stale_journeys"]:
        yield (
            f"Infer everyone again: turn algorithm_change_sensor on (for a changed algorithm), or "
            f"`journeys run --date {newest} --scope all_users`."
        )
    if not lacks:
        return
    if lacks["no_data"]:
        yield lacks["no_data"]
    for name in ("items", "rows"):
        if (outdated := lacks[f"users_outdated_by_{name}"])["users"]:
            yield (
                f"The lists of {counted(outdated['users'], 'user')} are older than {name} that arrived until "
                f"{outdated['day']}: `journeys run --date {newest} --scope all_users`."
            )
    if lacks["unknown_items_said"]:
        yield lacks["unknown_items_said"]
    if lacks["users_without_keywords"]:
        yield (
            f"Without any keyword, and so without journeys: {counted(lacks['users_without_keywords'], 'user')}. What "
            "they did is older than the look-back, or about items that are not known."
        )


def _of_runs(status: Mapping[str, Any]) -> Iterator[str]:
    runs, automation = status["runs"], status["automation"]
    if runs["lost"]:
        yield (
            "A run's process was killed: the next `journeys run`, or the daemon's run monitoring, marks it as failed; "
            "until then it holds up the queue."
        )
    if automation["on"] and not automation["daemon_alive"]:
        yield "No daemon has been seen for five minutes: start `dg dev` or `dagster-daemon run`."
    if status["dagster_settings_that_differ"]:
        yield "dagster.yaml of the home is not the one of this version: compare both, and copy what you want."
    if failed := [check for check in status["failed_checks"] if check["check"] not in _SAID_OTHERWISE]:
        listed = ", ".join(f"{check['asset']} {check['check']}" for check in failed[:_SHOWN])
        more = f", +{len(failed) - _SHOWN:,} more" if len(failed) > _SHOWN else ""
        yield f"Checks of the newest runs failed: {listed}{more}. Their pages in the UI show rows and figures."
