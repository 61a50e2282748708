"""Looking after the warehouse: old snapshots pruned, and their space given back."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import polars as pl

from journeys_dagster.inference.fingerprint import step_version
from journeys_dagster.orchestration.jobs import RETENTION
from journeys_dagster.orchestration.metadata import OWNER, WAREHOUSE_POOL, plot
from journeys_dagster.reporting.plots import daily_counts
from journeys_dagster.reporting.tables import markdown_table
from journeys_dagster.resources.compaction import compact
from journeys_dagster.resources.retention import prune
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import Settings
from journeys_dagster.tables import Table

_WEEKS_DRAWN = 104


def build_retention(tables: Sequence[Table], *, cron: str) -> dg.AssetsDefinition:
    """The asset; `tables` are the snapshot tables, `cron` says when it runs by itself."""

    @dg.asset(
        name=RETENTION,
        description="Prunes snapshots older than retention.keep_days, in one transaction, and rewrites the warehouse "
        "file where enough of it is free. `current_user_journeys` never changes by it.",
        group_name="operations",
        kinds={"python", "duckdb"},
        owners=[OWNER],
        code_version=step_version(__name__),
        pool=WAREHOUSE_POOL,
        automation_condition=dg.AutomationCondition.on_cron(cron),
    )
    def retention(
        context: dg.AssetExecutionContext, warehouse: Warehouse, settings: dg.ResourceParam[Settings]
    ) -> dg.MaterializeResult:
        if not warehouse.path.exists():
            raise dg.Failure(f"no warehouse at {warehouse.path}: nothing has been run yet", allow_retries=False)
        size = warehouse.path.stat().st_size
        pruning = prune(warehouse, tables, settings.retention)
        _, blocks = compact(warehouse, above_free_share=settings.retention.rewrite_above_free_share)
        context.log.info(f"{pruning.rows_pruned} rows of snapshots before {pruning.keep_from} pruned")
        metadata: dict[str, Any] = {
            "keep_from": str(pruning.keep_from),
            "rows_pruned": pruning.rows_pruned,
            "bytes_before": size,
            "bytes_after": warehouse.path.stat().st_size,
            "free_share": blocks.free_share,
            "tables": dg.MetadataValue.md(markdown_table(pruning.tables, max_rows=len(tables))),
        }
        return dg.MaterializeResult(metadata={**metadata, "plot": _sizes(context.instance, metadata)})

    return retention


def _sizes(instance: dg.DagsterInstance, now: dict[str, Any]) -> dg.MarkdownMetadataValue:
    """The size of the file before and after each run, the newest of a day."""
    earlier = instance.fetch_materializations(dg.AssetKey(RETENTION), limit=_WEEKS_DRAWN).records
    sizes = {datetime.now(UTC).date(): (now["bytes_before"], now["bytes_after"])}
    for record in earlier:
        if (materialization := record.asset_materialization) is not None:
            found = materialization.metadata
            day = datetime.fromtimestamp(record.timestamp, UTC).date()
            sizes.setdefault(day, (found["bytes_before"].value, found["bytes_after"].value))
    rows = pl.DataFrame([(day, *both) for day, both in sizes.items()], schema=["day", "before", "after"], orient="row")
    megabytes = {name: rows[name] / 1e6 for name in ("before", "after")}
    png = daily_counts(rows["day"], megabytes, title="Size of the warehouse", y_label="MB")
    return plot(png, alt="size of the warehouse file before and after pruning")
