"""The DuckDB warehouse as a resource: short connections, and writes that are all or nothing.

Whatever takes long is computed before the file is opened.
"""

import glob
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
from dagster import InitResourceContext
from dagster_duckdb import DuckDBResource

from journeys_dagster.resources.database_file import WarehouseError, catalog_name
from journeys_dagster.resources.warehouse_file import WarehouseFile
from journeys_dagster.sql.audits import Audit, AuditResult, run_audits
from journeys_dagster.sql.connection import used_params
from journeys_dagster.tables import Table, quote_literal

_SPOOL = "spool-"
_SPOOL_ABANDONED_SECONDS = 24 * 3600
_ROW_GROUP = 122_880
"""Rows that DuckDB stores together."""
USERS_IN_SCOPE = "select user_id from users_in_scope where as_of = $as_of"
_BATCHES = """
    select min(user_id), max(user_id), count(*)
    from users_in_scope where as_of = $as_of
    group by batch order by batch
"""
_SNAPSHOTS_OF_USERS = """
    select table_name
    from duckdb_columns() join duckdb_tables() using (database_name, schema_name, table_name)
    where database_name = current_database() and column_name in ('as_of', 'user_id') and table_name <> $written
    group by table_name
    having count(*) = 2
"""


class Warehouse(DuckDBResource):
    """DuckDB file with one writer at a time and atomic replacement of partitions and snapshots."""

    lock_timeout_seconds: float = 600.0
    """Seconds to wait while another process has the file."""
    query_limit_hours: float = 4.0
    """Hours after which a transaction or a query is interrupted."""
    users_per_query: int = 50_000
    """Users in scope whose rows one query of a snapshot computes, where it is per user."""

    @property
    def path(self) -> Path:
        """The database file."""
        return Path(self.database)

    def setup_for_execution(self, context: InitResourceContext) -> None:
        """What Dagster calls before a run, a sensor or a schedule uses the warehouse: an older one is migrated."""
        self.migrate()

    @property
    def file(self) -> WarehouseFile:
        """The same file without Dagster, and how it is opened."""
        return WarehouseFile(self.path, self.connection_config, self.lock_timeout_seconds, self.query_limit_hours)

    def migrate(self) -> tuple[int, int] | None:
        """As `WarehouseFile.migrate`."""
        return self.file.migrate()

    @contextmanager
    def get_connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """As `WarehouseFile.open_for_writing`, under the name that dagster-duckdb gives it."""
        with self.file.open_for_writing() as connection:
            yield connection

    def read(self) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        """As `WarehouseFile.read`."""
        return self.file.read()

    def write(self) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        """As `WarehouseFile.write`."""
        return self.file.write()

    def alone(self) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        """As `WarehouseFile.alone`."""
        return self.file.alone()

    def query(self, sql: str, params: Mapping[str, Any] | None = None) -> pl.DataFrame:
        """Rows of one query."""
        with self.read() as connection:
            return connection.sql(sql, params=dict(params) if params else None).pl()

    def has_table(self, name: str) -> bool:
        """Whether a table or view of that name exists."""
        return name in self._table_names()

    def create_missing(self, tables: Iterable[Table]) -> None:
        """Create tables that are not there yet, without rows."""
        known = self._table_names()
        if missing := [table for table in tables if table.name not in known]:
            with self.write() as connection:
                for table in missing:
                    connection.execute(table.create_sql())

    def _table_names(self) -> frozenset[str]:
        if not self.path.exists():
            return frozenset()
        with self.read() as connection:
            return table_names(connection)

    def replace_days(
        self, parts: Sequence[tuple[Table, pl.DataFrame, Mapping[str, str]]], days: Sequence[date]
    ) -> None:
        """Replace days of tables that are partitioned by arrival day, in one transaction.

        Parameters
        ----------
        parts : sequence of (Table, DataFrame, mapping)
            Table, its new rows for these days, and further columns (name to value) that limit what is replaced.
        days : sequence of date
            The days that are replaced, also where there are no new rows.
        """
        with self.write() as connection:
            for table, frame, only in parts:
                self._create(connection, table)
                condition = "".join(f' and "{column}" = ${column}' for column in only)
                connection.execute(
                    f'delete from "{table.name}" where "{table.partition_column}" in (select unnest($days::date[]))'
                    + condition,
                    {"days": list(days), **only},
                )
                if not frame.is_empty():
                    connection.register("new_rows", frame)
                    connection.execute(f'insert into "{table.name}" by name from new_rows')
                    connection.unregister("new_rows")

    def replace_snapshot(
        self,
        table: Table,
        frames: Iterable[pl.DataFrame],
        *,
        as_of: date,
        constants: Mapping[str, str],
        audits: Sequence[Audit] = (),
    ) -> list[AuditResult]:
        """Replace exactly the rows of (`as_of`, users in scope); of `as_of` where the table has no users.

        The frames are computed and put on disk one by one before the warehouse is touched.

        Parameters
        ----------
        table : Table
            A snapshot table.
        frames : iterable of DataFrame
            New rows, without `as_of` and the constant columns.
        constants : mapping
            Further columns with one value for all rows.

        Raises
        ------
        AuditFailedError
            A blocking audit found rows; nothing was changed.
        """
        params = {"as_of": as_of}
        constant = {"as_of": pl.lit(as_of), **{name: pl.lit(value) for name, value in constants.items()}}
        if _is_by_scope(table):
            # Batches are in the order of users, so their rows lie nearly in that order in the table.
            frames = (
                frame if frame["user_id"].is_sorted() else frame.sort("user_id", maintain_order=True)
                for frame in frames
            )
        rows = (frame.with_columns(**constant) for frame in frames)
        with self._spooled(rows) as files, self.write() as connection:
            self._delete_snapshot(connection, table, params)
            if files is not None:
                rows_of_files = "from read_parquet($files, union_by_name = true)"
                insert, params_of_files = (
                    f'insert into "{table.name}" by name {rows_of_files}',
                    {**params, "files": files},
                )
                if _is_by_scope(table):
                    is_stray = f" where user_id not in ({USERS_IN_SCOPE})"
                    # Looked at first: rows that pass a join do not keep their order.
                    if connection.execute(f"select 1 {rows_of_files}{is_stray} limit 1", params_of_files).fetchone():
                        insert += f" where user_id in ({USERS_IN_SCOPE})"
                connection.execute(insert, used_params(insert, params_of_files))
            return run_audits(connection, table.name, audits, params)

    def replace_table(self, table: Table, frames: Iterable[pl.DataFrame]) -> None:
        """Replace all rows of a table; one of another shape, by an older version of the code, is replaced too.

        The frames are computed and put on disk one by one before the warehouse is touched.
        """
        with self._spooled(frames) as files, self.write() as connection:
            connection.execute(f'drop table if exists "{table.name}"')
            connection.execute(table.create_sql())
            if files is not None:
                connection.execute(
                    f'insert into "{table.name}" by name from read_parquet($files, union_by_name = true)',
                    {"files": files},
                )

    @contextmanager
    def _spooled(self, frames: Iterable[pl.DataFrame]) -> Iterator[str | None]:
        """Frames put on disk one by one: a pattern of their files, or none where there are no frames."""
        self._remove_abandoned_spools()
        with self.file.explained_disk_faults():
            made = tempfile.TemporaryDirectory(dir=self.path.parent, prefix=_SPOOL)
        with made as spool:
            for number, frame in enumerate(_in_row_groups(frames)):
                with self.file.explained_disk_faults(pl.exceptions.PolarsError):
                    # Read once and removed: what compresses faster wins over what compresses better.
                    frame.write_parquet(
                        Path(spool) / f"{number:06}.parquet",
                        compression="lz4",
                        row_group_size=_ROW_GROUP,
                        statistics=False,
                    )
            yield f"{glob.escape(spool)}/*.parquet" if any(Path(spool).iterdir()) else None

    def replace_snapshot_sql(
        self,
        table: Table,
        select: str,
        *,
        params: Mapping[str, Any],
        audits: Sequence[Audit] = (),
        before: Sequence[str] = (),
    ) -> list[AuditResult]:
        """`replace_snapshot` where the new rows are the result of a query; `params` holds ``as_of``.

        A table of no snapshots is replaced as a whole. The statements `before` come first in the same transaction. Of a
        snapshot of users the query computes each user from their own rows, so it may be run for some users in scope
        after the others.

        Raises
        ------
        AuditFailedError
            A blocking audit found rows; nothing was changed.
        WarehouseError
            The query gives rows of users who are not in scope; nothing was changed.
        """
        insert = f'insert into "{table.name}" by name select * from ({select}\n)'
        if table.order:
            insert += f" order by {', '.join(table.order)}"
        with self.write() as connection:
            for statement in before:
                connection.execute(statement)
            self._delete_snapshot(connection, table, {"as_of": params["as_of"]})
            if _is_by_scope(table):
                # Counted, as rows that pass a join on their way into the table do so with all their lists.
                outside = _users_outside(connection, table, params["as_of"])
                for _ in self._users_in_turn(connection, table, params["as_of"]):
                    connection.execute(insert, used_params(insert, params))
                if _users_outside(connection, table, params["as_of"]) != outside:
                    raise WarehouseError(
                        f"the query of {table.name} gives rows of users who are not in scope: let it read those of "
                        "users_in_scope alone"
                    )
            else:
                connection.execute(insert, used_params(insert, params))
            return run_audits(connection, table.name, audits, params)

    def _users_in_turn(self, connection: duckdb.DuckDBPyConnection, table: Table, as_of: date) -> Iterator[None]:
        """Show the connection so many users in scope at a time that a query's rows of them fit in memory.

        The query computes each user by themselves, so it takes no more than temporary views in front of the snapshots
        that it reads. These lie nearly in the order of users, so a span of users is read without most others.
        """
        spans: list[tuple[str, str, int]] = []
        for first, last, users in connection.execute(_BATCHES, {"as_of": as_of}).fetchall():
            if spans and spans[-1][2] + users <= self.users_per_query:
                spans[-1] = (spans[-1][0], last, spans[-1][2] + users)
            else:
                spans.append((first, last, users))
        if len(spans) <= 1:
            yield
            return
        catalog = catalog_name(self.path.resolve())
        found = connection.execute(_SNAPSHOTS_OF_USERS, {"written": table.name}).fetchall()
        for first, last, _ in spans:
            for (name,) in found:
                connection.execute(
                    f'create or replace temp view "{name}" as select * from {catalog}."{name}" '
                    f"where user_id between {quote_literal(first)} and {quote_literal(last)}"
                )
            yield
        for (name,) in found:
            connection.execute(f'drop view temp."{name}"')

    def replace_view(
        self,
        name: str,
        select: str,
        *,
        macros: Sequence[str] = (),
        audits: Sequence[Audit] = (),
        params: Mapping[str, Any],
    ) -> list[AuditResult]:
        """Redefine a view, and the macros it uses."""
        with self.write() as connection:
            for macro in macros:
                connection.execute(macro)
            connection.execute(f'create or replace view "{name}" as {select}')
            return run_audits(connection, name, audits, params)

    def _delete_snapshot(self, connection: duckdb.DuckDBPyConnection, table: Table, params: Mapping[str, Any]) -> None:
        if table.kind == "table":
            connection.execute(f'drop table if exists "{table.name}"')
            connection.execute(table.create_sql())
            return
        self._create(connection, table)
        scope = f" and user_id in ({USERS_IN_SCOPE})" if _is_by_scope(table) else ""
        connection.execute(f'delete from "{table.name}" where as_of = $as_of{scope}', dict(params))

    def _create(self, connection: duckdb.DuckDBPyConnection, table: Table) -> None:
        """Create the table where it is missing; an older version of the code may have left another one."""
        connection.execute(table.create_sql())
        found = {row[0] for row in connection.execute(f'describe "{table.name}"').fetchall()}
        if found != set(table.columns):
            differing = ", ".join(sorted(found ^ set(table.columns)))
            raise WarehouseError(
                f"table {table.name} in {self.path} was made by another version of this code; columns that differ: "
                f"{differing}. Drop the table and run its days again, or start with a new home."
            )

    def _remove_abandoned_spools(self) -> None:
        """Remove what killed processes left behind."""
        for spool in self.path.parent.glob(_SPOOL + "*"):
            # Another process may be the faster one.
            with suppress(FileNotFoundError):
                if time.time() - spool.stat().st_mtime > _SPOOL_ABANDONED_SECONDS:
                    shutil.rmtree(spool)


def _in_row_groups(frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """The same rows in the same order, in frames of whole row groups but for the last.

    Row groups that are not full are merged, and so written twice, when the file is let go the next time.
    """
    rest: pl.DataFrame | None = None
    for frame in frames:
        rows = frame if rest is None else pl.concat([rest, frame], how="diagonal_relaxed")
        whole = len(rows) // _ROW_GROUP * _ROW_GROUP
        if whole:
            yield rows.head(whole)
        rest = rows.tail(len(rows) - whole)
    if rest is not None and len(rest):
        yield rest


def _users_outside(connection: duckdb.DuckDBPyConnection, table: Table, as_of: date) -> int:
    """Rows of a day's snapshot of users who are not in scope: of an earlier run."""
    rows = f'select count(*) from "{table.name}" anti join ({USERS_IN_SCOPE}) using (user_id) where as_of = $as_of'
    return connection.execute(rows, {"as_of": as_of}).fetchall()[0][0]


def _is_by_scope(table: Table) -> bool:
    """Whether a snapshot is replaced for the users in scope only, not as a whole."""
    return table.kind == "snapshot"


def table_names(connection: duckdb.DuckDBPyConnection) -> frozenset[str]:
    """Names of the tables and views of the warehouse that a connection has open."""
    found = connection.execute(
        "select table_name from information_schema.tables where table_catalog = current_database()"
    )
    return frozenset(name for (name,) in found.fetchall())
