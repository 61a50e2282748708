"""What every asset shows in the UI: its columns and lineage, row and user counts, a sample, a plot."""

from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg
import duckdb
import polars as pl

from journeys_dagster.reporting.plots import png_markdown
from journeys_dagster.reporting.tables import markdown_table
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.tables import Table

SAMPLE_ROWS = 5
_A_USER = "select min(user_id) from {users} where as_of = $day"
_SAME_IN_ALL_ROWS = {"as_of", "scope", "algorithm_version"}


def table_metadata(table: Table) -> dict[str, Any]:
    """Metadata of an asset's definition: column schema, table name, grain."""
    columns = [
        dg.TableColumn(
            name,
            type=column.type,
            description=column.description,
            constraints=dg.TableColumnConstraints(nullable=column.nullable),
        )
        for name, column in table.columns.items()
    ]
    metadata: dict[str, Any] = {
        "dagster/column_schema": dg.TableSchema(columns),
        "dagster/table_name": table.name,
        "grain": table.grain,
    }
    if table.partition_column:
        metadata["partition_expr"] = table.partition_column
    return metadata


def column_lineage(
    lineage: Mapping[str, frozenset[tuple[str, str]]], key: Callable[[str], dg.AssetKey]
) -> dg.TableColumnLineage:
    """Column lineage in Dagster's terms; `key` gives the key of a table's asset."""
    return dg.TableColumnLineage(
        {
            column: [dg.TableColumnDep(key(table), name) for table, name in sorted(upstream)]
            for column, upstream in lineage.items()
        }
    )


def sample_metadata(warehouse: Warehouse, table: Table, partition_key: str) -> dict[str, Any]:
    """A sample of a view's rows of one partition; it holds none, and to count them would be to compute them all.

    Of a view without partitions, rows of a user in scope that day.
    """
    with warehouse.read() as connection:
        return _sample(connection, table, partition_key)


def _sample(connection: duckdb.DuckDBPyConnection, table: Table, partition_key: str) -> dict[str, Any]:
    params = {"day": partition_key}
    if table.partition_column:
        where = f'where "{table.partition_column}" = $day'
    elif "user_id" in table.columns:
        # What shows the users of all shards reads what these have published.
        users = "users_in_scope" if table.is_per_user else "user_snapshots"
        params = {"user": connection.execute(_A_USER.format(users=users), params).fetchall()[0][0]}
        where = "where user_id = $user"
    else:
        params, where = {}, ""
    shown = ", ".join(f'"{column}"' for column in table.columns if column not in _SAME_IN_ALL_ROWS)
    sample = first_rows(connection, f'select {shown} from "{table.name}" {where}', params)
    return {"partition": partition_key, "sample": dg.MetadataValue.md(markdown_table(sample))}


def first_rows(connection: duckdb.DuckDBPyConnection, select: str, params: Mapping[str, Any]) -> pl.DataFrame:
    """The first rows of a result, of which not much more is computed.

    By no `limit`: over views that use one view twice, as a union of joins does, DuckDB 2.0.0 stands still when the
    limit ends one of the pipelines that wait for each other.
    """
    rows = connection.execute(select, params or None).fetchmany(SAMPLE_ROWS)
    names = [column[0] for column in connection.description or ()]
    connection.abort()
    return pl.DataFrame(rows, schema=names, orient="row", infer_schema_length=None)


def row_metadata(warehouse: Warehouse, table: Table, partition_key: str) -> dict[str, Any]:
    """Counts and a sample of the table's rows of one partition (of all rows where it has none)."""
    where = f'where "{table.partition_column}" = $day' if table.partition_column else ""
    users = "count(distinct user_id)" if "user_id" in table.columns else "null"
    params = {"day": partition_key} if where else None
    with warehouse.read() as connection:
        counts = connection.sql(f'select count(*), {users} from "{table.name}" {where}', params=params).fetchall()
        sample = _sample(connection, table, partition_key)
    rows, user_count = counts[0]
    return {"dagster/row_count": rows} | ({} if user_count is None else {"users": user_count}) | sample


def plot(png: bytes, *, alt: str) -> dg.MarkdownMetadataValue:
    """A picture for the UI."""
    return dg.MetadataValue.md(png_markdown(png, alt=alt))
