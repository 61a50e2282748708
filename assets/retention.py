"""Looking after the warehouse: old snapshots pruned, and their space given back."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg
import polars as pl

from journeys_dagster.orchestration.asset import Run, table_asset
from journeys_dagster.orchestration.metadata import plot
from journeys_dagster.orchestration.timing import OPERATIONS_GROUP, at_retention_time
from journeys_dagster.reporting.plots import daily_counts
from journeys_dagster.reporting.tables import markdown_table
from journeys_dagster.resources.compaction import compact
from journeys_dagster.resources.retention import prune, pruned_tables

_WEEKS_DRAWN = 104


@table_asset(
    None, kinds={"python"}, group=OPERATIONS_GROUP, decides=False, condition=at_retention_time, needs_everyone=True
)
def retention(run: Run) -> dg.MaterializeResult:
    """Prunes snapshots older than retention.keep_days, in one transaction, and rewrites the warehouse file where
    enough of it is free. `current_user_journeys` never changes by it.
    """
    warehouse, chosen = run.warehouse, run.settings.retention
    if not warehouse.path.exists():
        raise dg.Failure(f"no warehouse at {warehouse.path}: nothing has been run yet", allow_retries=False)
    size = warehouse.path.stat().st_size
    tables = pruned_tables(run.location.tables)
    pruning = prune(warehouse, tables, chosen)
    _, blocks = compact(warehouse, above_free_share=chosen.rewrite_above_free_share)
    run.log(f"{pruning.rows_pruned} rows of snapshots before {pruning.keep_from} pruned")
    metadata: dict[str, Any] = {
        "keep_from": str(pruning.keep_from),
        "rows_pruned": pruning.rows_pruned,
        "bytes_before": size,
        "bytes_after": warehouse.path.stat().st_size,
        "free_share": blocks.free_share,
        "tables": dg.MetadataValue.md(markdown_table(pruning.tables, max_rows=len(tables))),
    }
    earlier = run.instance or dg.DagsterInstance.get()
    plotted = _sizes(earlier, run.location.key(retention.name), metadata)
    return dg.MaterializeResult(metadata={**metadata, "plot": plotted})


def _sizes(instance: dg.DagsterInstance, key: dg.AssetKey, now: dict[str, Any]) -> dg.MarkdownMetadataValue:
    """The size of the file before and after each run, the newest of a day."""
    earlier = instance.fetch_materializations(key, limit=_WEEKS_DRAWN).records
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
