"""`journeys status`: the status of a home, as a table or one JSON object. What it shows is computed elsewhere."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from journeys_dagster.cli.errors import plain_errors
from journeys_dagster.cli.progress import out
from journeys_dagster.reporting.text import counted, shorten
from journeys_dagster.resources.home import Home
from journeys_dagster.settings import load_settings

_SHOWN = 5
_CHECKS_SHOWN = 10
_MOST_CHARACTERS = 200


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
def status(as_json: bool) -> None:
    """What has landed and been inferred, what is stale and why, what runs, and what to do."""
    from journeys_dagster.cli.home_status import home_status

    with plain_errors():
        found = home_status(Home.from_environment(), load_settings())
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    table = Table(show_header=False, title=f"{found['home']}", title_justify="left")
    for section in (_landing, _inference, _shortfalls, _algorithm, _models, _runs, _checks, _automation):
        for what, said in section(found):
            table.add_row(Text(what), Text(said))
        table.add_section()
    out.print(table)
    for line in found["what_to_do"]:
        out.print(f"→ {line}", highlight=False, markup=False)
    if not found["what_to_do"]:
        out.print("Nothing to do.")


def _landing(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    landing = found["landing"]
    yield "landing days, complete", f"{landing['complete_days']:,}, newest {landing['newest_landed'] or 'none'}"
    yield "newest ingested", landing["newest_taken_in"] or "none"
    for name, what in (
        ("incomplete", "without _SUCCESS"),
        ("not_taken_in", "not yet ingested"),
        ("changed", "changed since"),
        ("held_up", "held up by rejected rows"),
        ("not_whole", "not whole"),
    ):
        if landing[name]:
            yield what, _listed([_day_of_source(day) for day in landing[name]])
    if landing["passed_over"]:
        yield "passed over, not read", landing["passed_over_in_short"]
        for each in landing["passed_over"][:_SHOWN]:
            yield f"  {each['path']}", f"{counted(each['files'], 'file')}: {each['why']}"
    if landing["left_out_on_purpose"]:
        yield "left out on purpose", f"{landing['left_out_on_purpose']:,} markers, hidden and unfinished files"
    if landing["not_over"]:
        yield "not over yet", _listed(landing["not_over"])


def _day_of_source(day: Mapping[str, Any]) -> str:
    more = f" ({day['rejected_share']:.1%})" if "rejected_share" in day else ""
    if "files" in day:
        more = f" ({counted(day['files'], 'file')} not read)"
    return f"{day['source']} {day['day']}{more}"


def _inference(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    inference = found["inference"]
    full = inference["newest_full_day"]
    yield "newest inferred", f"{inference['newest_day'] or 'none'}" + (f", everyone {full}" if full else "")
    if inference["stale"]:
        users = inference["users_with_stale_journeys"]
        yield "stale days", f"{len(inference['stale']):,}; the journeys of {users:,} of {inference['users']:,} users"
        for day in inference["stale"][:_SHOWN]:
            causes = _listed(f"{cause['source']} {cause['day']} {cause['how']}" for cause in day["because"])
            yield f"  {day['as_of']}, {day['scope']}", f"{causes or 'landing data changed'}; {day['users']:,} users"
    if inference["unfinished"]:
        yield "begun, not finished", _listed(f"{day['as_of']} {day['scope']}" for day in inference["unfinished"])


def _shortfalls(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    lacks, everyone = found["shortfalls"], found["inference"]["users"]
    if not lacks:
        return
    if lacks["no_data"]:
        yield "newest inferred day", lacks["no_data"]
    if items := lacks["unknown_items"]:
        later = f"; {items['arrived_later']:,} arrived later" if items["arrived_later"] else ""
        yield "items not known", f"{items['unknown']:,} of {items['engaged']:,} engaged with{later}"
    if lacks["users_without_keywords"]:
        yield "users without any keyword", f"{lacks['users_without_keywords']:,} of {everyone:,}"
    for name, what in (("items", "items that"), ("rows", "rows that")):
        if (outdated := lacks[f"users_outdated_by_{name}"])["users"]:
            users = counted(outdated["users"], "user")
            yield f"outdated by {name}", f"the lists of {users} are older than {what} arrived until {outdated['day']}"


def _checks(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for check in found["failed_checks"][:_CHECKS_SHOWN]:
        yield (
            f"{check['severity']}: {check['asset']}",
            shorten(f"{check['check']}: {check['said']}", width=_MOST_CHARACTERS),
        )
    if (more := len(found["failed_checks"]) - _CHECKS_SHOWN) > 0:
        yield "failed checks", f"+{more:,} more"


def _algorithm(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    algorithm = found["algorithm"]
    last = algorithm["last_full_version"]
    if last in {None, algorithm["version"]}:
        yield "algorithm", algorithm["version"]
    else:
        yield "algorithm", f"{last} (everyone, {algorithm['last_full_day']}) → {algorithm['version']}"
        yield "what has changed", "\n".join(_change(change) for change in algorithm["changes"]) or "not known"
    if algorithm["users_by_another_version"]:
        yield "users by another version", f"{algorithm['users_by_another_version']:,}"


def _change(change: Mapping[str, str | None]) -> str:
    part, before, now = change["part"], change["before"], change["now"]
    if before is None or now is None:
        return f"{part} {'added' if before is None else 'removed'}"
    # Hashes say nothing to people.
    return (
        f"{part} changed" if str(part).startswith(("model ", "step ")) else f"{part} {before} → {now}".replace('"', "")
    )


def _models(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, model in found["models"].items():
        if "model_id" not in model:
            yield name, f"of {model['as_of']}, {model['keywords']:,} keywords" if model["as_of"] else "none yet"
            continue
        trained = f"; last trained {model['last_trained']}, {model['decision']}" if model["last_trained"] else ""
        yield name, (f"{model['model_id']} of {model['as_of']}" if model["model_id"] else "none in use") + trained


def _runs(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, what in (("under_way", "under way"), ("lost", "process gone")):
        for run in found["runs"][name][:_SHOWN]:
            days = " to ".join(sorted({run["first_day"], run["last_day"]})) if run["first_day"] else ""
            yield what, " ".join(part for part in (run["job"], days, run["scope"], run["status"], run["since"]) if part)


def _automation(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    automation = found["automation"]
    for one in automation["on"]:
        tick = f", last tick {one['last_tick']} ({one['last_tick_status']})" if one["last_tick"] else ", no tick yet"
        yield one["name"], "on" + tick
    if automation["off"]:
        yield "off", ", ".join(automation["off"])
    if found["dagster_settings_that_differ"]:
        yield "dagster.yaml differs in", ", ".join(found["dagster_settings_that_differ"])


def _listed(texts: Iterable[str]) -> str:
    several: Sequence[str] = list(texts)
    more = f", +{len(several) - _SHOWN} more" if len(several) > _SHOWN else ""
    return ", ".join(several[:_SHOWN]) + more
