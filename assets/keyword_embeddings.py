"""The vector of each distinct keyword, computed once per model revision and kept."""

from contextlib import closing
from functools import partial

import dagster as dg
import polars as pl

from journeys_dagster.inference.embedding import embed_frame
from journeys_dagster.orchestration.asset import Run, table_asset
from journeys_dagster.reporting.tables import markdown_table
from journeys_dagster.resources.engine import engine_in_use
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.tables import Column, Table, text

TABLE = Table(
    name="keyword_embeddings",
    kind="kept",
    description="Text embedding of each distinct keyword that is clustered, computed once per model revision.",
    grain="one row per model revision and keyword",
    columns={
        "model_revision": text("the embedding model"),
        "keyword": text("the keyword"),
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


@table_asset(TABLE, kinds={"python", "pytorch"}, sql=[_MISSING], needs=frozenset({"embedder"}))
def keyword_embeddings(run: Run) -> dg.MaterializeResult:
    """Embed the keywords that have no vector yet."""
    warehouse, settings, embedder = run.warehouse, run.settings, run.vectors
    warehouse.create_missing([TABLE])
    engine = engine_in_use(settings, warehouse)
    embedded = 0
    for day in run.days:
        params = {
            "as_of": day,
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
                run.log(f"{day}: {done} of {len(missing)} new keywords embedded")
        embedded += done
    return _report(warehouse, embedder.revision, embedded)


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
