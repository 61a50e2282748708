"""Writing a landing zone: one folder per source and arrival day, complete when `_SUCCESS` is there.

For the simulator and the importers. What a source's columns must be is declared in `contracts`; this module
only sees to it that a reader never finds half a day.
"""

from datetime import date
from pathlib import Path

import polars as pl

from journeys_dagster.errors import ExpectedError

SUCCESS = "_SUCCESS"
# In a landing zone that holds a simulated world; real data must not be mixed with it.
SIMULATED_MARKER = "SIMULATED.json"
# An import's folder begins with it until all of its days are written.
UNFINISHED_IMPORT = ".import-"
_PART = "part-0.parquet"


class LandingWriteError(ExpectedError, ValueError, carries_user_text=False):
    """A frame that cannot be written as landing data; the message names the source and the column."""


def day_folder(landing: Path, *, source: str, day: date) -> Path:
    """Folder of one source's arrival day, ``LANDING/<source>/date=YYYY-MM-DD``."""
    if source in {"", ".", ".."} or Path(source).name != source:
        raise LandingWriteError(f"source {source!r} is no folder name; use a plain name such as 'searches'")
    return landing / source / f"date={day.isoformat()}"


def write_day(landing: Path, *, source: str, day: date, frame: pl.DataFrame) -> Path:
    """Write one arrival day of one source, replacing what was there.

    The data is written under another name first, so a failed write leaves the earlier day as it was.
    `_SUCCESS` is absent from before the first data file changes until after the last one did.

    Parameters
    ----------
    landing : Path
        The landing zone; created when absent.
    source : str
        Name of the source, which is its folder's name.
    day : date
        UTC arrival day.
    frame : pl.DataFrame
        The day's rows; may be empty. Equal frames give equal bytes.

    Returns
    -------
    Path
        The day's folder.

    Raises
    ------
    LandingWriteError
        `source` is no plain folder name.
    """
    folder = day_folder(landing, source=source, day=day)
    folder.mkdir(parents=True, exist_ok=True)
    part, success = folder / _PART, folder / SUCCESS
    # Neither the dot nor the ending matches what a reader looks for.
    unfinished = folder / f".{_PART}.unfinished"
    try:
        frame.write_parquet(unfinished, compression="zstd", statistics=True)
        success.unlink(missing_ok=True)
        unfinished.replace(part)
    finally:
        unfinished.unlink(missing_ok=True)
    for other in folder.iterdir():
        if other != part and other.is_file():
            other.unlink()
    success.touch()
    return folder


def begin_day(landing: Path, *, source: str, day: date) -> Path:
    """Empty an arrival day that is to be written in several parts; it counts as incomplete until `complete_day`."""
    folder = day_folder(landing, source=source, day=day)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SUCCESS).unlink(missing_ok=True)
    for other in folder.iterdir():
        if other.is_file():
            other.unlink()
    return folder


def add_part(landing: Path, *, source: str, day: date, number: int, frame: pl.DataFrame) -> Path:
    """Write one of the files of a day that `begin_day` has begun. Equal frames give equal bytes."""
    path = day_folder(landing, source=source, day=day) / f"part-{number}.parquet"
    frame.write_parquet(path, compression="zstd", statistics=True)
    return path


def complete_day(landing: Path, *, source: str, day: date) -> None:
    """Say that all parts of a day are written."""
    (day_folder(landing, source=source, day=day) / SUCCESS).touch()


def write_days(landing: Path, *, source: str, frame: pl.DataFrame, day_column: str = "arrival_day") -> dict[date, int]:
    """Write a frame's rows into the folders of their arrival days.

    Parameters
    ----------
    landing : Path
        The landing zone.
    source : str
        Name of the source.
    frame : pl.DataFrame
        Rows of any number of days, in the order in which each day's file shall hold them.
    day_column : str
        Date column with the UTC arrival day; not written. Days without rows are not touched.

    Returns
    -------
    dict of date to int
        Rows written per day, days ascending.

    Raises
    ------
    LandingWriteError
        `day_column` is missing, no Date, or has nulls.
    """
    kind = frame.schema.get(day_column)
    if kind != pl.Date:
        found = "missing" if kind is None else f"a {kind}"
        raise LandingWriteError(f"{source}: column {day_column!r} is {found}; it must hold the arrival day as a Date")
    if missing := frame[day_column].null_count():
        raise LandingWriteError(f"{source}: column {day_column!r} is null in {missing} rows; every row must have a day")
    days = frame.partition_by(day_column, as_dict=True, include_key=False)
    written: dict[date, int] = {}
    for (day,), rows in sorted(days.items()):
        write_day(landing, source=source, day=day, frame=rows)
        written[day] = rows.height
    return written
