"""`journeys inspect`: a look at a landing zone before anything is run. What it finds is computed in `sources`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from journeys_dagster.cli.errors import plain_errors
from journeys_dagster.cli.landing_reports import add_row, plain_table
from journeys_dagster.cli.progress import out, progress_bar
from journeys_dagster.reporting.text import json_value
from journeys_dagster.resources.home import Home
from journeys_dagster.settings import load_settings

_SHOWN = 20


@click.command("inspect")
@click.argument("landing", required=False, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of tables.")
def inspect_command(landing: Path | None, as_json: bool) -> None:
    """Look at a landing zone before anything is run: is it ready, and if not, what is to be done.

    LANDING is its folder; by default the home's. Nothing is written. Ids and texts are shown by their shape alone.
    """
    from journeys_dagster.inference.embedding import embedder_of_process
    from journeys_dagster.sources.inspection import inspect_zone

    landing = landing or Home.from_environment().landing
    if not landing.is_dir():
        raise click.BadParameter(f"there is no folder {landing}", param_hint="LANDING")
    with plain_errors(), progress_bar("inspect", total=None) as advance:
        settings = load_settings()
        embedding = settings.embedding
        embedder = embedder_of_process(embedding.model, embedding.revision, embedding.batch_size)
        found = inspect_zone(
            landing.resolve(),
            settings,
            today=datetime.now(UTC).date(),
            unreadable_share=embedder.unreadable_share,
            progress=advance,
        )
    if as_json:
        click.echo(json.dumps(json_value(found), ensure_ascii=False))
        return
    for table in _tables(found):
        if table.row_count:
            out.print(table, highlight=False)
    _print_findings(found)


def _tables(found: Mapping[str, Any]) -> Iterator[Table]:
    yield _sources(found["sources"])
    yield _passed_over(found["passed_over"])
    yield _rejected(found["rejected"])
    yield _texts(found["texts"])


def _sources(sources: Mapping[str, Any]) -> Table:
    table = Table()
    for head in (
        "source",
        "days",
        "from, to",
        "files",
        "rows",
        "accepted",
        "rejected",
        "duplicates",
        "users",
        "events",
    ):
        is_span = head in {"source", "from, to", "events"}
        table.add_column(head, justify="left" if is_span else "right", no_wrap=not is_span)
    for name, source in sources.items():
        events = [source["first_event"], source["last_event"]] if source["first_event"] else []
        counts = (f"{source[f'rows_{what}']:,}" for what in ("read", "accepted", "rejected", "duplicate"))
        add_row(
            table, name, _days(source), _span([source["first_day"], source["last_day"]]),
            f"{source['files']:,}", *counts, "" if source["users"] is None else f"{source['users']:,}",
            _span([f"{time:%Y-%m-%d}" for time in events]),
        )  # fmt: skip
    return table


def _days(source: Mapping[str, Any]) -> str:
    missing = sum((gap["last"] - gap["first"]).days + 1 for gap in source["missing_days"])
    return f"{source['days']:,}" + (f" of {source['days'] + missing:,}" if missing else "")


def _span(days: Sequence[object]) -> str:
    return " ".join(sorted({str(day) for day in days}))


def _passed_over(passed_over: Sequence[Mapping[str, Any]]) -> Table:
    table = plain_table("not read", "files", "why", "what to do")
    for each in passed_over[:_SHOWN]:
        add_row(table, each["path"], f"{each['files']:,}", each["why"], each["what_to_do"])
    return _with_rest(table, passed_over)


def _rejected(rejected: Sequence[Mapping[str, Any]]) -> Table:
    table = plain_table(
        "source",
        "would be rejected because",
        "rows",
        "days",
        "first",
        "it looks like (x a letter, 9 a digit)",
        "what to do",
    )
    for each in rejected[:_SHOWN]:
        line = f":{each['first_row']}" if each["first_row"] is not None else ""
        rows = f"{each['files']:,} files" if each["files"] else f"{each['rows']:,}"
        first = f"{each['first_day']} {each['first_file']}{line}"
        add_row(
            table, each["source"], each["reason"], rows, f"{each['days']:,}", first, each["example"], each["what_to_do"]
        )
    return _with_rest(table, rejected)


def _texts(texts: Mapping[str, Any]) -> Table:
    table = plain_table("texts", "looked at", "scripts", "not read by the model")
    for field, facts in texts.items():
        scripts = ", ".join(f"{script} {share:.1%}" for script, share in facts["scripts"].items())
        add_row(table, field, f"{facts['sampled']:,}", scripts, f"{facts['unreadable_share']:.1%}")
    return table


def _with_rest(table: Table, rows: Sequence[object]) -> Table:
    if len(rows) > _SHOWN:
        table.caption = f"+{len(rows) - _SHOWN:,} more: `journeys inspect --json`"
    return table


def _print_findings(found: Mapping[str, Any]) -> None:
    """The verdict, and what to do, what stops a run first."""
    out.print(f"{found['landing']}: {found['verdict']}", highlight=False, markup=False, soft_wrap=True)
    marks = {"stop": "stops a run", "warn": "warning", "note": "note"}
    for number, each in enumerate(found["findings"], start=1):
        out.print(f"{number}. [{marks[each['severity']]}] {each['said']}.", highlight=False, markup=False)
        if each["what_to_do"]:
            out.print(f"   → {each['what_to_do']}.", highlight=False, markup=False)
    if found["verdict"] != "not ready":
        newest = max(source["last_complete_day"] for source in found["sources"].values() if source["last_complete_day"])
        out.print(f"Next: journeys run --date {newest} --scope all_users", highlight=False)
