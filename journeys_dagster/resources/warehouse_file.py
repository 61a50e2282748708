"""The warehouse's file: connections behind a lock between processes, of one table version.

DuckDB lets one writing process exclude every other one, readers too. So nobody keeps a connection: readers share the
lock, and a writer has it alone.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from journeys_dagster.resources.database_file import WarehouseError, open_database
from journeys_dagster.resources.disk import disk_fault
from journeys_dagster.resources.file_lock import LockTimeoutError, NestedLockError, PathsOfThread, file_lock
from journeys_dagster.resources.migrations import is_current, migrate, newest_version, require_current
from journeys_dagster.sql.connection import limited_time

_RETRY_SECONDS = 0.05


_read = PathsOfThread()
"""Files that a thread has open to read."""


@dataclass(frozen=True)
class WarehouseFile:
    """DuckDB file with one writer at a time.

    Attributes
    ----------
    path : Path
        The database file.
    config : mapping
        DuckDB's configuration, such as ``memory_limit``.
    lock_timeout_seconds : float
        How long to wait while another process has the file.
    query_limit_hours : float
        How long a transaction, or a query outside of one, may take before it is interrupted.
    """

    path: Path
    config: Mapping[str, object]
    lock_timeout_seconds: float
    query_limit_hours: float = 4.0

    def migrate(self) -> tuple[int, int] | None:
        """Bring a warehouse of an older table version to that of this code, in one transaction.

        Returns
        -------
        (int, int) or None
            Table versions before and after; none where there is no warehouse yet.
        """
        if not self.path.exists():
            return None
        with self._locked(shared=True), self._connection(read_only=True) as connection:
            if is_current(connection, self.path):
                return newest_version(), newest_version()
        with self._locked(shared=False), self._connection(read_only=False) as connection:
            return migrate(connection, self.path)

    @contextmanager
    def open_for_writing(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection that may write, with the file to itself; an older one is migrated. Prefer `read` and `write`."""
        with self.explained_disk_faults(), self._locked(shared=False), self._connection(read_only=False) as connection:
            migrate(connection, self.path)
            yield connection

    @contextmanager
    def read(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A read-only connection, beside other readers.

        Within the block the thread reads on without opening the file again, which takes longer than most queries.

        Raises
        ------
        WarehouseError
            The file does not exist or is of another table version, another program kept it for too long, or this
            thread has it open to write.
        """
        path = self.path.resolve()
        if path in _read.paths:
            with self._connection(read_only=True) as connection:
                yield connection
            return
        if not self.path.exists():
            raise WarehouseError(
                f"no warehouse at {self.path}: nothing has been run in this home yet. Use `journeys run` first"
            )
        with self.explained_disk_faults(), self._locked(shared=True), self._connection(read_only=True) as connection:
            require_current(connection, self.path)
            _read.paths.add(path)
            try:
                yield connection
            finally:
                _read.paths.remove(path)

    @contextmanager
    def alone(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A read-only connection with the file to itself; for whoever puts another file in its place."""
        with self.explained_disk_faults(), self._locked(shared=False), self._connection(read_only=True) as connection:
            require_current(connection, self.path)
            yield connection

    @contextmanager
    def write(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """One transaction: committed at the end of the block, undone by an exception.

        Raises
        ------
        WarehouseError
            Another program kept the file for too long, this thread has it open already, or the file cannot be migrated.
        """
        with self.open_for_writing() as connection:
            connection.execute("begin transaction")
            # After an exception, closing the connection undoes what was not committed.
            yield connection
            connection.execute("commit")

    @contextmanager
    def explained_disk_faults(self, *kinds: type[Exception]) -> Iterator[None]:
        """Say what to do about a fault of the disk; `kinds` may tell of one too, beside DuckDB's errors and Python's.

        Raises
        ------
        WarehouseError
            The disk is full, read-only or the like.
        """
        try:
            yield
        except (duckdb.Error, OSError, *kinds) as error:
            fault = disk_fault(error)
            if fault is None:
                raise
            raise WarehouseError(
                f"the disk of warehouse {self.path} {fault}, and run again. What was being written is there as a whole "
                f"or not at all. The error was: {error}"
            ) from None

    @contextmanager
    def _locked(self, *, shared: bool) -> Iterator[None]:
        lock_path = self.path.with_name(self.path.name + ".lock")
        with ExitStack() as stack:
            try:
                stack.enter_context(file_lock(lock_path, shared=shared, timeout_seconds=self.lock_timeout_seconds))
            except NestedLockError:
                raise WarehouseError(
                    f"warehouse {self.path} is opened inside a block that has it open, which would wait for itself. "
                    "Use the connection of the outer block, or leave that block first."
                ) from None
            except LockTimeoutError as error:
                raise WarehouseError(
                    f"warehouse {self.path} is busy: {error}. "
                    "Wait for the other run, or raise run.lock_timeout_seconds."
                ) from None
            yield

    @contextmanager
    def _connection(self, *, read_only: bool) -> Iterator[duckdb.DuckDBPyConnection]:
        with ExitStack() as stack:
            connection = self._opened(stack, read_only=read_only)
            with limited_time(connection, self.path, hours=self.query_limit_hours):
                yield connection

    def _opened(self, stack: ExitStack, *, read_only: bool) -> duckdb.DuckDBPyConnection:
        """Open the file, waiting for programs that do not know the lock, such as a DuckDB shell."""
        deadline = time.monotonic() + self.lock_timeout_seconds
        while True:
            try:
                return stack.enter_context(open_database(self.path, read_only=read_only, config=self.config))
            except duckdb.ResourceInUseException as error:
                raise WarehouseError(
                    f"warehouse {self.path} is held open by another connection of this process. "
                    f"Close it and run again. DuckDB says: {error}"
                ) from None
            except duckdb.IOException as error:
                if "could not set lock" not in str(error).lower():
                    raise WarehouseError(f"warehouse {self.path} cannot be opened: {error}") from None
                if time.monotonic() >= deadline:
                    raise WarehouseError(
                        f"warehouse {self.path} is held open by another program, such as a DuckDB shell. "
                        f"Close it and run again. DuckDB says: {error}"
                    ) from None
            time.sleep(_RETRY_SECONDS)
