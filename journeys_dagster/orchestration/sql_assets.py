"""The files of `dbt_like_sql/models` as assets: what a file says in its header and SQL is all there is to declare."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg

from journeys_dagster.orchestration.checks import audit_specs, runnable
from journeys_dagster.orchestration.metadata import (
    OWNER,
    WAREHOUSE_POOL,
    column_lineage,
    merge_check_results,
    plot,
    row_metadata,
    sample_metadata,
    table_metadata,
)
from journeys_dagster.resources.audits import AuditFailedError, AuditResult
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import Settings
from journeys_dagster.sql.models import SqlAudit, SqlModel
from journeys_dagster.sql.parameters import query_parameters
from journeys_dagster.tables import Table

Draw = Callable[[Warehouse, date], tuple[bytes, str]]


def build_sql_asset(
    model: SqlModel,
    audits: Sequence[SqlAudit],
    *,
    tables: Mapping[str, Table],
    macros: Sequence[str],
    partitions_def: dg.PartitionsDefinition,
    draw: Draw | None = None,
) -> dg.AssetsDefinition:
    """The asset of one SQL model, with its audits as checks.

    Audits run inside the write: a blocking one that finds rows undoes it.

    Parameters
    ----------
    tables : mapping
        The tables the model reads.
    macros : sequence of str
        Statements that create the SQL functions models use.
    draw : callable, optional
        Takes the warehouse and a day; returns a PNG and what it shows.
    """

    @dg.asset(
        name=model.name,
        deps=sorted(model.depends_on),
        partitions_def=partitions_def,
        backfill_policy=dg.BackfillPolicy.single_run(),
        description=f"{model.table.description} Grain: {model.table.grain}.\n\n```sql\n{model.sql}\n```",
        group_name=model.group,
        kinds={"sql", "duckdb", "view" if model.materialized == "view" else "table"},
        pool=WAREHOUSE_POOL,
        owners=[model.owner or OWNER],
        code_version=model.code_version,
        metadata=table_metadata(model.table),
        check_specs=audit_specs(model.name, audits),
    )
    def _model(
        context: dg.AssetExecutionContext, warehouse: Warehouse, settings: dg.ResourceParam[Settings]
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        checked: dict[str, Sequence[AuditResult]] = {}
        for partition_key in context.partition_keys:
            params = query_parameters(settings, date.fromisoformat(partition_key))
            try:
                checked[partition_key] = replace_model(warehouse, model, audits, params, macros)
            except AuditFailedError as error:
                yield from merge_check_results(checked | {partition_key: error.results})
                raise dg.Failure(f"{partition_key}: {error}", allow_retries=False) from None
        newest = context.partition_keys[-1]
        metadata: dict[str, Any] = {"partition": newest}
        if model.materialized == "snapshot":
            metadata = row_metadata(warehouse, model.table, newest)
        elif model.sampled:
            metadata = sample_metadata(warehouse, model.table, newest)
        metadata["dagster/column_lineage"] = column_lineage(model.column_lineage(tables))
        if draw is not None:
            png, alt = draw(warehouse, date.fromisoformat(newest))
            metadata["plot"] = plot(png, alt=alt)
        yield dg.MaterializeResult(metadata=metadata, check_results=merge_check_results(checked))

    return _model


def replace_model(
    warehouse: Warehouse,
    model: SqlModel,
    audits: Sequence[SqlAudit],
    params: Mapping[str, Any],
    macros: Sequence[str],
) -> list[AuditResult]:
    """Replace a model's snapshot, or define its view anew, and run its audits."""
    if model.materialized == "view":
        return warehouse.replace_view(model.name, model.sql, macros=macros, audits=runnable(audits), params=params)
    return warehouse.replace_snapshot_sql(model.table, model.sql, params=params, audits=runnable(audits))
