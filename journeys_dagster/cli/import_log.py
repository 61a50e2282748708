"""`journeys import log`: a log in a file, or a few, becomes a landing zone by day. Nothing is computed here."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import click
import polars as pl
from rich.table import Table

from journeys_dagster.cli.errors import plain_errors
from journeys_dagster.cli.landing_reports import add_row, plain_table
from journeys_dagster.cli.progress import err, out, progress_bar, say
from journeys_dagster.resources.file_lock import file_lock
from journeys_dagster.resources.home import Home
from journeys_dagster.settings import TimeUnit, load_settings
from journeys_dagster.sources.contracts import Source, declared_sources
from journeys_dagster.sources.cures import cure
from journeys_dagster.sources.log_import import LogImportError, import_log, name_columns

_LOCK_SECONDS = 10.0


def _pairs(context: click.Context, option: click.Parameter, values: Sequence[str]) -> dict[str, str]:
    """``FIELD=…`` as a mapping."""
    pairs = {}
    for value in values:
        field, separator, told = value.partition("=")
        if not separator or not told:
            raise click.BadParameter(f"{value!r} is not FIELD=…, such as user_id=customer", context, option)
        pairs[field.strip()] = told
    return pairs


@click.command("log")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--source", required=True, help="What the rows are: searches, engagements, items, board_items, …")
@click.option("--user", help="Column with the user.")
@click.option("--query", help="Column with the text that was searched for.")
@click.option("--item", help="Column with the item.")
@click.option("--action", help="Column with what the user did.")
@click.option("--time", help="Column with the time.")
@click.option("--title", help="Column with the item's title.")
@click.option("--column", multiple=True, callback=_pairs, metavar="FIELD=NAME", help="Any other column of the source.")
@click.option(
    "--constant", multiple=True, callback=_pairs, metavar="FIELD=VALUE", help="One value for all rows: action=purchase."
)
@click.option("--time-unit", type=click.Choice(["s", "ms", "us", "ns"]), help="What times that are numbers count.")
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), help="Day from which on rows without a time are known.")
def import_log_command(
    *,
    files: tuple[Path, ...],
    source: str,
    column: dict[str, str],
    constant: dict[str, str],
    time_unit: TimeUnit | None,
    day: datetime | None,
    **shorthands: str | None,
) -> None:
    """CSV, TSV, NDJSON or Parquet, packed or not: each row into the landing day on which it happened.

    Columns that are not named are guessed by their usual names, and what was guessed is said. Rows that break the
    contract are counted by reason; if they are too many, nothing is written.
    """
    home = Home.from_environment()
    with plain_errors():
        settings = load_settings()
        declared = _declared(source, declared_sources(settings))
        declared = replace(declared, time_unit=time_unit or declared.time_unit)
        told = {**declared.columns, **_shorthands(shorthands), **column}
        if unknown := sorted((told.keys() | constant.keys()) - declared.fields.keys()):
            raise click.UsageError(
                f"{', '.join(unknown)} is no column of {source}: there are {', '.join(declared.fields)}"
            )
        told = {field: name for field, name in told.items() if field not in constant}
        named, guessed = name_columns(files, declared, told)
        named = {field: name for field, name in named.items() if field not in constant}
        _say_columns(declared, named, guessed, constant)
        home.landing.mkdir(parents=True, exist_ok=True)
        lock = file_lock(home.landing / ".import.lock", shared=False, timeout_seconds=_LOCK_SECONDS)
        with lock, progress_bar(f"import {source}", total=None) as advance:
            try:
                imported = import_log(
                    files,
                    home.landing,
                    declared,
                    settings.landing,
                    named=named,
                    constants=constant,
                    day=day.date() if day else None,
                    advance=advance,
                )
            except LogImportError as error:
                if error.reasons is not None:
                    _say_reasons(error.reasons)
                raise
    if not imported.reasons.is_empty():
        _say_reasons(imported.reasons)
    out.print(
        f"{imported.rows_written:,} of {imported.rows_read:,} rows of {source} on {imported.days:,} days, "
        f"{imported.first_day} to {imported.last_day}."
    )
    out.print(f"Next: the other sources, then journeys run --date {imported.last_day} --scope all_users")


def _declared(name: str, sources: dict[str, Source]) -> Source:
    if name not in sources:
        raise click.UsageError(f"there is no source {name!r}: use one of {', '.join(sources)}")
    return sources[name]


def _shorthands(told: dict[str, str | None]) -> dict[str, str]:
    fields = {"user": "user_id", "item": "item_id", "time": "occurred_at"}
    return {fields.get(name, name): column for name, column in told.items() if column is not None}


def _say_columns(source: Source, named: dict[str, str], guessed: Sequence[str], constants: dict[str, str]) -> None:
    table = Table("column", "in the file", "", title=f"Columns of {source.name}", title_justify="left")
    for field in source.fields:
        if field in constants:
            table.add_row(field, constants[field], "the same in all rows")
        elif field in named:
            table.add_row(field, named[field], "guessed by its name" if field in guessed else "as told")
        else:
            table.add_row(field, field, "by its own name, where there is one")
    err.print(table)


def _say_reasons(reasons: pl.DataFrame) -> None:
    table = plain_table("reason", "rows", "first file and row", "what to do")
    for reason, rows, file, row in reasons.iter_rows():
        add_row(table, reason, f"{rows:,}", f"{file}:{row}", cure(reason))
    say("Rejected:")
    err.print(table, highlight=False)
