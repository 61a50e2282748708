"""Dagster's records of a run in SQLite, which need not wait for the disk after each event."""

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import dagster as dg
from sqlalchemy import Engine, event


@contextmanager
def open_records(instance: dg.DagsterInstance, run_id: str) -> Iterator[None]:
    """Hold open the files that a run's events are written to; does nothing where they are in no SQLite file.

    Dagster opens a connection for each of hundreds of events, and whichever is the last to be closed writes SQLite's
    log back into the file and waits for the disk. While another one is open, none of them is the last. Nor does each
    event wait for the disk by itself meanwhile: a power cut may take the last ones along, whole.
    """
    with ExitStack() as stack:
        instance.all_logs(run_id)  # Dagster has made the files by then.
        for name in ("index", run_id):
            path = Path(instance.root_directory, "history", "runs", f"{name}.db")
            if path.exists():
                held = stack.enter_context(closing(sqlite3.connect(path)))
                held.execute("select count(*) from sqlite_master").fetchall()
        event.listen(Engine, "connect", _wait_less)
        stack.callback(event.remove, Engine, "connect", _wait_less)
        yield


def _wait_less(connection: sqlite3.Connection, _record: object) -> None:
    if isinstance(connection, sqlite3.Connection) and connection.execute("pragma journal_mode").fetchone() == ("wal",):
        connection.execute("pragma synchronous = normal").fetchall()
