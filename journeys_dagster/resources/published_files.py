"""What shards have published: Parquet files, and views on them in the driver's warehouse.

A day is seen of all shards or of none: the views are replaced in one transaction, when every shard has written its
files.
"""

import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from journeys_dagster.resources.shards import Shards, parquet_rows
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.tables import Table, bigint, integer, quote_literal, text, utc_day

_FOLDER = "files"
PUBLISHED_FILES = Table(
    name="published_files",
    kind="kept",
    description="Files that shards have published, which the views of users' tables in this warehouse show.",
    grain="one row per file",
    columns={
        "table_name": text("the table whose rows it holds"),
        "as_of": utc_day("day of the snapshot; null where the table has no snapshots", nullable=True),
        "shard": integer("the shard that has written it"),
        "file": text("its path"),
        "rows": bigint("its rows"),
    },
    key=("file",),
)


def publish_files(shards: Shards, tables: Sequence[Table], days: Sequence[date]) -> None:
    """Let all shards publish days of tables, and show them at once; days that were published before stay."""
    driver = shards.driver
    # A view that is not there yet shows all days, as after a migration.
    new = [table.name for table in tables if not driver.has_table(table.name)]
    wanted = {table.name: None if table.kind == "view" or table.name in new else [*map(str, days)] for table in tables}
    replies = shards.each("publish", tables=wanted, name=uuid.uuid4().hex)
    with driver.write() as connection:
        connection.execute(PUBLISHED_FILES.create_sql())
        replaced: list[str] = []
        for table in tables:
            replaced += _forget(connection, table, None if wanted[table.name] is None else list(days))
        show_files(connection, tables, [reply["files"] for reply in replies])
    # Nobody reads these any more: who reads has the warehouse open, and it was open to write just now.
    for file in replaced:
        with suppress(FileNotFoundError):
            Path(file).unlink()


def write_files(
    warehouse: Warehouse, tables: Sequence[tuple[Table, Sequence[str] | None]], *, name: str
) -> list[dict[str, Any]]:
    """Write days of tables of a shard, or all days, to files with a name that none has had; they are not shown yet."""
    files = []
    folder = warehouse.path.parent / _FOLDER
    folder.mkdir(exist_ok=True)
    with warehouse.read() as connection:
        for table, days in tables:
            columns = ", ".join(f'"{column}"' for column in table.columns)
            for day in _all_days(connection, table) if days is None else days:
                file = folder / f"{table.name}-{day or 'all'}-{name}.parquet"
                where = f"where as_of = date {quote_literal(day)}" if day is not None else ""
                (rows,) = connection.execute(
                    f'copy (select {columns} from "{table.name}" {where} order by {", ".join(table.key)}) '
                    f"to {quote_literal(str(file))} (format parquet, compression zstd)"
                ).fetchall()[0]
                files.append({"table": table.name, "day": day, "file": str(file), "rows": rows})
    return files


def show_files(
    connection: duckdb.DuckDBPyConnection, tables: Sequence[Table], of_shards: Sequence[Sequence[Mapping[str, Any]]]
) -> None:
    """Add files that shards have written, and let the tables' names stand for all files of them."""
    new = pl.DataFrame(
        [
            (each["table"], each["day"], shard, each["file"], each["rows"])
            for shard, files in enumerate(of_shards)
            for each in files
        ],
        schema={"table_name": pl.String, "as_of": pl.String, "shard": pl.Int32, "file": pl.String, "rows": pl.Int64},
        orient="row",
    ).with_columns(pl.col("as_of").str.to_date())
    connection.register("new_rows", new)
    connection.execute(f"insert into {PUBLISHED_FILES.name} by name from new_rows")
    connection.unregister("new_rows")
    listed = f"select file from {PUBLISHED_FILES.name} where table_name = $table order by as_of, shard"
    for table in tables:
        files = [file for (file,) in connection.execute(listed, {"table": table.name}).fetchall()]
        connection.execute(f'create or replace view "{table.name}" as select * from {parquet_rows(files)}')


def _all_days(connection: duckdb.DuckDBPyConnection, table: Table) -> Sequence[str | None]:
    """All days of a table; none stands for what has no days, and where there are none yet, a file has the columns."""
    if table.kind == "view":
        return [None]
    found = connection.execute(f'select distinct as_of from "{table.name}" order by as_of').fetchall()
    return [str(day) for (day,) in found] or [str(date.min)]


def _forget(connection: duckdb.DuckDBPyConnection, table: Table, days: list[date] | None) -> list[str]:
    where, params = "table_name = $table", {"table": table.name}
    if days is not None:
        where, params = f"{where} and as_of in (select unnest($days::date[]))", {**params, "days": days}
    rows = connection.execute(f"delete from {PUBLISHED_FILES.name} where {where} returning file", params).fetchall()
    return [file for (file,) in rows]
