"""Dagster's records of a run in SQLite, kept open while it runs."""

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import dagster as dg
from dagster._core.storage.event_log.sqlite import SqliteEventLogStorage
from sqlalchemy import Engine, event

_OF_ALL_RUNS = "index"


@contextmanager
def open_records(instance: dg.DagsterInstance, run_id: str) -> Iterator[None]:
    """Hold a connection to the files that a run's events are written to; does nothing where they are in no SQLite file.

    Dagster opens and closes a connection for each of hundreds of events, and whichever connection is the last to be
    closed writes SQLite's log back into the file and waits for the disk. With one that stays, that is done at the end.
    Nor does each event wait for the disk by itself meanwhile: a power cut may take the last ones along, whole.
    """
    storage = instance.event_log_storage
    with ExitStack() as stack:
        if isinstance(storage, SqliteEventLogStorage):
            for shard in (_OF_ALL_RUNS, run_id):
                connection = stack.enter_context(closing(sqlite3.connect(storage.path_for_shard(shard))))
                # A connection counts from its first statement on; the run's own file is made here.
                connection.execute("pragma journal_mode = wal").fetchall()
                connection.execute("select count(*) from sqlite_master").fetchall()
            event.listen(Engine, "connect", _wait_less)
            stack.callback(event.remove, Engine, "connect", _wait_less)
        yield


def _wait_less(connection: object, _record: object) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute("pragma synchronous = normal").fetchall()
