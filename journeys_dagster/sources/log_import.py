"""One file, or a few, of a source made into a landing zone by day: whole, or not at all."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import polars as pl

from journeys_dagster.errors import ExpectedError
from journeys_dagster.settings import LandingSettings
from journeys_dagster.sources.columns import guess_columns, match_columns, shown_names
from journeys_dagster.sources.contracts import Source
from journeys_dagster.sources.files import display_name, failure_text, found_columns
from journeys_dagster.sources.reader import check_files
from journeys_dagster.sources.text_blocks import UNPACKING_ERRORS, UnreadableFileError
from journeys_dagster.sources.work_database import prepare_values
from journeys_dagster.sources.writer import SIMULATED_MARKER, SUCCESS, UNFINISHED_IMPORT
from journeys_dagster.sql.connection import start_duckdb
from journeys_dagster.tables import quote_literal

Advance = Callable[[str, float], None]
_MEMORY_LIMIT = "1GB"
_REASONS = """
    select reason, count(*) as rows, arg_min(file, (file, row_number)) as first_file, min(row_number) as first_row
    from checked where reason is not null group by reason order by rows desc, reason
"""


class LogImportError(ExpectedError, ValueError, carries_user_text=False):
    """Files that cannot be imported; the message says which, why, and what to do. `reasons` as in `ImportedLog`."""

    def __init__(self, message: str, reasons: pl.DataFrame | None = None) -> None:
        super().__init__(message)
        self.reasons = reasons


@dataclass(frozen=True, kw_only=True)
class ImportedLog:
    """What was read and written.

    Attributes
    ----------
    rows_read, rows_written : int
        The difference was rejected.
    days : int
    first_day, last_day : date
    reasons : DataFrame
        Of rejected rows: ``reason``, ``rows``, ``first_file``, ``first_row``.
    """

    rows_read: int
    rows_written: int
    days: int
    first_day: date
    last_day: date
    reasons: pl.DataFrame


def name_columns(files: Sequence[Path], source: Source, told: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """What files call a source's columns: as told, as the contract does, or as logs often do.

    Parameters
    ----------
    told : mapping of str to str
        What is known, by column of the contract; a column that has one value in all rows counts as told.

    Returns
    -------
    named : dict of str to str
        By column of the contract, those left out that are called as it calls them.
    guessed : list of str
        Those that were guessed.

    Raises
    ------
    LogImportError
        A file cannot be read, has not the columns that were told, or one that is needed was not found.
    """

    def columns_of(names: Sequence[str]) -> int:
        found = match_columns(names, source.fields, told)
        return len(found.keys() | guess_columns(names, source.fields, told).keys())

    with start_duckdb() as connection:
        try:
            found = found_columns(connection, files[0], columns_of)
        except (UnreadableFileError, duckdb.Error, OSError, *UNPACKING_ERRORS) as error:
            raise LogImportError(f"{files[0]} cannot be read: {failure_text(error, files[0])}") from None
    has = f"{files[0].name} has {shown_names(found)}"
    for column, name in told.items():
        if not match_columns(found, [column], {column: name}):
            raise LogImportError(f"there is no column {name!r} for {column}: {has}")
    guessed = guess_columns(found, source.fields, told)
    return {**told, **guessed}, list(guessed)


def import_log(
    files: Sequence[Path],
    landing_zone: Path,
    source: Source,
    landing: LandingSettings,
    *,
    named: Mapping[str, str],
    constants: Mapping[str, str],
    day: date | None,
    advance: Advance,
) -> ImportedLog:
    """Check the rows of files as a run would, and write them by the day on which they happened.

    Everything is written below a hidden folder first, and moved to its place at once. What a killed import has left
    there is removed by the next one.

    Parameters
    ----------
    named : mapping of str to str
        From `name_columns`.
    constants : mapping of str to str
        Columns with one value in all rows.
    day : date, optional
        Arrival day of rows that have no time of their own.
    advance : callable
        Called with what is done and with the rows read so far.

    Raises
    ------
    LogImportError
        The source is there already, a file cannot be read, or more than `landing.max_rejected_share` was rejected.
    """
    place = landing_zone / source.name
    _refuse(landing_zone, place, source, day)
    with _staging(landing_zone, source) as staging, _database(staging) as connection:
        _check(connection, files, replace(source, columns=named, constants=constants), landing, advance)
        reasons = connection.sql(_REASONS).pl()
        rows_read = connection.sql("select count(*) from checked").fetchall()[0][0]
        rejected = int(reasons["rows"].sum())
        if not rows_read:
            raise LogImportError(f"there are no rows in {', '.join(display_name(path) for path in files)}")
        if rejected > landing.max_rejected_share * rows_read or rejected == rows_read:
            raise LogImportError(
                f"{rejected:,} of {rows_read:,} rows break the contract of {source.name}; nothing was written", reasons
            )
        advance("write days", rows_read)
        days = _write(connection, source, day, staging)
        # A folder of an earlier, empty zone.
        if place.exists():
            place.rmdir()
        (staging / source.name).rename(place)
    return ImportedLog(
        rows_read=rows_read,
        rows_written=rows_read - rejected,
        days=len(days),
        first_day=days[0],
        last_day=days[-1],
        reasons=reasons,
    )


def _refuse(landing_zone: Path, place: Path, source: Source, day: date | None) -> None:
    if (landing_zone / SIMULATED_MARKER).exists():
        raise LogImportError(
            f"{landing_zone} holds a simulated platform; set JOURNEYS_HOME to another folder, so that both do not mix"
        )
    if place.exists() and any(place.iterdir()):
        raise LogImportError(
            f"{place} holds days of {source.name} already: import all files at once, or remove that folder first"
        )
    if day is None and "occurred_at" not in source.fields:
        raise LogImportError(f"rows of {source.name} have no time: say with --day from which day on they are known")


@contextmanager
def _staging(landing_zone: Path, source: Source) -> Iterator[Path]:
    staging = landing_zone / f"{UNFINISHED_IMPORT}{source.name}"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        yield staging
    finally:
        shutil.rmtree(staging)


@contextmanager
def _database(staging: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    # A database in a file, because one in memory holds all rows there.
    spill = {"memory_limit": _MEMORY_LIMIT, "temp_directory": str(staging / "spill")}
    with start_duckdb(spill) as connection:
        connection.execute(f"attach {quote_literal(str(staging / 'rows.duckdb'))} as rows")
        connection.execute("use rows")
        connection.execute("set enable_progress_bar = false")
        prepare_values(connection)
        yield connection


def _check(
    connection: duckdb.DuckDBPyConnection,
    files: Sequence[Path],
    source: Source,
    landing: LandingSettings,
    advance: Advance,
) -> None:
    # Nothing of a log can have happened after today.
    arrived = {datetime.now(UTC).date(): [path.resolve() for path in files]}
    unreadable: dict[Path, str] = {}
    check_files(
        connection,
        source,
        arrived,
        unreadable,
        landing,
        advance=lambda rows: advance(f"{rows:,} rows of {source.name}", rows),
    )
    if unreadable:
        path, why = next(iter(unreadable.items()))
        raise LogImportError(f"{path} cannot be read: {why}; nothing was written")


def _write(connection: duckdb.DuckDBPyConnection, source: Source, day: date | None, staging: Path) -> list[date]:
    """Days as Parquet below the staging folder, complete; returns them in order."""
    fields = ", ".join(f'"{name}"' for name in source.fields)
    arrival = "cast(occurred_at as date)" if day is None else f"date '{day}'"
    target = staging / source.name
    connection.execute(
        f"copy (select {fields}, {arrival} as date from checked where reason is null order by date, {fields}) "
        f"to {quote_literal(str(target))} "
        "(format parquet, compression zstd, partition_by (date), filename_pattern 'part-{i}')"
    )
    for folder in target.iterdir():
        (folder / SUCCESS).touch()
    return sorted(date.fromisoformat(folder.name.removeprefix("date=")) for folder in target.iterdir())
