"""What each diversification strategy costs in relevance, measured on returns. Renewed with the models."""

from typing import Any

import dagster as dg
import polars as pl

from assets.ranking_labels import known_vectors, sampled_history
from journeys_dagster.orchestration.asset import Run, table_asset
from journeys_dagster.orchestration.metadata import plot
from journeys_dagster.orchestration.timing import TRAINING_GROUP, after_labels
from journeys_dagster.reporting.plots import trade_off
from journeys_dagster.reporting.tables import markdown_table
from journeys_dagster.resources.labels import labels_read_until
from journeys_dagster.tables import Table, boolean, double, text, utc_day
from journeys_dagster.training.diversification import diversification_trade_off as trade_off_points
from journeys_dagster.training.diversification import recommend
from journeys_dagster.training.spans import TooFewReturnsError

_MAX_USERS = 1_000
TABLE = Table(
    name="diversification_trade_off",
    kind="trained",
    description="Relevance and similarity of re-ranked past snapshots, for each strategy over its parameter.",
    grain="one row per strategy and parameter",
    columns={
        "as_of": utc_day("last arrival day that was seen; the same in all rows"),
        "strategy": text("as the setting diversification.strategy"),
        "parameter": double("penalty, or diversity"),
        "ndcg": double("NDCG@5 on returns, mean over users"),
        "similarity": double("mean cosine of two journeys of the first five"),
        "recommended": boolean("most diverse of those with 99 % of the best relevance"),
    },
    key=("strategy", "parameter"),
)


@table_asset(
    TABLE,
    kinds={"python", "table"},
    group=TRAINING_GROUP,
    deps=["ranking_labels", "keyword_embeddings"],
    needs=frozenset({"embedder"}),
    condition=after_labels,
    needs_everyone=True,
)
def diversification_trade_off(run: Run) -> dg.MaterializeResult:
    """Measure each strategy over its parameter."""
    try:
        as_of = labels_read_until(run.warehouse)
        history = sampled_history(run.warehouse, run.settings, as_of, users=_MAX_USERS)
        points = trade_off_points(history, run.settings, known_vectors(run.warehouse, run.vectors))
    except TooFewReturnsError as error:
        run.warn(f"nothing to compare by: {error}")
        return dg.MaterializeResult(metadata={"recommended": f"none: {error}"})
    strategy, parameter = recommend(points)
    rows = points.with_columns(
        as_of=pl.lit(as_of),
        recommended=(pl.col("strategy") == strategy) & (pl.col("parameter") == parameter),
    )
    run.warehouse.replace_table(TABLE, [rows])
    return dg.MaterializeResult(metadata={"as_of": str(as_of), **_metadata(points, strategy, parameter)})


def _metadata(points: pl.DataFrame, strategy: str, parameter: float) -> dict[str, Any]:
    return {
        "recommended": f"{strategy}, {parameter}",
        "points": dg.MetadataValue.md(markdown_table(points, max_rows=points.height)),
        "plot": plot(trade_off(points, title="Relevance against diversity"), alt="relevance against diversity"),
    }
