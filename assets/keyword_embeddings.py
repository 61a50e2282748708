"""The vector of each distinct keyword, computed once per model revision and kept; and what the model cannot read."""

from collections.abc import Mapping
from contextlib import closing
from functools import partial
from typing import Any

import dagster as dg
import polars as pl

from journeys_dagster.inference.embedding import MULTILINGUAL_MODEL, UNREADABLE, embed_frame
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
        "embedding": Column(
            type="FLOAT[]", description="vector; its squared length is the share of the keyword that was read"
        ),
    },
    key=("model_revision", "keyword"),
)

READS_THE_LANGUAGE = "reads_the_language"
_MOST_UNREADABLE = 0.05
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
_MISSING_OF_SHARDS = "select distinct keyword from parts order by keyword"
_OF_KEYWORDS = f"""
    with held as (
        select user_id, keyword
        from keywords
        where as_of = $as_of and user_id in (select user_id from users_in_scope where as_of = $as_of)
    ),

    of_keyword as (
        select keyword, list_inner_product(embedding, embedding) < {UNREADABLE} as is_unreadable
        from keyword_embeddings
        where model_revision = $model_revision and keyword in (select keyword from held)
    ),

    of_user as (
        select user_id, avg(is_unreadable::int) >= 0.5 as is_unreadable
        from held
        join of_keyword using (keyword)
        group by user_id
    )
"""
_UNREADABLE = f"""
    {_OF_KEYWORDS}
    select
        (select count(*) from of_keyword) as keywords,
        (select count(*) from of_keyword where is_unreadable) as unreadable_keywords,
        (select count(*) from of_user) as users,
        (select count(*) from of_user where is_unreadable) as unreadable_users
"""
# A keyword may be in several shards.
_UNREADABLE_OF_SHARD = f"""
    {_OF_KEYWORDS}
    select keyword, is_unreadable, 0 as users, 0 as unreadable_users from of_keyword
    union all
    select null, null, count(*), count(*) filter (is_unreadable) from of_user
"""
_UNREADABLE_OF_SHARDS = """
    select
        count(distinct keyword) as keywords,
        count(distinct keyword) filter (is_unreadable) as unreadable_keywords,
        cast(sum(users) as bigint) as users,
        cast(sum(unreadable_users) as bigint) as unreadable_users
    from parts
"""


@table_asset(
    TABLE,
    kinds={"python", "pytorch"},
    sql=[_MISSING],
    needs=frozenset({"embedder"}),
    gathers=True,
    checks=[
        dg.AssetCheckSpec(
            READS_THE_LANGUAGE,
            asset=TABLE.name,
            description="The model can read the day's keywords; those that it cannot have no meaning, only spelling.",
        )
    ],
)
def keyword_embeddings(run: Run) -> dg.MaterializeResult:
    """Embed the keywords that have no vector yet."""
    warehouse, settings, embedder = run.warehouse, run.settings, run.vectors
    warehouse.create_missing([TABLE])
    engine = engine_in_use(settings, warehouse)
    embedded, params = 0, dict[str, Any]()
    for day in run.days:
        params = {
            "as_of": day,
            "model_revision": embedder.revision,
            "max_keywords_per_user": settings.clusters.max_keywords_per_user,
        }
        missing = run.of_users(_MISSING, params, merge=_MISSING_OF_SHARDS)
        done = 0
        shards = missing.iter_slices(settings.run.keywords_per_batch)
        batches = ({"keywords": keywords} for keywords in shards)
        with closing(engine.map(partial(embed_frame, embedder=embedder), batches)) as vectors:
            for frame in vectors:
                store_embeddings(warehouse, embedder.revision, frame)
                done += len(frame)
                run.log(f"{day}: {done} of {len(missing)} new keywords embedded")
        embedded += done
    if run.shards is not None:
        run.shards.changed(TABLE.name)
    params.pop("max_keywords_per_user")
    read = run.of_users(_UNREADABLE, params, partial=_UNREADABLE_OF_SHARD, merge=_UNREADABLE_OF_SHARDS).row(
        0, named=True
    )
    check = _check(read, settings.embedding.model)
    if not check.passed:
        run.warn(str(check.description))
    return _report(warehouse, embedder.revision, embedded, read, check)


def store_embeddings(warehouse: Warehouse, model_revision: str, vectors: pl.DataFrame) -> None:
    """Keep the vectors of keywords, columns ``keyword`` and ``embedding``; what is kept already stays as it is."""
    with warehouse.write() as connection:
        connection.register("new_rows", vectors.with_columns(model_revision=pl.lit(model_revision)))
        # Another run may have embedded some of them meanwhile.
        connection.execute(
            f"insert into {TABLE.name} by name select * from new_rows "
            f"anti join {TABLE.name} using (model_revision, keyword)"
        )


def _report(
    warehouse: Warehouse, model_revision: str, embedded: int, read: Mapping[str, int], check: dg.AssetCheckResult
) -> dg.MaterializeResult:
    """What is kept, and what of the newest day's keywords the model cannot read, or less than half of them."""
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
            **{name: read[name] for name in ("unreadable_keywords", "unreadable_users")},
            "sample": dg.MetadataValue.md(markdown_table(kept.drop("rows"))),
        },
        check_results=[check],
    )


def _check(read: Mapping[str, int], model: str) -> dg.AssetCheckResult:
    """Whether the model reads the language: at most one keyword in twenty is not to be read."""
    share = read["unreadable_keywords"] / max(read["keywords"], 1)
    said = (
        f"{model} cannot read {read['unreadable_keywords']:,} of {read['keywords']:,} keywords ({share:.1%}), at least "
        f"half of what {read['unreadable_users']:,} of {read['users']:,} users have: they have no meaning, and are "
        "grouped by spelling, time and items."
    )
    if model != MULTILINGUAL_MODEL:
        said += (
            f" For other languages: `pip install 'journeys_dagster[multilingual]'`, and embedding.model = "
            f'"{MULTILINGUAL_MODEL}".'
        )
    return dg.AssetCheckResult(
        check_name=READS_THE_LANGUAGE,
        passed=share <= _MOST_UNREADABLE,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={**read, "share": share},
        description=said if share > _MOST_UNREADABLE else None,
    )
