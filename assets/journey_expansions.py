"""Step: the journeys related to each distinct journey, from everyone's snapshots before the day; a key-value table."""

from datetime import date

import dagster as dg
import polars as pl

from assets.keyword_embeddings import store_embeddings
from assets.reporting import OWNER, WAREHOUSE_POOL, row_metadata, table_metadata
from assets.safety_verdicts import TABLE as VERDICTS
from assets.safety_verdicts import check_new_texts
from assets.vectors import vectors_of
from journeys_dagster.inference.algorithm import STEP_CODE_VERSIONS
from journeys_dagster.inference.embedding import TextEmbedder
from journeys_dagster.inference.expansions import EXPANDER, related_journeys
from journeys_dagster.inference.safety import checked_text, verdict_revision
from journeys_dagster.inference.safety_policy import ALLOW, load_policy
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import Settings
from journeys_dagster.tables import Column, Table

JOURNEY_EXPANSIONS = Table(
    name="journey_expansions",
    description="Journeys related to each distinct journey, by the snapshots of everyone before the day. A journey is "
    "what its name's keyword says; sensitive ones have no part.",
    grain="one row per as_of, journey and related journey",
    columns={
        "as_of": Column(type="DATE", description="day from which it counts; sees everyone's newest snapshot before it"),
        "journey": Column(type="VARCHAR", description="the journey, the key: its name's keyword"),
        "related": Column(type="VARCHAR", description="a journey related to it, by its name's keyword"),
        "rank": Column(type="INTEGER", description="place among the journey's, 1 is most related"),
        "score": Column(type="DOUBLE", description="logarithm of the lift, and nearness in meaning"),
        "lift": Column(type="DOUBLE", description="how much more often both are had than by chance, drawn towards 1"),
        "similarity": Column(type="DOUBLE", description="cosine of both"),
        "together": Column(type="BIGINT", description="users who have the journey's keyword and the related journey"),
        "users": Column(type="BIGINT", description="users who have the related journey"),
        "share": Column(type="DOUBLE", description="the same as a share of all users"),
        "expander": Column(type="VARCHAR", description="what found it; says whether a language model did"),
    },
    key=("as_of", "journey", "related"),
    partition_column="as_of",
)
_MEMBERS = """
    with newest as (
        select user_id, max(as_of) as as_of from user_snapshots where as_of < $as_of group by user_id
        -- So many say what goes together; of more, the same are taken each day.
        qualify row_number() over (order by md5(user_id)) <= $max_users
    )

    select clusters.user_id, journey_id, clusters.keyword, clusters.keyword = names.keyword as is_name
    from clusters
    join newest using (as_of, user_id)
    join journey_identities using (as_of, user_id, cluster)
    join names using (as_of, user_id, journey_id)
    -- Listed ones alone: a user with hundreds of journeys has thousands of pairs of them.
    join user_journeys using (as_of, user_id, journey_id)
    where user_journeys.may_notify
    order by all
"""
_ALLOWED = f"""
    select text from {VERDICTS.name} semi join texts using (text) where revision = $revision and outcome = '{ALLOW}'
"""


def build_journey_expansions(*, partitions_def: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The asset."""

    @dg.asset(
        name=JOURNEY_EXPANSIONS.name,
        deps=[
            *("clusters", "journey_identities", "names", "user_journeys", "user_snapshots"),
            *(VERDICTS.name, "keyword_embeddings"),
        ],
        partitions_def=partitions_def,
        backfill_policy=dg.BackfillPolicy.single_run(),
        description=f"{JOURNEY_EXPANSIONS.description} Grain: {JOURNEY_EXPANSIONS.grain}.",
        group_name="inference",
        kinds={"polars", "duckdb", "table"},
        pool=WAREHOUSE_POOL,
        owners=[OWNER],
        code_version=STEP_CODE_VERSIONS[JOURNEY_EXPANSIONS.name],
        metadata=table_metadata(JOURNEY_EXPANSIONS),
    )
    def journey_expansions(
        context: dg.AssetExecutionContext,
        warehouse: Warehouse,
        settings: dg.ResourceParam[Settings],
        embedder: dg.ResourceParam[TextEmbedder],
    ) -> dg.MaterializeResult:
        for partition_key in context.partition_keys:
            replace_related(warehouse, settings, embedder, date.fromisoformat(partition_key))
        metadata = row_metadata(warehouse, JOURNEY_EXPANSIONS, context.partition_keys[-1])
        return dg.MaterializeResult(metadata=metadata | {"expander": EXPANDER})

    return journey_expansions


def replace_related(warehouse: Warehouse, settings: Settings, embedder: TextEmbedder, as_of: date) -> None:
    """Find the related journeys as of a day anew."""
    chosen = settings.expansions
    members = warehouse.query(_MEMBERS, {"as_of": as_of, "max_users": chosen.max_users})
    names = members.filter("is_name")["keyword"].unique().sort()
    check_new_texts(warehouse, settings, embedder, names)
    # Names of snapshots by another model have no vector of this one yet.
    embedded, _ = vectors_of(warehouse, names, embedder.revision)
    store_embeddings(warehouse, embedder, names.filter(~names.is_in(embedded["keyword"].implode())).to_list())
    revision = verdict_revision(settings, load_policy(settings.safety.policy))
    texts = names.to_frame("keyword").with_columns(text=checked_text(pl.col("keyword")))
    with warehouse.read() as connection:
        connection.register("texts", texts)
        allowed = connection.sql(_ALLOWED, params={"revision": revision}).pl()
    coded, vectors = vectors_of(warehouse, texts.join(allowed, on="text", how="semi")["keyword"], embedder.revision)
    known = members.with_columns(is_name=pl.col("is_name") & pl.col("keyword").is_in(coded["keyword"].implode())).join(
        coded, on="keyword", how="left", maintain_order="left"
    )
    related = related_journeys(known, vectors, chosen)
    rows = related.with_columns(as_of=pl.lit(as_of), expander=pl.lit(EXPANDER))
    warehouse.replace_snapshot(JOURNEY_EXPANSIONS, [rows], as_of=as_of, constants={})
