"""Tables in memory, of whatever library, as a landing zone: so they are read by the reader of all landing data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Protocol

import polars as pl

from journeys_dagster.errors import ExpectedError
from journeys_dagster.settings import LandingSettings, TimeUnit
from journeys_dagster.sources.columns import AmbiguousColumnError, match_single_columns
from journeys_dagster.sources.contracts import Field, Source
from journeys_dagster.sources.reader import read_days
from journeys_dagster.sources.writer import write_day, write_days

ARRIVAL_DAY, OCCURRED_AT = "arrival_day", "occurred_at"
_LAST_DAY = date.max
_TIMES = Source(
    name="times",
    description="Times of a table's rows.",
    grain="one row per row of the table",
    fields={
        "row": Field(kind="integer", description="its place, from 0"),
        "time": Field(kind="timestamp", description="the time, UTC"),
    },
)


class ArrowTable(Protocol):
    """A table of pandas, Arrow or another library that exports Arrow's stream of batches."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Its rows."""
        ...


AnyTable = pl.DataFrame | pl.LazyFrame | ArrowTable | Mapping[str, Sequence[object]]


class TableError(ExpectedError, ValueError, carries_user_text=False):
    """A table that cannot be used; the message names table, column and rows, and says what to do."""


@dataclass(frozen=True)
class LandedTable:
    """A table in the landing zone.

    Attributes
    ----------
    days : list of date
        Days that have rows, in order.
    arrival_days : Series of date
        Of each row of the table; null where it arrived after the day that is looked at.
    """

    days: list[date]
    arrival_days: pl.Series

    def place(self, day: date, row_number: int) -> int:
        """Place in the table, from 0, of the row that has this number, from 1, in its day's file."""
        return int((self.arrival_days == day).arg_true()[row_number - 1])


def land_tables(
    folder: Path,
    tables: Mapping[str, AnyTable],
    sources: Mapping[str, Source],
    landing: LandingSettings,
    *,
    as_of: date | None,
) -> dict[str, LandedTable]:
    """Write tables into the landing zone ``landing`` of a folder.

    A row arrives on the day in its column ``arrival_day``, else on that of ``occurred_at``; a row of a source without
    times on the first day of all. No row arrives later than today: one from the future is rejected when it is read.

    Parameters
    ----------
    tables : mapping of str to table
        By the name of the source.
    as_of : date, optional
        Rows that arrived later are left out.

    Raises
    ------
    TableError
        One of them is no table, or an arrival day is none.
    """
    latest = as_of or datetime.now(UTC).date()
    frames, arrivals = {}, {}
    for name, table in tables.items():
        frame = _frame(name, table)
        columns = _own_columns(frame, sources[name])
        happened, arrived = (
            _days(frame, columns.get(column), sources[name].time_unit, landing, folder)
            for column in (OCCURRED_AT, ARRIVAL_DAY)
        )
        if ARRIVAL_DAY in columns:
            _refuse_no_days(name, frame[columns.pop(ARRIVAL_DAY)], arrived)
        arrivals[name] = arrived.zip_with(arrived.is_not_null(), happened)
        # In Parquet there are no whole numbers of so many bits.
        frames[name] = frame.select(columns.values()).cast({pl.Int128: pl.String, pl.UInt128: pl.String})
        if objects := [column for column, kind in frames[name].schema.items() if kind == pl.Object]:
            raise TableError(f"{name}: column {objects[0]!r} holds Python objects: give it a type, such as text")
    of_events = [arrivals[name] for name in frames if OCCURRED_AT in sources[name].fields]
    first: date = pl.concat([pl.Series([latest]), *of_events]).min()  # type: ignore[assignment]
    landed = {}
    for name, frame in frames.items():
        # A row whose time is none is rejected, on whatever day.
        without = latest if OCCURRED_AT in sources[name].fields else first
        day = pl.col(ARRIVAL_DAY).fill_null(without)
        day = pl.min_horizontal(day, latest) if as_of is None else pl.when(day <= latest).then(day)
        dated = frame.with_columns(arrivals[name].alias(ARRIVAL_DAY)).with_columns(day.alias(ARRIVAL_DAY))
        written = write_days(folder / "landing", source=name, frame=dated.drop_nulls(ARRIVAL_DAY))
        landed[name] = LandedTable(list(written), dated[ARRIVAL_DAY])
    return landed


def _frame(name: str, table: AnyTable) -> pl.DataFrame:
    import pyarrow as pa

    if isinstance(table, pl.LazyFrame):
        return table.collect()
    if isinstance(table, pl.DataFrame):
        return table
    try:
        return pl.DataFrame(pl.from_arrow(pa.table(table)))  # pyright: ignore[reportArgumentType]
    except (pa.ArrowException, pl.exceptions.PolarsError, TypeError, ValueError) as error:
        # What Arrow says may quote a cell.
        raise TableError(
            f"{name}: no table can be made of this {type(table).__name__} ({type(error).__name__}). Give a polars, "
            "pandas or Arrow table, whose column names differ and whose columns hold values of one type each"
        ) from None


def _own_columns(frame: pl.DataFrame, source: Source) -> dict[str, str]:
    """What the table calls the source's columns, and the day of arrival; those that it does not have are left out."""
    try:
        matched = match_single_columns(frame.columns, [*source.fields, ARRIVAL_DAY], source.columns)
    except AmbiguousColumnError as error:
        raise TableError(f"{source.name}: {error}") from None
    return {column: own for column, (own,) in matched.items()}


def _days(
    frame: pl.DataFrame, column: str | None, time_unit: TimeUnit | None, landing: LandingSettings, folder: Path
) -> pl.Series:
    """UTC days of a column's times, as the reader takes these; null where it takes one for none."""
    if column is None or frame.is_empty():
        return pl.repeat(None, len(frame), dtype=pl.Date, eager=True)
    rows = pl.DataFrame({"row": pl.int_range(len(frame), dtype=pl.Int32, eager=True), "time": frame[column]})
    written = write_day(folder, source=_TIMES.name, day=_LAST_DAY, frame=rows)
    landed = read_days(replace(_TIMES, time_unit=time_unit), {_LAST_DAY: written}, landing)
    days = landed.accepted.select("row", day=pl.col("time").dt.date())
    return rows.join(days, on="row", how="left", maintain_order="left")["day"]


def _refuse_no_days(name: str, told: pl.Series, arrived: pl.Series) -> None:
    wrong = (told.is_not_null() & arrived.is_null()).arg_true()
    if len(wrong):
        raise TableError(
            f"{name}: column {told.name!r} is no day in {len(wrong):,} rows, the first of them row {wrong[0]} "
            "(counted from 0). Give days, such as 2025-06-30, or leave the column out"
        )
