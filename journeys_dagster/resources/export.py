"""Copies of tables as Parquet files that other programs can read: whole or not there at all, while runs go on.

An export is a folder of its own, named after the newest inferred day and the time it was made; it touches no other one.
It is written under a hidden name and renamed when all of it is on disk.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb

from journeys_dagster.resources.disk import flush_to_disk
from journeys_dagster.resources.file_lock import LockTimeoutError, file_lock
from journeys_dagster.resources.migrations import newest_version
from journeys_dagster.resources.warehouse import Warehouse, WarehouseError
from journeys_dagster.sources.writer import SUCCESS
from journeys_dagster.tables import Table, quote_literal

MANIFEST = "manifest.json"
_UNFINISHED = ".unfinished-"
_NAME = "marts_as_of_"
_NEWEST = "select max(as_of) as day, arg_max(algorithm_version, as_of) as algorithm_version from user_snapshots"


class ExportError(WarehouseError, carries_user_text=False):
    """An export that could not be made; nothing of it was left."""


@dataclass(frozen=True)
class Export:
    """A finished export.

    Attributes
    ----------
    folder : Path
    manifest : dict
        What ``manifest.json`` holds.
    """

    folder: Path
    manifest: dict[str, Any]


def export_tables(warehouse: Warehouse, tables: Sequence[Table], to: Path, *, keep: int | None = None) -> Export:
    """Write tables and views to a new folder below `to`, from one transaction.

    Parameters
    ----------
    tables : sequence of Table
        Their rows are sorted by their key.
    keep : int, optional
        How many finished exports may lie in `to` afterwards; the oldest beyond that are removed. Default: all.

    Raises
    ------
    ExportError
        The folder cannot be written to, its disk is full, or a table is not there yet.
    """
    to = to.resolve()
    with _named(to):
        to.mkdir(parents=True, exist_ok=True)
        with file_lock(to / ".export.lock", shared=False, timeout_seconds=warehouse.lock_timeout_seconds):
            # Nobody else is exporting to this folder, so these are of processes that were killed.
            for left in to.glob(f"{_UNFINISHED}*"):
                shutil.rmtree(left)
            export = _export(warehouse, tables, to)
            if keep is not None:
                _remove_older(to, keep)
    return export


@contextmanager
def _named(to: Path) -> Iterator[None]:
    """Errors of the folder name it."""
    try:
        yield
    except LockTimeoutError as error:
        raise ExportError(f"export to {to} failed: another export is under way there: {error}") from None
    except OSError as error:
        raise ExportError(f"export to {to} failed: {error}. Nothing of it was left there.") from None


def _export(warehouse: Warehouse, tables: Sequence[Table], to: Path) -> Export:
    made_at = datetime.now(UTC)
    unfinished = to / f"{_UNFINISHED}{made_at:%Y%m%dT%H%M%S%fZ}"
    unfinished.mkdir()
    try:
        day, algorithm_version, columns = _write(warehouse, tables, unfinished)
        # The warehouse is free again; what follows takes as long as it takes.
        manifest = {
            "as_of": day.isoformat(),
            "made_at": made_at.isoformat(timespec="seconds"),
            "algorithm_version": algorithm_version,
            "table_version": newest_version(),
            "journeys_dagster": version("journeys_dagster"),
            "duckdb": duckdb.__version__,
            "tables": {table.name: _describe(unfinished, table, columns[table.name]) for table in tables},
        }
        (unfinished / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        (unfinished / SUCCESS).touch()
        for path in (*unfinished.iterdir(), unfinished):
            flush_to_disk(path)
        folder = to / f"{_NAME}{day}_{made_at:%Y%m%dT%H%M%S%fZ}"
        unfinished.rename(folder)
        flush_to_disk(to)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return Export(folder, manifest)


def _write(warehouse: Warehouse, tables: Sequence[Table], folder: Path) -> tuple[date, str, dict[str, dict[str, str]]]:
    """One file per table; returns the newest day, its algorithm version, and the columns with their types."""
    columns = {}
    day: date | None = None
    algorithm_version = ""
    failure: duckdb.Error | None = None
    with warehouse.read() as connection:
        # Readers share the lock, so nobody writes meanwhile; the transaction says so to DuckDB too.
        connection.execute("begin transaction").fetchall()
        try:
            day, algorithm_version = connection.sql(_NEWEST).fetchall()[0]
            for table in tables:
                described = connection.sql(f'describe "{table.name}"').fetchall()
                columns[table.name] = {name: kind for name, kind, *_ in described}
                order = ", ".join(f'"{column}"' for column in table.key)
                file = quote_literal(str(folder / _file(table)))
                connection.execute(
                    f'copy (from "{table.name}" order by {order}) to {file} (format parquet, compression zstd)'
                ).fetchall()
        except duckdb.CatalogException as error:
            raise ExportError(
                f"warehouse {warehouse.path} has nothing to export yet: use `journeys run` first ({error})"
            ) from None
        except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
            # Raised within the block, it would be reported as a fault of the warehouse's disk.
            failure = error
    if failure is not None:
        raise OSError(str(failure))
    if day is None:
        raise ExportError(f"warehouse {warehouse.path} has no snapshots to export yet: use `journeys run` first")
    return day, algorithm_version, columns


def _describe(folder: Path, table: Table, columns: dict[str, str]) -> dict[str, Any]:
    import pyarrow.parquet as pq

    path = folder / _file(table)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "file": path.name,
        "rows": pq.read_metadata(path).num_rows,
        "bytes": path.stat().st_size,
        "sha256": digest,
        "sorted_by": list(table.key),
        "columns": columns,
    }


def _file(table: Table) -> str:
    return f"{table.name}.parquet"


def _remove_older(to: Path, keep: int) -> None:
    """Remove the oldest exports; a finished one is renamed first, so that none is ever seen in part."""
    finished = sorted(path for path in to.glob(f"{_NAME}*") if (path / SUCCESS).exists())
    finished.sort(key=lambda path: path.name.rsplit("_", 1)[-1])
    for path in finished[: max(0, len(finished) - keep)]:
        hidden = to / f"{_UNFINISHED}{path.name}"
        path.rename(hidden)
        shutil.rmtree(hidden)
