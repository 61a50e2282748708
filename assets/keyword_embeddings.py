"""Step: the vector of each distinct keyword, computed once per model revision and kept."""

from contextlib import closing
from datetime import date
from functools import partial

import dagster as dg
import polars as pl

from journeys_dagster.inference.embedding import TextEmbedder, embed_frame
from journeys_dagster.inference.fingerprint import step_version
from journeys_dagster.orchestration.metadata import OWNER, WAREHOUSE_POOL, table_metadata
from journeys_dagster.reporting.tables import markdown_table
from journeys_dagster.resources.engine import engine_in_use
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import Settings
from journeys_dagster.tables import Column, Table

TABLE = Table(
    name="keyword_embeddings",
    description="Text embedding of each distinct keyword that is clustered, computed once per model revision.",
    grain="one row per model revision and keyword",
    columns={
        "model_revision": Column(type="VARCHAR", description="the embedding model"),
        "keyword": Column(type="VARCHAR", description="the keyword"),
        "embedding": Column(type="FLOAT[]", description="unit vector"),
    },
    key=("model_revision", "keyword"),
)

# Of each user the keywords that `clusters` takes (`strongest_keywords`): nothing looks at the others, and a bot may
# have ten thousand of them.
_MISSING = """
    with strongest as (
        select keyword
        from keywords
        where as_of = $as_of and user_id in (select user_id from users_in_scope where as_of = $as_of)
        qualify row_number() over (partition by user_id order by weight desc, keyword) <= $max_keywords_per_user
    )

    select distinct keyword
    from strongest
    where keyword not in (select keyword from keyword_embeddings where model_revision = $model_revision)
    order by keyword
"""


def build_keyword_embeddings(*, partitions_def: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The asset."""

    @dg.asset(
        name=TABLE.name,
        deps=["keywords", "users_in_scope"],
        partitions_def=partitions_def,
        backfill_policy=dg.BackfillPolicy.single_run(),
        description=f"{TABLE.description} Grain: {TABLE.grain}.",
        group_name="inference",
        kinds={"python", "duckdb", "pytorch"},
        pool=WAREHOUSE_POOL,
        owners=[OWNER],
        code_version=step_version(__name__),
        metadata=table_metadata(TABLE),
    )
    def keyword_embeddings(
        context: dg.AssetExecutionContext,
        warehouse: Warehouse,
        embedder: dg.ResourceParam[TextEmbedder],
        settings: dg.ResourceParam[Settings],
    ) -> dg.MaterializeResult:
        with warehouse.write() as connection:
            connection.execute(TABLE.create_sql())
        engine = engine_in_use(settings, warehouse)
        embedded = 0
        for partition_key in context.partition_keys:
            params = {
                "as_of": date.fromisoformat(partition_key),
                "model_revision": embedder.revision,
                "max_keywords_per_user": settings.clusters.max_keywords_per_user,
            }
            missing = warehouse.query(_MISSING, params)
            done = 0
            shards = missing.iter_slices(settings.run.keywords_per_batch)
            batches = ({"keywords": keywords} for keywords in shards)
            with closing(engine.map(partial(embed_frame, embedder=embedder), batches)) as vectors:
                for frame in vectors:
                    store_embeddings(warehouse, embedder.revision, frame)
                    done += len(frame)
                    context.log.info(f"{partition_key}: {done} of {len(missing)} new keywords embedded")
            embedded += done
        return _report(warehouse, embedder.revision, embedded)

    return keyword_embeddings


def store_embeddings(warehouse: Warehouse, model_revision: str, vectors: pl.DataFrame) -> None:
    """Keep the vectors of keywords, columns ``keyword`` and ``embedding``; what is kept already stays as it is."""
    with warehouse.write() as connection:
        connection.register("new_rows", vectors.with_columns(model_revision=pl.lit(model_revision)))
        # Another run may have embedded some of them meanwhile.
        connection.execute(
            f"insert into {TABLE.name} by name select * from new_rows "
            f"anti join {TABLE.name} using (model_revision, keyword)"
        )


def _report(warehouse: Warehouse, model_revision: str, embedded: int) -> dg.MaterializeResult:
    kept = warehouse.query(
        f"select keyword, len(embedding) as dimensions, embedding[1:4] as first_values, "
        f"count(*) over () as rows from {TABLE.name} where model_revision = $model_revision limit 5",
        {"model_revision": model_revision},
    )
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": kept["rows"][0] if len(kept) else 0,
            "newly_embedded": embedded,
            "model_revision": model_revision,
            "sample": dg.MetadataValue.md(markdown_table(kept.drop("rows"))),
        }
    )
