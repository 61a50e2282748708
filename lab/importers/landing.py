"""Putting a published data set into a landing zone: what was kept of it, and all of it or nothing."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from journeys_dagster.errors import ExpectedError
from journeys_dagster.resources.file_lock import file_lock
from journeys_dagster.sources.writer import SIMULATED_MARKER, write_days

_LOCK_SECONDS = 10.0
_ELSEWHERE = "set JOURNEYS_HOME to another folder"


class DataSetError(ExpectedError, ValueError, carries_user_text=False):
    """A data set that cannot be imported; the message names what is missing or in the way."""


@dataclass(frozen=True, kw_only=True)
class ImportSummary:
    """What an importer read and wrote.

    Attributes
    ----------
    rows_read, rows_kept : int
        Lines of purchases; ``rows_read == rows_kept + sum(excluded.values())``. Each kept line is one purchase.
    excluded : dict of str to int
        Lines left out, by the first reason that applies, in the order in which the reasons are tried.
    users, items : int
        Distinct among the kept lines.
    item_rows : int
        Rows of `items`.
    days : int
        Days with a purchase.
    first_day, last_day : date or None
        Of the kept lines; None when nothing was kept.
    """

    rows_read: int
    rows_kept: int
    excluded: dict[str, int]
    users: int
    items: int
    item_rows: int
    days: int
    first_day: date | None
    last_day: date | None


def without_excluded(lines: pl.DataFrame, reasons: Mapping[str, pl.Expr]) -> tuple[pl.DataFrame, dict[str, int]]:
    """The lines to which no reason applies, and how many were left out for which, tried in order.

    A comparison with a missing value is null: only what is known to be wrong is left out.
    """
    excluded: dict[str, int] = {}
    for reason, applies in reasons.items():
        kept = lines.filter(~applies.fill_null(value=False))
        excluded[reason] = lines.height - kept.height
        lines = kept
    return lines, excluded


def land_purchases(
    landing: Path, *, engagements: pl.DataFrame, items: pl.DataFrame, excluded: dict[str, int]
) -> ImportSummary:
    """Write purchases and their items by day, as `land`, and sum up.

    Parameters
    ----------
    engagements, items : DataFrame
        Landing rows, with ``arrival_day``.
    excluded : dict of str to int
        As in `ImportSummary`.
    """
    # Items first: a day of engagements that is complete finds its items complete too.
    land(landing, {"items": items, "engagements": engagements})
    days = engagements["arrival_day"].unique().sort().to_list()
    return ImportSummary(
        rows_read=engagements.height + sum(excluded.values()),
        rows_kept=engagements.height,
        excluded=excluded,
        users=engagements["user_id"].n_unique(),
        items=items["item_id"].n_unique(),
        item_rows=items.height,
        days=len(days),
        first_day=days[0] if days else None,
        last_day=days[-1] if days else None,
    )


def land(landing: Path, frames: Mapping[str, pl.DataFrame]) -> None:
    """Write the sources of a data set into a landing zone that holds nothing else.

    Everything is written below a hidden folder first; then each source is moved to its place at once, in the order of
    `frames`. What a killed import has left is completed or replaced by the next one. Where a source is there already,
    the same to the byte, nothing is touched.

    Raises
    ------
    DataSetError
        The landing zone holds other data; it is left as it was.
    """
    if (landing / SIMULATED_MARKER).exists():
        raise DataSetError(f"{landing} holds a simulated platform, which nothing must be mixed with; {_ELSEWHERE}")
    landing.mkdir(parents=True, exist_ok=True)
    with file_lock(landing / ".import.lock", shared=False, timeout_seconds=_LOCK_SECONDS):
        staging = landing / ".import-data-set"
        shutil.rmtree(staging, ignore_errors=True)
        try:
            for source, frame in frames.items():
                (staging / source).mkdir(parents=True)
                write_days(staging, source=source, frame=frame)
            _refuse_other_data(landing, staging)
            for source in frames:
                if not _holds_anything(landing / source):
                    # A folder takes the place of an empty one.
                    (staging / source).rename(landing / source)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def _refuse_other_data(landing: Path, staging: Path) -> None:
    for folder in sorted(landing.iterdir()):
        if folder.name.startswith(".") or not _holds_anything(folder):
            continue
        if _content(folder) != _content(staging / folder.name):
            raise DataSetError(f"{folder} holds other data than this import would write; {_ELSEWHERE}, or remove it")


def _holds_anything(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _content(folder: Path) -> dict[Path, bytes | None]:
    return {path.relative_to(folder): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}
