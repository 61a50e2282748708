"""Journeys of tables in memory: the steps of a full run, without a home and without Dagster's runs and records."""

import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg
import polars as pl

from assets.sources import write_landed
from journeys_dagster.definitions import build_location, declared_assets
from journeys_dagster.inference.embedding import embedder_of_process
from journeys_dagster.orchestration.asset import Run
from journeys_dagster.orchestration.bare import needed_for, replace_rows
from journeys_dagster.orchestration.run_config import EVERYONE, ScopeConfig
from journeys_dagster.resources.database_file import open_database
from journeys_dagster.resources.home import Home
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import Settings, SettingsError, load_settings, settings_of
from journeys_dagster.sources.contracts import LANDED_DAYS, REJECTED_ROWS, Source, declared_sources
from journeys_dagster.sources.reader import LandedRows, read_days
from journeys_dagster.sources.tables_in_memory import AnyTable, LandedTable, TableError, land_tables
from journeys_dagster.sources.writer import day_folder
from journeys_dagster.sql.models import load_models

_USER_JOURNEYS = "user_journeys"
_SILENT_SECONDS = 3.0
_REASONS_LISTED = 10
Say = Callable[[str], None]


def infer_journeys(
    searches: AnyTable | None = None,
    engagements: AnyTable | None = None,
    items: AnyTable | None = None,
    board_items: AnyTable | None = None,
    *,
    as_of: date | str | None = None,
    settings: Settings | Mapping[str, Mapping[str, Any]] | None = None,
    strict: bool = False,
    quiet: bool = False,
) -> pl.DataFrame:
    """The journeys of all users in these tables, as a full run of the same rows in an empty home would find them.

    Nothing is kept: there is no home, and no model is trained. A journey's id is that of a first run.

    Parameters
    ----------
    searches, engagements, items, board_items : table, optional
        Polars, pandas or Arrow, with the columns of the landing zone's source of that name; any may be left out.
        ``occurred_at`` is a time or text; without a zone it is UTC. A row arrives on the day of ``occurred_at``, unless
        it has an ``arrival_day``; items without one are known from the first day. Exact duplicates count once.
    as_of : date or str, optional
        Day of the snapshot; what arrived later plays no part. Default: the last day in the tables.
    settings : Settings or mapping, optional
        Or the sections of `journeys.toml` that differ from the defaults. Default: the settings file that a run reads.
    strict : bool
        Raise where rows break their source's contract. Else they are left out and a warning counts them by reason.
    quiet : bool
        Say nothing on stderr of how far the work is, which is said after three seconds.

    Returns
    -------
    DataFrame
        Rows of the table `user_journeys`, by user and rank.

    Raises
    ------
    TableError
        A table cannot be used, none of its rows can, or, where `strict`, some of them cannot.
    SettingsError
        A setting is unknown or out of its range.

    Examples
    --------
    >>> import polars as pl
    >>> from journeys_dagster import infer_journeys
    >>> searches = pl.DataFrame(
    ...     {
    ...         "user_id": ["ann", "ann", "ann"],
    ...         "query": ["sourdough starter", "sourdough bread", "rye bread recipe"],
    ...         "occurred_at": ["2025-06-01 18:00", "2025-06-01 18:05", "2025-06-02 07:30"],
    ...     }
    ... )
    >>> infer_journeys(searches).select("user_id", "rank", "name", "stage").rows()
    [('ann', 1, 'Sourdough bread', 'ongoing')]
    """
    given = {"searches": searches, "engagements": engagements, "items": items, "board_items": board_items}
    tables = {name: table for name, table in given.items() if table is not None}
    if not tables:
        raise TableError(f"infer_journeys was given no table: give one at least of {', '.join(given)}")
    chosen, wanted, say = _settings(settings), _day(as_of), _late_lines(quiet=quiet)
    with TemporaryDirectory(prefix="journeys-") as folder, ExitStack() as stack:
        home = Home(Path(folder))
        warehouse = home.warehouse(chosen)
        # Kept open, as nobody else wants the file: else each step would write all of it to the disk.
        stack.enter_context(open_database(warehouse.path, read_only=False, config=warehouse.connection_config))
        found, last_day = _take_in(home, warehouse, tables, chosen, as_of=wanted, strict=strict, say=say)
        day = wanted or last_day
        found += _infer(home, warehouse, chosen, day, say)
        journeys = warehouse.query(f"from {_USER_JOURNEYS} where as_of = $day order by user_id, rank", {"day": day})
    for sentence in found:
        warnings.warn(sentence, stacklevel=2)
    return journeys


def _take_in(
    home: Home,
    warehouse: Warehouse,
    tables: Mapping[str, AnyTable],
    settings: Settings,
    *,
    as_of: date | None,
    strict: bool,
    say: Say,
) -> tuple[list[str], date]:
    """Take tables in; what was left out of them, a sentence each, and the last day that has rows."""
    sources, landing = declared_sources(settings), settings.landing
    warehouse.create_missing([*(source.table for source in sources.values()), REJECTED_ROWS, LANDED_DAYS])
    left_out: list[str] = []
    last_days: list[date] = []
    for name, table in land_tables(home.path, tables, sources, landing, as_of=as_of).items():
        say(f"taking in {name}")
        source, taken_in = sources[name], []
        for start in range(0, len(table.days), landing.days_per_batch):
            days = table.days[start : start + landing.days_per_batch]
            landed = read_days(
                source,
                {day: day_folder(home.landing, source=name, day=day) for day in days},
                landing,
            )
            write_landed(warehouse, source, landed, days)
            taken_in.append(landed)
            last_days += landed.days.filter(pl.col("rows_accepted") > 0)["arrival_day"].to_list()
        left_out += _left_out(source, table, taken_in, settings)
    if strict and left_out:
        raise TableError("\n".join(left_out))
    return left_out, max(last_days, default=as_of or datetime.now(UTC).date())


def _left_out(source: Source, table: LandedTable, taken_in: Sequence[LandedRows], settings: Settings) -> list[str]:
    """What of a table was left out and why, without a word of any row.

    Raises
    ------
    TableError
        None of its rows can be used.
    """
    if not taken_in:
        return [f"{source.name}: none of the rows had arrived by as_of"] if len(table.arrival_days) else []
    rejected = pl.concat(landed.rejected for landed in taken_in)
    over_cap = pl.concat(landed.over_cap for landed in taken_in)
    days = pl.concat(landed.days for landed in taken_in)
    sentences = []
    if not rejected.is_empty():
        # Of each reason the first row, by the day's file that holds it.
        reasons = rejected.group_by("reason").agg(pl.len(), pl.col("arrival_day", "row_number").first())
        parts = []
        for reason, rows, day, number in reasons.sort("len", "reason", descending=[True, False]).iter_rows():
            first = "" if number is None else f", the first of them row {table.place(day, number)}"
            parts.append(f"{reason} ({rows:,}{first})")
        shown = "; ".join(parts[:_REASONS_LISTED]) + (" …" if len(parts) > _REASONS_LISTED else "")
        counts = f"{days['rows_rejected'].sum():,} of {days['rows_read'].sum():,} rows"
        sentences.append(f"{source.name}: {counts} break the contract and are left out: {shown}. Rows count from 0.")
    if not over_cap.is_empty():
        rows, users = over_cap["rows_over_cap"].sum(), over_cap["user_id"].n_unique()
        sentences.append(
            f"{source.name}: {rows:,} rows are left out, of {users:,} users who have more than "
            f"{settings.landing.max_rows_per_user_per_day:,} in a day; their newest are in. Is it a bot? Else raise "
            "landing.max_rows_per_user_per_day."
        )
    if days["rows_accepted"].sum() == 0:
        raise TableError(f"none of the rows can be used. {sentences[0]}")
    return sentences


def _infer(home: Home, warehouse: Warehouse, settings: Settings, day: date, say: Say) -> list[str]:
    """Infer everyone as of a day; what checks have found, a sentence each."""
    declared = declared_assets(settings)
    location = build_location(settings, declared, dg.DailyPartitionsDefinition(day.isoformat()))
    taken_in = declared_sources(settings)
    # Trained models are none.
    daily = [asset for asset in declared if asset.name in location.assets and asset.partitioned]
    steps = [asset for asset in needed_for(_USER_JOURNEYS, daily) if asset.name not in taken_in]
    embedding, models = settings.embedding, load_models()
    run = Run(
        days=[day],
        location=location,
        warehouse=warehouse,
        embedder=embedder_of_process(embedding.model, embedding.revision, embedding.batch_size),
        landing_zone=home.landing_zone(),
        config=ScopeConfig(scope=EVERYONE),
        log=say,
        warn=say,
    )
    found = []
    for number, step in enumerate(steps, start=1):
        say(f"{step.name} ({number} of {len(steps)})")
        found += replace_rows(step, run, models)
    return found


def _settings(given: Settings | Mapping[str, Mapping[str, Any]] | None) -> Settings:
    if given is None:
        settings = load_settings()
    else:
        settings = given if isinstance(given, Settings) else settings_of(given, place="settings")
    if asking := [asset.name for asset in declared_assets(settings) if asset.uses_llm(settings)]:
        raise SettingsError(f"[llm]: infer_journeys asks no language model, as {', '.join(asking)} would: turn it off")
    return settings


def _day(given: date | str | None) -> date | None:
    if isinstance(given, str):
        return date.fromisoformat(given)
    return given.date() if isinstance(given, datetime) else given


def _late_lines(*, quiet: bool) -> Say:
    """Takes lines for stderr, and drops those of the first seconds."""
    began = time.monotonic()

    def say(line: str) -> None:
        if not quiet and time.monotonic() - began > _SILENT_SECONDS:
            sys.stderr.write(f"infer_journeys: {line}\n")
            sys.stderr.flush()

    return say
