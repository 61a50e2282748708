"""Dagster's records of runs in SQLite, as commands write them: through connections that stay open.

The daemon and the UI have Dagster's own storage on the same files.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

# Where Dagster's settings name storages from; there is no shorter path.
from dagster._core.storage.event_log import SqliteEventLogStorage
from sqlalchemy import Connection, Engine, create_engine, event

_OF_ALL_RUNS = "index"
_BUSY_TIMEOUT_SECONDS = 30
Connect = Callable[[], AbstractContextManager[Connection]]


class KeptEventLogStorage(SqliteEventLogStorage):
    """Dagster's storage of events, with one engine for each file.

    Dagster makes an engine for each of hundreds of events, which opens a connection and compiles the same statements
    once more, and whichever connection is the last to be closed writes SQLite's log back into the file and waits for
    the disk. Nor does each event wait for the disk by itself here: a power cut may take the last ones along, whole.
    """

    def __init__(self, base_dir: str, inst_data: Any = None) -> None:  # noqa: ANN401 - Dagster exports no type
        self._engines: dict[str, Engine] = {}
        self._one_at_a_time = threading.Lock()
        super().__init__(base_dir, inst_data)

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> "KeptEventLogStorage":  # noqa: ANN401
        """The storage that settings describe."""
        return cls(inst_data=inst_data, **config_value)

    def run_connection(self, run_id: str | None = None) -> AbstractContextManager[Connection]:
        """A connection to the file of a run, in a transaction."""
        return self._kept(run_id or "", lambda: super(KeptEventLogStorage, self).run_connection(run_id))

    def index_connection(self) -> AbstractContextManager[Connection]:
        """A connection to the file of all runs, in a transaction."""
        return self._kept(_OF_ALL_RUNS, super().index_connection)

    def dispose(self) -> None:
        """Close the files."""
        for engine in self._engines.values():
            engine.dispose()
        self._engines.clear()
        super().dispose()

    @contextmanager
    def _kept(self, shard: str, connect: Connect) -> Iterator[Connection]:
        with self._one_at_a_time:
            if shard not in self._engines:
                with connect():
                    pass  # Dagster has made the tables of a new file by then.
                timeout = {"timeout": _BUSY_TIMEOUT_SECONDS}
                engine = create_engine(self.conn_string_for_shard(shard), connect_args=timeout)
                event.listen(engine, "connect", _wait_less)
                self._engines[shard] = engine
            with self._engines[shard].begin() as connection:
                yield connection


def _wait_less(connection: sqlite3.Connection, _record: object) -> None:
    # With SQLite's log on, a file stays whole without.
    if connection.execute("pragma journal_mode").fetchone() == ("wal",):
        connection.execute("pragma synchronous = normal").fetchall()
