"""A DuckDB file opened for a moment.

Starting DuckDB takes ten times as long as attaching a file, and a run opens the warehouse some eighty times. So the
process keeps its DuckDB, without any file; the file is attached while somebody reads or writes, and let go after.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from journeys_dagster.errors import ExpectedError
from journeys_dagster.sql.connection import start_duckdb
from journeys_dagster.tables import quote_literal


class WarehouseError(ExpectedError, RuntimeError, carries_user_text=False):
    """The warehouse cannot be used; the message names the file and the way out."""


@dataclass
class _Engine:
    """DuckDB without a file, and how many connections use each file that is attached to it."""

    root: duckdb.DuckDBPyConnection
    users: dict[Path, int] = field(default_factory=dict)


_engines: dict[frozenset[tuple[str, object]], _Engine] = {}
_guard = threading.Lock()


@contextmanager
def open_database(path: Path, *, read_only: bool, config: Mapping[str, object]) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to a database file, which is free again afterwards; what was not committed is undone.

    Threads may have the same file open at once if all of them open it in the same way.

    Parameters
    ----------
    path : Path
        The file; made if it is missing, unless `read_only`.
    config : mapping
        DuckDB's configuration, such as ``memory_limit``.

    Raises
    ------
    duckdb.IOException
        The file cannot be opened, or another process has it.
    duckdb.ResourceInUseException
        Another connection of this process has it.
    """
    path = path.resolve()
    catalog = catalog_name(path)
    with _guard:
        engine = _engine(config)
        if not engine.users.get(path):
            options = " (read_only)" if read_only else ""
            engine.root.execute(f"attach {quote_literal(str(path))} as {catalog}{options}")
        engine.users[path] = engine.users.get(path, 0) + 1
        connection = engine.root.cursor()
    try:
        connection.execute(f"use {catalog}")
        connection.execute("set TimeZone = 'UTC'")
        yield connection
    finally:
        connection.close()
        with _guard:
            engine.users[path] -= 1
            if not engine.users[path]:
                engine.root.execute(f"detach {catalog}")


def catalog_name(path: Path) -> str:
    """A database file's name in SQL: its whole path, as two homes may be open at once."""
    return '"' + str(path).replace('"', '""') + '"'


def _engine(config: Mapping[str, object]) -> _Engine:
    key = frozenset(config.items())
    if key not in _engines:
        _engines[key] = _Engine(start_duckdb(config))
    return _engines[key]
