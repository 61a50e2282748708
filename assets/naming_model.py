"""Step: what everyone's journeys say of each keyword, for naming. Renewed with the other models, so that names rest."""

from datetime import date

import dagster as dg
import polars as pl

from journeys_dagster.inference.fingerprint import step_version
from journeys_dagster.orchestration.metadata import OWNER, WAREHOUSE_POOL, table_metadata
from journeys_dagster.orchestration.timing import TRAINING_GROUP
from journeys_dagster.reporting.tables import markdown_table
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.tables import Column, Table

NAMING_MODEL = Table(
    name="naming_model",
    description="How central each keyword is in the journeys of everyone who has it. Snapshots from as_of on are named "
    "with it.",
    grain="one row per keyword that two users or more have",
    columns={
        "as_of": Column(type="DATE", description="newest snapshot it was made from; the same in all rows"),
        "keyword": Column(type="VARCHAR", description="the keyword"),
        "users": Column(type="BIGINT", description="users who have it"),
        "centrality": Column(type="DOUBLE", description="mean cosine to the centre of its journeys"),
        "usual": Column(type="DOUBLE", description="mean over all keywords and users; the same in all rows"),
    },
    key=("keyword",),
)
_NEWEST = "select max(as_of) as as_of from clusters"
_MOST_CENTRAL = "select keyword, users, centrality from naming_model order by centrality desc, keyword limit 10"


def build_naming_model(*, condition: dg.AutomationCondition) -> dg.AssetsDefinition:
    """The asset; `condition` is when it is made by itself."""

    @dg.asset(
        name=NAMING_MODEL.name,
        deps=["keyword_centrality"],
        description=f"{NAMING_MODEL.description} Grain: {NAMING_MODEL.grain}.",
        group_name=TRAINING_GROUP,
        automation_condition=condition,
        kinds={"sql", "duckdb", "table"},
        pool=WAREHOUSE_POOL,
        owners=[OWNER],
        code_version=step_version(__name__),
        metadata=table_metadata(NAMING_MODEL),
    )
    def naming_model(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
        as_of: date | None = warehouse.query(_NEWEST)["as_of"][0]
        rows = warehouse.query("from keyword_centrality order by keyword")
        warehouse.replace_table(NAMING_MODEL, [rows.select(pl.lit(as_of, dtype=pl.Date).alias("as_of"), pl.all())])
        context.log.info(f"{len(rows)} keywords of several users, as of {as_of}")
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": len(rows),
                "as_of": str(as_of),
                "most_central": dg.MetadataValue.md(markdown_table(warehouse.query(_MOST_CENTRAL), max_rows=10)),
            }
        )

    return naming_model
