"""Shards of users: a warehouse each, and what is handed to them of the population.

Where users are split, the home's own warehouse, the driver's, holds what is of the population. What is of a user lies
in the warehouse of the user's shard, and is computed there. Shards read tables of the population from Parquet files,
under the same names. Readers of all shards see the files that these have published; which ones count is said by views
in the driver's warehouse, which are replaced in one transaction.
"""

import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from journeys_dagster.resources.database_file import WarehouseError
from journeys_dagster.resources.shard_layout import ShardLayout, layout_at, write_copy
from journeys_dagster.resources.shard_workers import Reply, Workers
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.sources.contracts import LANDED_DAYS
from journeys_dagster.sql.connection import used_params
from journeys_dagster.tables import Table, integer, quote_literal

SHARD_LAYOUT = Table(
    name="shard_layout",
    kind="kept",
    description="How users are split. Only where they are.",
    grain="one row",
    columns={
        "shards": integer("how many shards there are"),
        "generation": integer("one more whenever users are split anew; names the folder of the shards"),
    },
)
_WAREHOUSE = ("database", "connection_config", "lock_timeout_seconds", "query_limit_hours", "users_per_query")
_HANDED, _PARTS = "handed", "parts"


def shard_warehouse(driver: Warehouse, layout: ShardLayout, shard: int) -> Warehouse:
    """The warehouse of a shard, opened as the driver's is."""
    path = layout.path(shard)
    path.parent.mkdir(parents=True, exist_ok=True)
    fields: dict[str, Any] = {**_fields(driver), "database": str(path)}
    return Warehouse(**fields)


def _fields(warehouse: Warehouse) -> dict[str, Any]:
    return {name: getattr(warehouse, name) for name in _WAREHOUSE}


def layout_of(driver: Warehouse) -> ShardLayout | None:
    """How the users of a home are split; none where they are not."""
    count, generation = stored_layout(driver)
    return layout_at(driver.path.parent, count, generation) if count > 1 else None


def stored_layout(driver: Warehouse) -> tuple[int, int]:
    """Number of shards, and their generation: 0 where users have never been split."""
    if not driver.has_table(SHARD_LAYOUT.name):
        return 1, 0
    ((count, generation),) = driver.query(f"select shards, generation from {SHARD_LAYOUT.name}").rows()
    return count, generation


def store_layout(connection: duckdb.DuckDBPyConnection, shards: int, generation: int) -> None:
    """Say how users are split."""
    values = f"select cast({shards} as integer) as shards, cast({generation} as integer) as generation"
    connection.execute(f"create or replace table {SHARD_LAYOUT.name} as {values}")


def require_layout(driver: Warehouse, shards: int) -> ShardLayout | None:
    """See that a home's users are split as the settings say; a home without users may be split.

    Raises
    ------
    WarehouseError
        They are not; the message says what to do.
    """
    count, generation = stored_layout(driver)
    if count != shards and generation == 0 and not driver.has_table(LANDED_DAYS.name):
        with driver.write() as connection:
            store_layout(connection, shards, 1)
        count, generation = shards, 1
    if count != shards:
        raise WarehouseError(
            f"the users of {driver.path} lie in {count} shards, and run.shards is {shards}. Use `journeys reshard "
            f"--shards {shards}` to move them, or set run.shards to {count}"
        )
    # What a command that was killed has left as it was.
    write_copy(driver.path.parent, count, generation)
    return layout_at(driver.path.parent, count, generation) if count > 1 else None


def require_existing(driver: Warehouse) -> None:
    """See that a home has a warehouse.

    Raises
    ------
    WarehouseError
        It has none.
    """
    if not driver.path.exists():
        raise WarehouseError(f"no warehouse at {driver.path}: nothing has been run in this home yet")


def require_everyone(driver: Warehouse, what: str) -> None:
    """See that all users lie in one warehouse, for `what` cannot be split.

    Raises
    ------
    WarehouseError
        They do not; the message says what to do.
    """
    if (layout := layout_of(driver)) is not None:
        raise WarehouseError(
            f"{what} needs all users in one warehouse, and those of {driver.path} lie in {layout.count} shards. "
            "`journeys reshard --shards 1` moves them together, and back again afterwards"
        )


class Shards:
    """The shards of a run, with the processes that work on them; close it.

    Attributes
    ----------
    driver : Warehouse
        The home's own.
    layout : ShardLayout
    """

    def __init__(
        self,
        driver: Warehouse,
        layout: ShardLayout,
        workers: int,
        hello: Mapping[str, Any],
        log: Callable[[str], object],
    ) -> None:
        self.driver, self.layout = driver, layout
        said = {
            **hello,
            "folder": str(layout.folder),
            "shards": layout.count,
            "warehouse": _fields(driver),
        }
        self.workers = Workers(min(workers, layout.count), said, log=log, warn=log)
        self._fresh: dict[str, tuple[date, ...]] = {}
        self._views: dict[str, str] = {}
        layout.folder.mkdir(parents=True, exist_ok=True)
        # Of runs that were killed.
        shutil.rmtree(layout.folder / _PARTS, ignore_errors=True)

    @property
    def count(self) -> int:
        """How many there are."""
        return self.layout.count

    def close(self) -> None:
        """End the processes."""
        self.workers.close()

    def each(self, do: str, *, of_each: Sequence[Mapping[str, Any]] | None = None, **fields: Any) -> list[Reply]:  # noqa: ANN401 - what JSON has
        """Let each shard do something; what each replies, in the order of shards."""
        own = of_each if of_each is not None else [{}] * self.count
        return self.workers.run(
            [
                {"do": do, "shard": shard, "views": self._views, **fields, **more}
                for shard, more in zip(range(self.count), own, strict=True)
            ]
        )

    def hand_out(self, tables: Iterable[Table], days: Sequence[date]) -> None:
        """Let shards read tables of the population, as they are now, of the days where they have days."""
        days = tuple(days)
        for table in tables:
            wanted = days if table.kind == "population" else ()
            if self._fresh.get(table.name) != wanted and self.driver.has_table(table.name):
                self._write_handed(table, wanted)
                self._fresh[table.name] = wanted

    def changed(self, table: str) -> None:
        """A table of the population is not what shards were handed any more."""
        self._fresh.pop(table, None)

    @contextmanager
    def parts(self, queries: Mapping[str, str], params: Mapping[str, Any]) -> Iterator[dict[str, str]]:
        """Let each shard compute queries: of each a SELECT of the rows of all shards, while the block lasts."""
        folder = self.layout.folder / _PARTS / uuid.uuid4().hex
        folder.mkdir(parents=True)
        try:
            files = [
                {name: str(folder / f"{name}-{shard:03}.parquet") for name in queries} for shard in range(self.count)
            ]
            used = {name: encoded_params(used_params(sql, params)) for name, sql in queries.items()}
            self.each("copy", queries=dict(queries), params=used, of_each=[{"to": to} for to in files])
            yield {name: f"select * from {parquet_rows([to[name] for to in files])}" for name in queries}
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def incoming(self) -> Iterator[Path]:
        """A folder for rows on their way to shards."""
        folder = self.layout.folder / _PARTS / uuid.uuid4().hex
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _write_handed(self, table: Table, days: Sequence[date]) -> None:
        folder = self.layout.folder / _HANDED / table.name
        folder.mkdir(parents=True, exist_ok=True)
        there = sorted(folder.glob("*.parquet"))
        columns = ", ".join(f'"{name}"' for name in table.columns)
        # Of what is kept and has no days, rows are only ever added: what is new is handed out by itself.
        adds = table.kind == "kept" and table.partition_column is None
        replaced = there
        # Never a name that was there before: DuckDB remembers what a file holds.
        new = folder / f"{1 + max((int(path.stem) for path in there), default=0):09}.parquet"
        with self.driver.read() as connection:
            where, params = "", {}
            if days:
                where, params = (
                    f'where "{table.partition_column}" in (select unnest($days::date[]))',
                    {"days": list(days)},
                )
            rows = f'select {columns} from "{table.name}" {where}'
            if adds and there and _has_columns(connection, there, table):
                handed = parquet_rows(map(str, there))
                (total,) = connection.execute(
                    f'select count(*) - (select count(*) from {handed}) from "{table.name}"'
                ).fetchall()[0]
                if not total:
                    self._views.setdefault(table.name, f"{folder}/*.parquet")
                    return
                keys = ", ".join(f'"{name}"' for name in table.key)
                rows += f" anti join (select {keys} from {handed}) using ({keys})"
                replaced = []
            unfinished = new.with_suffix(".unfinished")
            connection.execute(
                f"copy ({rows}) to {quote_literal(str(unfinished))} (format parquet, compression lz4)", params or None
            )
            unfinished.rename(new)
        for path in replaced:
            path.unlink()
        self._views[table.name] = f"{folder}/*.parquet"


def _has_columns(connection: duckdb.DuckDBPyConnection, files: Sequence[Path], table: Table) -> bool:
    """Whether files were written by code that has the same columns of the table."""
    found = connection.execute(f"describe select * from {parquet_rows(map(str, files[:1]))}").fetchall()
    return {row[0] for row in found} == set(table.columns)


def see_handed(warehouse: Warehouse, views: Mapping[str, str]) -> None:
    """Let a shard's warehouse have what it was handed, files by the name of the table, under that name."""
    with warehouse.write() as connection:
        tables = tables_with_rows(connection)
        for name, files in views.items():
            if name in tables:
                # Made without rows before there were any to be handed.
                connection.execute(f'drop table "{name}"')
            connection.execute(f'create or replace view "{name}" as select * from read_parquet({quote_literal(files)})')


def tables_with_rows(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """Names of the tables that hold rows of their own: what is handed or published is a view."""
    found = connection.execute("select table_name from duckdb_tables() where database_name = current_database()")
    return {name for (name,) in found.fetchall()}


def parquet_rows(files: Iterable[str]) -> str:
    """The rows of files, as SQL."""
    return f"read_parquet([{', '.join(map(quote_literal, files))}])"


def query_parts(
    connection: duckdb.DuckDBPyConnection, merge: str, rows: str, params: Mapping[str, Any]
) -> pl.DataFrame:
    """What a query that reads ``parts`` gives of the rows of all shards."""
    sql = f"with parts as ({rows}) from ({merge})"
    return connection.sql(sql, params=used_params(sql, params)).pl()


def encoded_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of a query as JSON has them."""
    return {name: {"day": value.isoformat()} if isinstance(value, date) else value for name, value in params.items()}


def decoded_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """As they were."""
    return {
        name: date.fromisoformat(value["day"]) if isinstance(value, dict) else value for name, value in params.items()
    }
