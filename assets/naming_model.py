"""What everyone's journeys say of each keyword, for naming. Renewed with the other models, so that names rest."""

from datetime import date

import dagster as dg
import polars as pl

from journeys_dagster.orchestration.asset import Run, table_asset
from journeys_dagster.orchestration.timing import TRAINING_GROUP, at_training_time
from journeys_dagster.reporting.tables import markdown_table
from journeys_dagster.tables import Table, bigint, double, text, utc_day

TABLE = Table(
    name="naming_model",
    kind="trained",
    description="How central each keyword is in the journeys of everyone who has it. Snapshots from as_of on are named "
    "with it.",
    grain="one row per keyword that two users or more have",
    columns={
        "as_of": utc_day("newest snapshot it was made from; the same in all rows"),
        "keyword": text("the keyword"),
        "users": bigint("users who have it"),
        "centrality": double("mean cosine to the centre of its journeys"),
        "usual": double("mean over all keywords and users; the same in all rows"),
    },
    key=("keyword",),
)
_NEWEST = "select max(as_of) as as_of from clusters"
_MOST_CENTRAL = "select keyword, users, centrality from naming_model order by centrality desc, keyword limit 10"


@table_asset(
    TABLE,
    kinds={"sql", "table"},
    group=TRAINING_GROUP,
    deps=["keyword_centrality"],
    condition=at_training_time,
    needs_everyone=True,
)
def naming_model(run: Run) -> dg.MaterializeResult:
    """Keep how central each keyword is now."""
    as_of: date | None = run.warehouse.query(_NEWEST)["as_of"][0]
    rows = run.warehouse.query("from keyword_centrality order by keyword")
    run.warehouse.replace_table(TABLE, [rows.select(pl.lit(as_of, dtype=pl.Date).alias("as_of"), pl.all())])
    run.log(f"{len(rows)} keywords of several users, as of {as_of}")
    most_central = run.warehouse.query(_MOST_CENTRAL)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(rows),
            "as_of": str(as_of),
            "most_central": dg.MetadataValue.md(markdown_table(most_central, max_rows=10)),
        }
    )
