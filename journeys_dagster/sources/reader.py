"""Checking landing rows against their source's contract: good rows typed, bad rows put aside with a reason.

The checks are SQL over whole files in a database of their own in memory, so that one bad row among millions costs
nothing but itself. Rows read = accepted + duplicates + rejected + over the cap of their user, always.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import polars as pl

from journeys_dagster.settings import LandingSettings
from journeys_dagster.sources.contracts import LANDED_DAYS, Source
from journeys_dagster.sources.files import (
    FileGroup,
    display_name,
    failure_text,
    file_groups,
    fingerprint,
    landing_files,
)
from journeys_dagster.sources.row_checks import check_sql
from journeys_dagster.sources.work_database import work_database
from journeys_dagster.sql.macros import load_landing_macros
from journeys_dagster.tables import quote_literal

_OVER_CAP = {"arrival_day": pl.Date, "user_id": pl.String, "rows_over_cap": pl.Int64}


@dataclass(frozen=True)
class LandedRows:
    """What some days of one source held.

    Attributes
    ----------
    accepted : DataFrame
        Columns of the source's table, exact duplicates of a day once.
    rejected : DataFrame
        Columns of `REJECTED_ROWS`.
    days : DataFrame
        Columns of `LANDED_DAYS`: one row per day that has a folder.
    over_cap : DataFrame
        Users who had more rows in a day than they may have: ``arrival_day``, ``user_id``, ``rows_over_cap``.
    """

    accepted: pl.DataFrame
    rejected: pl.DataFrame
    days: pl.DataFrame
    over_cap: pl.DataFrame


def read_days(source: Source, folders: dict[date, Path], landing: LandingSettings) -> LandedRows:
    """Read and check days of one source.

    Parameters
    ----------
    source : Source
        The contract.
    folders : dict of date to Path
        The day folders to read.
    landing : LandingSettings
        Of the rows of one user and day the newest by ``occurred_at`` are accepted, ties by the other columns, so that
        the order of files and rows plays no part. Sources without a user have no such limit.

    Returns
    -------
    LandedRows
        For every day: rows read = accepted + duplicate + rejected + over the cap.
    """
    # DuckDB gives back the paths of files without links and dots.
    files = {day: landing_files(folder.resolve()) for day, folder in folders.items()}
    try:
        return _read(source, files, {}, landing)
    except duckdb.FatalException:
        # A damaged Parquet file can take the database down, and with it what the other files held.
        return _read(source, files, fatal_files(source, files, landing), landing)


def fatal_files(source: Source, files: dict[date, list[Path]], landing: LandingSettings) -> dict[Path, str]:
    """The files that take the database down, each tried in a database of its own."""
    fatal: dict[Path, str] = {}
    for day, paths in files.items():
        for path in paths:
            try:
                _read(source, {day: [path]}, {}, landing)
            except duckdb.FatalException:
                fatal[path] = "it is damaged; DuckDB breaks down on it"
    return fatal


def _read(
    source: Source, files: dict[date, list[Path]], unreadable: dict[Path, str], landing: LandingSettings
) -> LandedRows:
    # Taken before the rows are read: should a file change meanwhile, the day counts as changed afterwards.
    fingerprints = {day: fingerprint(paths) for day, paths in files.items()}
    with work_database() as connection:
        check_files(connection, source, files, unreadable, landing)
        accepted, over_cap = accepted_rows(connection, source, landing)
        rejected, counts = rejected_rows(connection, source)
    for frame in (
        accepted.group_by("arrival_day").len("rows_accepted"),
        over_cap.group_by("arrival_day").agg(pl.col("rows_over_cap").sum()),
    ):
        counts = counts.join(frame, on="arrival_day", how="left")
    return LandedRows(
        accepted,
        pl.concat([rejected, unreadable_rows(source, files, unreadable, rejected.schema)]),
        landed_days(source, files, fingerprints, unreadable, counts),
        over_cap,
    )


def check_files(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    files: dict[date, list[Path]],
    unreadable: dict[Path, str],
    landing: LandingSettings,
    *,
    written: Sequence[str] = (),
    advance: Callable[[int], object] | None = None,
) -> None:
    """Check all rows of files into the table ``checked``: values, reason and row, as in `check_sql`.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        One of `work_database`, or after `prepare_values`.
    unreadable : dict of Path to str
        Files to leave out. Gets the ones that cannot be read, with the reason.
    written : sequence of str
        Fields of which ``written <name>`` is a column too.
    advance : callable, optional
        Called with the rows that were checked so far.
    """
    _create_work_tables(connection, source, files, written)
    every_file = [path for paths in files.values() for path in paths]
    groups = file_groups(connection, every_file, unreadable, contract=list(source.fields), named=source.columns)
    for group in groups:
        unreadable |= _take_in(connection, source, group, landing, written)
        if advance is not None:
            advance(connection.sql("select count(*) from checked").fetchall()[0][0])
    _clean_texts(connection, source)


def _create_work_tables(
    connection: duckdb.DuckDBPyConnection, source: Source, files: dict[date, list[Path]], written: Sequence[str]
) -> None:
    arrivals = pl.DataFrame(
        [
            (str(path), display_name(path), day)
            for day, paths in files.items()
            for path in paths
            if display_name(path) == path.name
        ],
        schema={"path": pl.String, "file": pl.String, "arrival_day": pl.Date},
        orient="row",
    )
    connection.register("arrivals", arrivals)
    columns = ", ".join(f'"{name}" {source.table.columns[name].type}' for name in source.fields)
    texts = "".join(f', "written {name}" varchar' for name in written)
    connection.execute(
        "create or replace table checked (arrival_day date not null, file varchar not null, "
        f"row_number bigint not null, {columns}, reason varchar, row_text varchar{texts})"
    )


def _take_in(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    group: FileGroup,
    landing: LandingSettings,
    written: Sequence[str],
) -> dict[Path, str]:
    """Check a group's rows into the work table; the files that cannot be read, with the reason."""
    try:
        connection.execute(f"insert into checked {check_sql(source, group, landing, written=written)}")
    except duckdb.Error as error:
        if len(group.paths) == 1:
            return {group.paths[0]: failure_text(error, group.paths[0])}
        unreadable: dict[Path, str] = {}
        for single in group.single_files():
            unreadable |= _take_in(connection, source, single, landing, written)
        return unreadable
    return {}


def _clean_texts(connection: duckdb.DuckDBPyConnection, source: Source) -> None:
    """Take the wrapping of exports off what people wrote. Most days have none, and to plan it takes a while."""
    conditions, values = {}, {}
    for name, field in source.fields.items():
        if field.kind == "text_list":
            conditions[name] = f"has_wrapping(array_to_string(\"{name}\", ' '))"
            values[name] = f'list_transform("{name}", lambda text: clean_text(text))'
        elif field.kind == "text" and not field.one_of:
            conditions[name], values[name] = f'has_wrapping("{name}")', f'clean_text("{name}")'
    if not conditions:
        return
    (found,) = connection.sql(
        f"select {', '.join(f'bool_or({each})' for each in conditions.values())} from checked"
    ).fetchall()
    wrapped = [name for name, is_found in zip(conditions, found, strict=True) if is_found]
    for macro in load_landing_macros() if wrapped else ():
        connection.execute(macro)
    for name in wrapped:
        connection.execute(f'update checked set "{name}" = {values[name]} where {conditions[name]}')


def accepted_rows(
    connection: duckdb.DuckDBPyConnection, source: Source, landing: LandingSettings
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Accepted rows of the table ``checked``, and how many of whom were over the cap."""
    columns = ", ".join(f'"{name}"' for name in ("arrival_day", *source.fields))
    good = f"select distinct {columns} from checked where reason is null"
    if not source.has_user_events or not _find_busy_users(connection, landing):
        return connection.sql(f"{good} order by all").pl(), pl.DataFrame(schema=_OVER_CAP)
    cap = landing.max_rows_per_user_per_day
    connection.execute(
        "create table busy_rows as select *, row_number() over "
        f"(partition by arrival_day, user_id order by occurred_at desc, {columns}) as place "
        f"from ({good} and (arrival_day, user_id) in (from busy_users))"
    )
    accepted = connection.sql(
        f"{good} and (arrival_day, user_id) not in (from busy_users) "
        f"union all select {columns} from busy_rows where place <= {cap} order by all"
    ).pl()
    over_cap = connection.sql(
        f"select arrival_day, user_id, count(*) as rows_over_cap from busy_rows where place > {cap} "
        "group by all order by all"
    ).pl()
    return accepted, over_cap


def _find_busy_users(connection: duckdb.DuckDBPyConnection, landing: LandingSettings) -> int:
    """Put aside who may be over the cap: duplicates count here. On most days there is nobody."""
    (count,) = connection.execute(
        "create table busy_users as select arrival_day, user_id from checked where reason is null "
        f"group by all having count(*) > {landing.max_rows_per_user_per_day}"
    ).fetchall()[0]
    return count


def rejected_rows(connection: duckdb.DuckDBPyConnection, source: Source) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rejected rows, and by day the rows read, good and rejected."""
    rejected = connection.sql(
        f"select arrival_day, {quote_literal(source.name)} as source, file, row_number, reason, row_text as row "
        "from checked where reason is not null order by all"
    ).pl()
    counts = connection.sql(
        "select arrival_day, count(*) as rows_read, count(*) filter (reason is null) as rows_good, "
        "count(*) filter (reason is not null) as rows_rejected from checked group by all"
    ).pl()
    return rejected, counts


def unreadable_rows(
    source: Source, files: dict[date, list[Path]], unreadable: dict[Path, str], schema: pl.Schema
) -> pl.DataFrame:
    """Rows of `REJECTED_ROWS` that stand for whole files."""
    return pl.DataFrame(
        [
            (day, source.name, display_name(path), None, f"unreadable file: {unreadable[path]}", None)
            for day, paths in files.items()
            for path in paths
            if path in unreadable
        ],
        schema=schema,
        orient="row",
    )


def landed_days(
    source: Source,
    files: dict[date, list[Path]],
    fingerprints: dict[date, str],
    unreadable: dict[Path, str],
    counts: pl.DataFrame,
) -> pl.DataFrame:
    """Rows of `LANDED_DAYS`, from counts of rows by day."""
    days = pl.DataFrame(
        [
            (day, source.name, fingerprints[day], len(paths), sum(path in unreadable for path in paths))
            for day, paths in files.items()
        ],
        schema={
            "arrival_day": pl.Date,
            "source": pl.String,
            "fingerprint": pl.String,
            "files": pl.Int32,
            "unreadable_files": pl.Int32,
        },
        orient="row",
    )
    counted = ("rows_read", "rows_good", "rows_rejected", "rows_accepted", "rows_over_cap")
    return (
        days.join(counts, on="arrival_day", how="left")
        .with_columns(pl.col(counted).fill_null(0).cast(pl.Int64))
        .with_columns(rows_duplicate=pl.col("rows_good") - pl.col("rows_accepted") - pl.col("rows_over_cap"))
        .select(list(LANDED_DAYS.columns))
        .sort("arrival_day")
    )
