"""Starting DuckDB with what is known to be wrong in the pinned version turned off, its parameters, endless queries."""

import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb

from journeys_dagster.errors import ExpectedError

_WRONG_OPTIMIZERS = "top_n_window_elimination"
"""DuckDB 2.0.1 takes columns for one another where statistics reduce a filter on a row number to the first row."""
_INTERRUPT_SECONDS = 0.1
_LIBRARIES = {"duckdb", "polars", "pyarrow"}


class QueryLimitError(ExpectedError, RuntimeError, carries_user_text=False):
    """A query ran for longer than it may and was interrupted."""


def start_duckdb(config: Mapping[str, object] | None = None) -> duckdb.DuckDBPyConnection:
    """DuckDB without a file.

    Parameters
    ----------
    config : mapping, optional
        DuckDB's configuration, such as ``memory_limit``.
    """
    return duckdb.connect(config={"disabled_optimizers": _WRONG_OPTIMIZERS, **(config or {})})  # type: ignore[dict-item]


def used_params(sql: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that a query names; DuckDB refuses others."""
    named = {name for statement in duckdb.extract_statements(sql) for name in statement.named_parameters}
    return {name: value for name, value in params.items() if name in named}


@contextmanager
def limited_time(connection: duckdb.DuckDBPyConnection, path: Path, *, hours: float) -> Iterator[None]:
    """Interrupt what a connection still runs when `hours` have passed since the block began.

    DuckDB's own ``max_execution_time`` is looked at by tasks that run. A query that stands still has none.

    Parameters
    ----------
    path : Path
        The file that the connection has open, for the message.

    Raises
    ------
    QueryLimitError
        A query was interrupted; its transaction is undone when the connection is closed.
    """
    has_ended = threading.Event()
    has_passed = threading.Event()

    def watch() -> None:
        if has_ended.wait(hours * 3600):
            return
        has_passed.set()
        # Again and again, as an interrupt between two queries of a transaction has no effect.
        while not has_ended.wait(_INTERRUPT_SECONDS):
            with suppress(duckdb.Error):
                connection.interrupt()

    watchdog = threading.Thread(target=watch, name="query limit", daemon=True)
    watchdog.start()
    try:
        yield
    except Exception as error:
        # A result that is handed over as Arrow says of it what the library that reads it says.
        if not has_passed.is_set() or "interrupt" not in str(error).lower():
            raise
        frames = traceback.extract_tb(error.__traceback__)
        place = next(frame for frame in reversed(frames) if not _LIBRARIES & set(Path(frame.filename).parts))
        raise QueryLimitError(
            f"a query on {path} was interrupted after {hours:g} hours and its transaction undone. It was asked in "
            f"{Path(place.filename).name}, line {place.lineno}: {place.line}. If it only takes long, raise "
            "run.query_limit_hours; if it stands still, DuckDB is at fault"
        ) from None
    finally:
        has_ended.set()
        watchdog.join()
