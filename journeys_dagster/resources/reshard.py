"""Moving users to another number of shards: all of them or none, and no row changes.

The new shards are written beside those that are there, and counted. One transaction of the driver's warehouse then says
that they are the ones that count; what is left of the others is removed after it, or by the next who moves users.
"""

import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from journeys_dagster.resources.database_file import WarehouseError
from journeys_dagster.resources.published_files import PUBLISHED_FILES, show_files, write_files
from journeys_dagster.resources.shard_layout import SHARDS_FOLDER, ShardLayout, layout_at, write_copy
from journeys_dagster.resources.shards import (
    layout_of,
    parquet_rows,
    shard_warehouse,
    store_layout,
    stored_layout,
    tables_with_rows,
)
from journeys_dagster.resources.warehouse import Warehouse, table_names
from journeys_dagster.sources.routing import shard_sql
from journeys_dagster.sql.macros import load_macros
from journeys_dagster.sql.models import SqlModel
from journeys_dagster.tables import Table, quote_literal


@dataclass(frozen=True)
class _Move:
    """Rows on their way.

    Attributes
    ----------
    moved : Path
        Where they were put down.
    rows : mapping of str to int
        How many, by table.
    """

    driver: Warehouse
    tables: Mapping[str, Table]
    models: Sequence[SqlModel]
    moved: Path
    generation: int
    say: Callable[[str], object]
    rows: dict[str, int] = field(default_factory=dict)

    @property
    def filled(self) -> list[Table]:
        """The tables that hold rows of users."""
        return [self.tables[name] for name in self.rows]


def reshard(
    driver: Warehouse,
    tables: Mapping[str, Table],
    models: Sequence[SqlModel],
    count: int,
    *,
    say: Callable[[str], object],
) -> dict[str, int]:
    """Move the users of a home to `count` shards; nobody may run anything on it meanwhile.

    Parameters
    ----------
    tables : mapping of str to Table
        All tables and views by name.
    models : sequence of SqlModel
        All SQL models, each behind those that it reads.
    count : int
        How many shards there are to be; with 1 all users lie in the driver's warehouse.

    Returns
    -------
    dict of str to int
        Rows that were moved, by table.

    Raises
    ------
    WarehouseError
        Rows were lost on the way; nothing was changed.
    """
    home = driver.path.parent
    before = layout_of(driver)
    _, generation = stored_layout(driver)
    _remove_others(home, generation)
    sources = [driver] if before is None else [shard_warehouse(driver, before, shard) for shard in range(before.count)]
    after = layout_at(home, count, generation + 1)
    views = [model for model in models if model.table.kind == "view"]
    move = _Move(driver, tables, views, after.folder / "moved", generation + 1, say)
    try:
        for number, source in enumerate(sources):
            for name, found in _put_down(source, tables, count, move.moved / f"{number:03}").items():
                move.rows[name] = move.rows.get(name, 0) + found
            say(f"shard {number + 1} of {len(sources)} read")
        if count == 1:
            _into_driver(move)
        else:
            _into_shards(move, after)
    except BaseException:
        shutil.rmtree(after.folder, ignore_errors=True)
        raise
    write_copy(home, count, generation + 1)
    shutil.rmtree(move.moved, ignore_errors=True)
    _remove_others(home, generation + 1 if count > 1 else None)
    return move.rows


def _put_down(source: Warehouse, tables: Mapping[str, Table], count: int, to: Path) -> dict[str, int]:
    """Write the rows of users by their new shard; how many there are of each table."""
    found = {}
    with source.read() as connection:
        there = table_names(connection)
        for name, table in tables.items():
            if name not in there or not table.is_per_user or table.kind == "view":
                continue
            folder = to / name
            folder.mkdir(parents=True)
            columns = ", ".join(f'"{column}"' for column in table.columns)
            (rows,) = connection.execute(
                f'copy (select {columns}, {shard_sql(count)} as shard from "{name}") to {quote_literal(str(folder))} '
                "(format parquet, compression lz4, partition_by (shard))"
            ).fetchall()[0]
            found[name] = rows
    return found


def _fill(connection: duckdb.DuckDBPyConnection, tables: Sequence[Table], moved: Path, shard: int) -> dict[str, int]:
    """Make a shard's tables of what was put down for it; how many rows each has."""
    rows = {}
    for table in tables:
        connection.execute(f'drop table if exists "{table.name}"')
        connection.execute(table.create_sql())
        files = sorted(map(str, moved.glob(f"*/{table.name}/shard={shard}/*.parquet")))
        if files:
            days = [table.partition_column] if table.partition_column else []
            order = ", ".join(f'"{name}"' for name in dict.fromkeys([*days, "user_id", *table.order]))
            listed = parquet_rows(files)[:-1] + ", hive_partitioning = false)"
            connection.execute(f'insert into "{table.name}" by name select * from {listed} order by {order}')
        rows[table.name] = connection.execute(f'select count(*) from "{table.name}"').fetchall()[0][0]
    return rows


def _into_shards(move: _Move, after: ShardLayout) -> None:
    published = [table for table in move.tables.values() if table.published]
    arrived = dict.fromkeys(move.rows, 0)
    files = []
    for shard in range(after.count):
        warehouse = shard_warehouse(move.driver, after, shard)
        with warehouse.write() as connection:
            for name, found in _fill(connection, move.filled, move.moved, shard).items():
                arrived[name] += found
            _make_views(connection, [view for view in move.models if not view.needs_everyone])
            there = table_names(connection)
        published = [table for table in published if table.name in there]
        files.append(write_files(warehouse, [(table, None) for table in published], name=uuid.uuid4().hex))
        move.say(f"shard {shard + 1} of {after.count} written")
    _require_all(move.rows, arrived)
    with move.driver.write() as connection:
        native = tables_with_rows(connection)
        for table in move.tables.values():
            if table.is_per_user:
                kind = "table" if table.name in native else "view"
                connection.execute(f'drop {kind} if exists "{table.name}"')
        connection.execute(f"drop table if exists {PUBLISHED_FILES.name}")
        connection.execute(PUBLISHED_FILES.create_sql())
        show_files(connection, published, files)
        there = table_names(connection)
        for view in move.models:
            if view.per == "population" and view.name in there and not view.depends_on <= there:
                connection.execute(f'drop view "{view.name}"')
        store_layout(connection, after.count, move.generation)


def _into_driver(move: _Move) -> None:
    with move.driver.write() as connection:
        native = tables_with_rows(connection)
        for table in move.filled:
            if table.name not in native:
                connection.execute(f'drop view if exists "{table.name}"')
        _require_all(move.rows, _fill(connection, move.filled, move.moved, 0))
        connection.execute(f"drop table if exists {PUBLISHED_FILES.name}")
        _make_views(connection, move.models)
        store_layout(connection, 1, move.generation)


def _make_views(connection: duckdb.DuckDBPyConnection, views: Sequence[SqlModel]) -> None:
    """Make the views whose tables are there; every run makes them all again."""
    for macro in load_macros():
        connection.execute(macro)
    there = set(table_names(connection))
    for view in views:
        if view.depends_on <= there:
            connection.execute(f'create or replace view "{view.name}" as {view.sql}')
            there.add(view.name)


def _require_all(rows: Mapping[str, int], arrived: Mapping[str, int]) -> None:
    lost = [f"{name} ({rows[name]:,}, and {arrived[name]:,} arrived)" for name in rows if arrived[name] != rows[name]]
    if lost:
        raise WarehouseError(f"rows were lost while users were moved, so nothing was changed: {', '.join(lost)}")


def _remove_others(home: Path, generation: int | None) -> None:
    """Remove shards that do not count: of before, or of a move that was killed."""
    for folder in (home / SHARDS_FOLDER).glob("*/"):
        if folder.name.isdecimal() and folder.name != str(generation):
            shutil.rmtree(folder)
