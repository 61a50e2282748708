"""The database in memory in which landing files are read.

To start DuckDB and make the macros takes longer than to read a small day. So the process keeps one DuckDB with the
macros; each use has tables of its own in it, which are gone afterwards.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count

import duckdb

from journeys_dagster.sources.values import VALUE_MACROS
from journeys_dagster.sql.connection import start_duckdb

_guard = threading.Lock()
_numbers = count(1)
_kept: list[duckdb.DuckDBPyConnection] = []


@contextmanager
def work_database() -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to an empty database in memory, with what `row_checks.check_sql` needs but for the arrivals."""
    root, catalog = _root(), f"work_{next(_numbers)}"
    connection = root.cursor()
    try:
        connection.execute(f"attach ':memory:' as {catalog}")
        connection.execute(f"set search_path = '{catalog},memory'")
        _set_times(connection)
        yield connection
    except duckdb.FatalException:
        with _guard:
            _kept.clear()
        raise
    finally:
        connection.close()
        # After a fatal error there is nothing left to let go.
        with suppress(duckdb.FatalException):
            root.execute(f"detach {catalog}")


def prepare_values(connection: duckdb.DuckDBPyConnection) -> None:
    """Make what `row_checks.check_sql` needs of a database of its own, but for the arrivals."""
    for macro in VALUE_MACROS:
        connection.execute(macro)
    _set_times(connection)


def _root() -> duckdb.DuckDBPyConnection:
    with _guard:
        if not _kept:
            # A file may be written anew within the last digit of its time.
            root = start_duckdb({"enable_external_file_cache": False})
            prepare_values(root)
            _kept.append(root)
        return _kept[0]


def _set_times(connection: duckdb.DuckDBPyConnection) -> None:
    """Let a time without a zone be UTC, and the names of zones be known."""
    connection.execute("set TimeZone = 'UTC'")
    connection.execute("set variable time_zones = (select list(name) from pg_timezone_names())")
