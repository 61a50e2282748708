"""Step: the journeys related to each distinct journey, from everyone's snapshots before the day; a key-value table."""

from dataclasses import dataclass
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from assets.keyword_embeddings import store_embeddings
from assets.safety_verdicts import TABLE as VERDICTS
from assets.safety_verdicts import check_new_texts, read_verdicts
from journeys_dagster.inference.embedding import TextEmbedder, embed_frame
from journeys_dagster.inference.expansions import known_journeys, related_journeys
from journeys_dagster.inference.fingerprint import step_version
from journeys_dagster.inference.llm_expansions import EXPAND_PROMPT, RelatedAnswer, with_model_relations
from journeys_dagster.inference.safety import checked_text
from journeys_dagster.inference.safety_policy import ALLOW
from journeys_dagster.inference.steps import with_codes
from journeys_dagster.llm.client import LLM
from journeys_dagster.llm.prompts import load_prompt
from journeys_dagster.orchestration.language_models import answered_check, answered_spec
from journeys_dagster.orchestration.metadata import OWNER, WAREHOUSE_POOL, row_metadata, table_metadata
from journeys_dagster.orchestration.vectors import embeddings_of
from journeys_dagster.resources.llm import LLMResource
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import ExpansionSettings, Settings
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
        "found_on": Column(type="DATE", description="day as of which it was found; at the latest as_of"),
        "algorithm_version": Column(type="VARCHAR", description="fingerprint of what found it"),
    },
    key=("as_of", "journey", "related"),
    partition_column="as_of",
)
_NEWEST = """
    newest as (
        select user_id, max(as_of) as as_of from user_snapshots where as_of < $as_of group by user_id
        -- So many say what goes together; of more, the same are taken each day.
        order by hash(user_id) limit $max_users
    )
"""
_STANDING = f"""
    with standing as (
        select as_of, found_on from journey_expansions
        where as_of = (select max(as_of) from journey_expansions where as_of < $as_of)
            and algorithm_version = $algorithm_version
        limit 1
    ),
    {_NEWEST}
    select any_value(standing.as_of) as as_of, avg(cast(newest.as_of >= standing.found_on as integer)) as changed
    from newest cross join standing
"""
_CARRIED = "select * replace (cast($as_of as date) as as_of) from journey_expansions where as_of = $standing"
_MEMBERS = f"""
    with {_NEWEST},

    -- Numbers stand for users and their journeys; no text is needed of either.
    numbered as (select *, row_number() over () as number from newest)

    select
        number as user_id,
        clusters.cluster as journey_id,
        clusters.keyword,
        clusters.keyword = names.keyword as is_name
    from clusters
    join numbered using (as_of, user_id)
    join journey_identities using (as_of, user_id, cluster)
    join names using (as_of, user_id, journey_id)
    -- Listed ones alone: a user with hundreds of journeys has thousands of pairs of them.
    join user_journeys using (as_of, user_id, journey_id)
    where user_journeys.may_notify
"""


def build_journey_expansions(
    *, partitions_def: dg.PartitionsDefinition, algorithm_version: str, asks_llm: bool = False
) -> dg.AssetsDefinition:
    """The asset; `asks_llm`: with a language model that relates journeys, or checks their names."""
    asset = dg.asset(
        name=JOURNEY_EXPANSIONS.name,
        deps=[
            *("clusters", "journey_identities", "names", "user_journeys", "user_snapshots"),
            *(VERDICTS.name, "keyword_embeddings"),
        ],
        partitions_def=partitions_def,
        backfill_policy=dg.BackfillPolicy.single_run(),
        description=f"{JOURNEY_EXPANSIONS.description} Grain: {JOURNEY_EXPANSIONS.grain}.",
        group_name="inference",
        kinds={"polars", "duckdb", "openai" if asks_llm else "table"},
        pool=WAREHOUSE_POOL,
        owners=[OWNER],
        code_version=step_version(__name__),
        metadata=table_metadata(JOURNEY_EXPANSIONS),
        check_specs=[answered_spec(JOURNEY_EXPANSIONS.name)] if asks_llm else None,
    )

    def _materialize(
        context: dg.AssetExecutionContext,
        warehouse: Warehouse,
        settings: Settings,
        embedder: TextEmbedder,
        llm: LLM | None,
    ) -> dg.MaterializeResult:
        for partition_key in context.partition_keys:
            as_of = date.fromisoformat(partition_key)
            # What a language model left unanswered one day is asked again the next.
            if llm is None and _carry_related(warehouse, settings.expansions, as_of, algorithm_version):
                continue
            related = _find_related(warehouse, settings, embedder, as_of, llm=llm)
            constants = {"algorithm_version": algorithm_version}
            warehouse.replace_snapshot(JOURNEY_EXPANSIONS, [related], as_of=as_of, constants=constants)
        metadata: dict[str, Any] = row_metadata(warehouse, JOURNEY_EXPANSIONS, context.partition_keys[-1])
        if llm is None:
            return dg.MaterializeResult(metadata=metadata)
        return dg.MaterializeResult(metadata=metadata | llm.usage.figures(), check_results=[answered_check(llm.usage)])

    if asks_llm:

        @asset
        def _with_llm(
            context: dg.AssetExecutionContext,
            warehouse: Warehouse,
            settings: dg.ResourceParam[Settings],
            embedder: dg.ResourceParam[TextEmbedder],
            llm: dg.ResourceParam[LLMResource],
        ) -> dg.MaterializeResult:
            return _materialize(context, warehouse, settings, embedder, llm.client())

        return _with_llm

    @asset
    def _journey_expansions(
        context: dg.AssetExecutionContext,
        warehouse: Warehouse,
        settings: dg.ResourceParam[Settings],
        embedder: dg.ResourceParam[TextEmbedder],
    ) -> dg.MaterializeResult:
        return _materialize(context, warehouse, settings, embedder, None)

    return _journey_expansions


def _carry_related(warehouse: Warehouse, chosen: ExpansionSettings, as_of: date, algorithm_version: str) -> bool:
    """Let the relations of the last day before count on, if few users have newer snapshots than these were found by.

    Who is in scope has no part in it, so that incremental equals full.
    """
    if not warehouse.has_table(JOURNEY_EXPANSIONS.name):
        return False
    params = {"as_of": as_of, "max_users": chosen.max_users, "algorithm_version": algorithm_version}
    standing, changed = warehouse.query(_STANDING, params).row(0)
    if standing is None or changed >= chosen.refresh_share:
        return False
    warehouse.replace_snapshot_sql(JOURNEY_EXPANSIONS, _CARRIED, params={"as_of": as_of, "standing": standing})
    return True


def _find_related(
    warehouse: Warehouse, settings: Settings, embedder: TextEmbedder, as_of: date, *, llm: LLM | None
) -> pl.DataFrame:
    """The related journeys as of a day, found anew."""
    chosen = settings.expansions
    members = warehouse.query(_MEMBERS, {"as_of": as_of, "max_users": chosen.max_users})
    texts = _Texts(warehouse, settings, embedder, llm)
    shown = texts.shown(members.filter("is_name")["keyword"].unique())
    is_shown = pl.col("is_name") & pl.col("keyword").is_in(shown["keyword"].implode())
    coded, vectors = with_codes(members.with_columns(is_name=is_shown), shown)
    related = related_journeys(coded, vectors, chosen)
    if llm is not None and settings.llm.expansions:
        related = _with_named(related, coded, texts, llm, settings)
    return related.with_columns(found_on=pl.lit(as_of))


def _with_named(
    related: pl.DataFrame, members: pl.DataFrame, texts: "_Texts", llm: LLM, settings: Settings
) -> pl.DataFrame:
    """Relations with those that the language model names, of journeys that enough users have."""
    journeys = known_journeys(members, settings.expansions)["keyword"].sort()
    inputs = [{"journey": journey} for journey in journeys]
    outcomes = llm.complete(load_prompt(EXPAND_PROMPT), inputs, RelatedAnswer)
    pairs = pl.DataFrame(
        [
            (journey, text)
            for journey, outcome in zip(journeys, outcomes, strict=True)
            for text in (outcome.answer.related if outcome.answer is not None else [])
        ],
        schema={"journey": pl.String, "related": pl.String},
        orient="row",
    )
    shown = texts.shown(pl.concat([pairs["journey"], pairs["related"]]).unique())
    coded, vectors = with_codes(shown.select("keyword"), shown)
    places = {name: coded.select(**{name: "keyword", f"{name}_code": "code"}) for name in ("journey", "related")}
    named = pairs.join(places["journey"], on="journey").join(places["related"], on="related").sort("journey", "related")
    return with_model_relations(
        related,
        named,
        vectors,
        expander=settings.llm.model,
        population=members["user_id"].n_unique(),
        settings=settings.expansions,
    )


@dataclass(frozen=True)
class _Texts:
    """Texts that may be offered, with what says so and what embeds them."""

    warehouse: Warehouse
    settings: Settings
    embedder: TextEmbedder
    llm: LLM | None

    def shown(self, texts: pl.Series) -> pl.DataFrame:
        """Those that the safety check allows, with their embeddings, in order: ``keyword``, ``embedding``."""
        warehouse, embedder = self.warehouse, self.embedder
        opinion = self.llm if self.settings.llm.safety else None
        check_new_texts(warehouse, self.settings, embedder, texts, names=texts, llm=opinion)
        # Names of snapshots by another model have no vector of this one yet.
        known = embeddings_of(warehouse, texts, embedder.revision)["keyword"]
        new = texts.filter(~texts.is_in(known.implode())).to_frame("keyword")
        if not new.is_empty():
            store_embeddings(warehouse, embedder.revision, embed_frame({"keywords": new}, embedder=embedder))
        by_text = texts.to_frame("keyword").with_columns(text=checked_text(pl.col("keyword")))
        verdicts = read_verdicts(warehouse, by_text.select("text").unique(), self.settings, names=True)
        allowed = by_text.join(verdicts.filter(outcome=ALLOW), on="text", how="semi")
        return embeddings_of(warehouse, allowed["keyword"], embedder.revision)
