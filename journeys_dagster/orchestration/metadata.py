"""What every asset shows in the UI: its columns and lineage, row and user counts, a sample, a plot."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import duckdb
import polars as pl

from journeys_dagster.reporting.plots import png_markdown
from journeys_dagster.reporting.tables import markdown_table
from journeys_dagster.resources.audits import AuditResult
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.tables import Table

SAMPLE_ROWS = 5
PROMOTED = "promoted"
OWNER = "team:journeys"
WAREHOUSE_POOL = "warehouse"
"""Dagster's pool of all that write to the warehouse: one run at a time, see `dagster.yaml`."""
_A_USER = "select min(user_id) from users_in_scope where as_of = $day"
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


def column_lineage(lineage: Mapping[str, frozenset[tuple[str, str]]]) -> dg.TableColumnLineage:
    """Column lineage in Dagster's terms."""
    return dg.TableColumnLineage(
        {
            column: [dg.TableColumnDep(dg.AssetKey(table), name) for table, name in sorted(upstream)]
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
        params = {"user": connection.execute(_A_USER, params).fetchall()[0][0]}
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


def promotion_spec(asset: str) -> dg.AssetCheckSpec:
    """The check whether a newly trained model takes over."""
    return dg.AssetCheckSpec(
        PROMOTED,
        asset=asset,
        description="The new model beats what is in use and the simple ways; else the old one stays.",
    )


def promotion_result(decision: str, *, promoted: bool, test: pl.DataFrame | None = None) -> dg.AssetCheckResult:
    """Whether a model takes over, and why, with the figures of the test span; none where nothing was trained."""
    return dg.AssetCheckResult(
        check_name=PROMOTED,
        passed=promoted,
        severity=dg.AssetCheckSeverity.WARN,
        description=decision,
        metadata={} if test is None else {"test": dg.MetadataValue.md(markdown_table(test))},
    )


def merge_check_results(per_partition: Mapping[str, Sequence[AuditResult]]) -> list[dg.AssetCheckResult]:
    """One check result per audit over all partitions of a run."""
    by_name: dict[str, list[tuple[str, AuditResult]]] = {}
    for partition_key, results in per_partition.items():
        for result in results:
            by_name.setdefault(result.name, []).append((partition_key, result))
    return [_check_result(name, found) for name, found in by_name.items()]


def _check_result(name: str, found: Sequence[tuple[str, AuditResult]]) -> dg.AssetCheckResult:
    failed = [(partition_key, result) for partition_key, result in found if not result.passed]
    metadata: dict[str, Any] = {
        "rows_found": sum(result.rows for _, result in found),
        "partitions": len(found),
    }
    if failed:
        metadata["failed_partitions"] = ", ".join(partition_key for partition_key, _ in failed[:20])
        samples = pl.concat([result.sample for _, result in failed[:5]])
        metadata["sample"] = dg.MetadataValue.md(markdown_table(samples))
    blocking = found[0][1].blocking
    return dg.AssetCheckResult(
        check_name=name,
        passed=not failed,
        severity=dg.AssetCheckSeverity.ERROR if blocking else dg.AssetCheckSeverity.WARN,
        metadata=metadata,
    )
