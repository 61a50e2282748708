"""Dagster's records of a run in SQLite, kept open while it runs."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from sqlite3 import Connection as SqliteConnection

import dagster as dg
from dagster._core.storage.event_log.sqlite import SqliteEventLogStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from sqlalchemy import Connection, Engine, create_engine, event

_OF_ALL_RUNS = "index"


@contextmanager
def open_records(instance: dg.DagsterInstance, run_id: str) -> Iterator[None]:
    """Hold open the files that a run's events are written to; does nothing where they are in no SQLite file.

    For each of hundreds of events Dagster makes an engine of its own anew, which opens a connection and compiles the
    same statements once more, and whichever connection is the last to be closed writes SQLite's log back into the file
    and waits for the disk. With engines that stay, half of that time is left. Nor does each event wait for the disk by
    itself meanwhile: a power cut may take the last ones along, whole.
    """
    storage = instance.event_log_storage
    with ExitStack() as stack:
        if isinstance(storage, SqliteEventLogStorage):
            engines = {shard: stack.enter_context(_kept_engine(storage, shard)) for shard in (_OF_ALL_RUNS, run_id)}
            stack.enter_context(_connecting_by(engines, storage))
        yield


@contextmanager
def _kept_engine(storage: SqliteEventLogStorage, shard: str) -> Iterator[Engine]:
    with storage.run_connection(shard):
        pass  # Dagster has made the tables of a new file by then.
    engine = create_engine(storage.conn_string_for_shard(shard), connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS})
    event.listen(engine, "connect", _wait_less)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def _connecting_by(engines: dict[str, Engine], storage: SqliteEventLogStorage) -> Iterator[None]:
    """All that the storage reads and writes goes through its `_connect`."""
    own_connect = storage._connect

    @contextmanager
    def connect(shard: str) -> Iterator[Connection]:
        if shard in engines:
            with storage._db_lock, engines[shard].begin() as connection:
                yield connection
        else:
            with own_connect(shard) as connection:
                yield connection

    vars(storage)["_connect"] = connect
    try:
        yield
    finally:
        del vars(storage)["_connect"]


def _wait_less(connection: SqliteConnection, _record: object) -> None:
    connection.execute("pragma synchronous = normal").fetchall()
