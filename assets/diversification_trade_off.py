"""Step: what each way to diversify costs in relevance, on what users came back to. Renewed with the models."""

from typing import Any

import dagster as dg
import polars as pl

from assets.ranking_labels import known_vectors, sampled_history
from journeys_dagster.inference.embedding import TextEmbedder
from journeys_dagster.inference.fingerprint import step_version
from journeys_dagster.orchestration.metadata import OWNER, WAREHOUSE_POOL, plot, table_metadata
from journeys_dagster.orchestration.timing import TRAINING_GROUP, after_labels
from journeys_dagster.reporting.plots import trade_off
from journeys_dagster.reporting.tables import markdown_table
from journeys_dagster.resources.labels import labels_read_until
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import Settings
from journeys_dagster.tables import Column, Table
from journeys_dagster.training.diversification import diversification_trade_off, recommend
from journeys_dagster.training.spans import TooFewReturnsError

_MAX_USERS = 1_000
TRADE_OFF = Table(
    name="diversification_trade_off",
    description="Relevance and likeness of re-ranked past snapshots, for each strategy over its parameter.",
    grain="one row per strategy and parameter",
    columns={
        "as_of": Column(type="DATE", description="last arrival day that was seen; the same in all rows"),
        "strategy": Column(type="VARCHAR", description="as the setting diversification.strategy"),
        "parameter": Column(type="DOUBLE", description="penalty, or diversity"),
        "ndcg": Column(type="DOUBLE", description="NDCG@5 on returns, mean over users"),
        "similarity": Column(type="DOUBLE", description="mean cosine of two journeys of the first five"),
        "recommended": Column(type="BOOLEAN", description="most diverse of those with 99 % of the best relevance"),
    },
    key=("strategy", "parameter"),
)


def build_diversification_trade_off() -> dg.AssetsDefinition:
    """The asset."""

    @dg.asset(
        name=TRADE_OFF.name,
        deps=["ranking_labels", "keyword_embeddings"],
        description=f"{TRADE_OFF.description} Grain: {TRADE_OFF.grain}.",
        group_name=TRAINING_GROUP,
        automation_condition=after_labels(),
        kinds={"python", "duckdb", "table"},
        pool=WAREHOUSE_POOL,
        owners=[OWNER],
        code_version=step_version(__name__),
        metadata=table_metadata(TRADE_OFF),
    )
    def _trade_off(
        context: dg.AssetExecutionContext,
        warehouse: Warehouse,
        settings: dg.ResourceParam[Settings],
        embedder: dg.ResourceParam[TextEmbedder],
    ) -> dg.MaterializeResult:
        try:
            as_of = labels_read_until(warehouse)
            history = sampled_history(warehouse, settings, as_of, users=_MAX_USERS)
            points = diversification_trade_off(history, settings, known_vectors(warehouse, embedder))
        except TooFewReturnsError as error:
            context.log.warning(f"nothing to compare by: {error}")
            return dg.MaterializeResult(metadata={"recommended": f"none: {error}"})
        strategy, parameter = recommend(points)
        rows = points.with_columns(
            as_of=pl.lit(as_of),
            recommended=(pl.col("strategy") == strategy) & (pl.col("parameter") == parameter),
        )
        warehouse.replace_table(TRADE_OFF, [rows])
        return dg.MaterializeResult(metadata={"as_of": str(as_of), **_metadata(points, strategy, parameter)})

    return _trade_off


def _metadata(points: pl.DataFrame, strategy: str, parameter: float) -> dict[str, Any]:
    return {
        "recommended": f"{strategy}, {parameter}",
        "points": dg.MetadataValue.md(markdown_table(points, max_rows=points.height)),
        "plot": plot(trade_off(points, title="Relevance against diversity"), alt="relevance against diversity"),
    }
