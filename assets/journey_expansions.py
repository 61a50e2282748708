"""The journeys related to each distinct journey, from everyone's snapshots before the day; a key-value table."""

from dataclasses import dataclass
from datetime import date

import dagster as dg
import polars as pl

from assets.keyword_embeddings import store_embeddings
from assets.safety_verdicts import check_new_texts, read_verdicts
from journeys_dagster.inference.embedding import TextEmbedder, embed_frame
from journeys_dagster.inference.expansions import known_journeys, related_journeys
from journeys_dagster.inference.frames import with_codes
from journeys_dagster.inference.llm_expansions import EXPAND_PROMPT, RelatedAnswer, with_model_relations
from journeys_dagster.inference.safety import checked_text
from journeys_dagster.inference.safety_policy import ALLOW
from journeys_dagster.llm.client import LLM
from journeys_dagster.llm.prompts import load_prompt
from journeys_dagster.orchestration.asset import Run, table_asset
from journeys_dagster.orchestration.reads import embeddings_of
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import ExpansionSettings, Settings
from journeys_dagster.tables import Table, bigint, double, integer, text, utc_day

TABLE = Table(
    name="journey_expansions",
    kind="population",
    description="Journeys related to each distinct journey, by the snapshots of everyone before the day. A journey is "
    "what its name's keyword says; sensitive ones have no part.",
    grain="one row per as_of, journey and related journey",
    columns={
        "as_of": utc_day("day from which it counts; sees everyone's newest snapshot before it"),
        "journey": text("the journey, the key: its name's keyword"),
        "related": text("a journey related to it, by its name's keyword"),
        "rank": integer("place among the journey's, 1 is most related"),
        "score": double("ln(lift) plus the weighted cosine"),
        "lift": double("users with both over what chance would give, smoothed towards 1"),
        "similarity": double("cosine of both"),
        "together": bigint("users who have the journey's keyword and the related journey"),
        "users": bigint("users who have the related journey"),
        "share": double("the same as a share of all users"),
        "expander": text("what found it: co-occurrence, or a language model's name"),
        "found_on": utc_day("day as of which it was found; at the latest as_of"),
        "algorithm_version": text("fingerprint of what found it"),
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
_FOUND = """
    standing as (
        select as_of, found_on from journey_expansions
        where as_of = (select max(as_of) from journey_expansions where as_of < $as_of)
            and algorithm_version = $algorithm_version
        limit 1
    )
"""
_CHANGED = """
    select any_value(standing.as_of) as as_of, avg(cast(newest.as_of >= standing.found_on as integer)) as changed
    from newest cross join standing
"""
_STANDING = f"with {_FOUND}, {_NEWEST} {_CHANGED}"
# The users of all shards with the lowest hashes are among those of each shard.
_NEWEST_OF_SHARD = f"with {_NEWEST} select hash(user_id) as place, as_of from newest"
_STANDING_OF_SHARDS = f"""
    with {_FOUND}, newest as (from parts order by place limit $max_users) {_CHANGED}
"""
_CARRIED = "select * replace (cast($as_of as date) as as_of) from journey_expansions where as_of = $standing"
_OF_LISTED = """
    join journey_identities using (as_of, user_id, cluster)
    join names using (as_of, user_id, journey_id)
    -- Listed ones alone: a user with hundreds of journeys has thousands of pairs of them.
    join user_journeys using (as_of, user_id, journey_id)
    where user_journeys.may_notify
"""
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
    {_OF_LISTED}
"""
_MEMBERS_OF_SHARD = f"""
    with {_NEWEST}

    select
        hash(user_id) as place,
        clusters.cluster,
        clusters.keyword,
        clusters.keyword = names.keyword as is_name
    from clusters
    join newest using (as_of, user_id)
    {_OF_LISTED}
    union all
    select hash(user_id), null, null, null from newest
"""
_MEMBERS_OF_SHARDS = """
    with chosen as (from (select distinct place from parts) order by place limit $max_users)

    select dense_rank() over (order by place) as user_id, cluster as journey_id, keyword, is_name
    from parts semi join chosen using (place)
    where keyword is not null
"""


@table_asset(
    TABLE,
    kinds={"polars", "table"},
    sql=[_MEMBERS],
    deps=["user_snapshots", "safety_verdicts", "keyword_embeddings"],
    needs=frozenset({"embedder"}),
    llm=("expansions", "safety"),
    gathers=True,
)
def journey_expansions(run: Run) -> dg.MaterializeResult:
    """Find the related journeys as of each day, or let those of the day before count on."""
    warehouse, settings, version = run.warehouse, run.settings, run.location.algorithm.version
    for day in run.days:
        # What a language model left unanswered one day is asked again the next.
        if run.llm is None and _carry_related(run, settings.expansions, day, version):
            continue
        related = _find_related(run, run.vectors, day)
        warehouse.replace_snapshot(TABLE, [related], as_of=day, constants={"algorithm_version": version})
    return dg.MaterializeResult()


def _carry_related(run: Run, chosen: ExpansionSettings, as_of: date, algorithm_version: str) -> bool:
    """Keep the relations of the day before, if few users have newer snapshots than they were computed from.

    Who is in scope has no part in it, so that incremental equals full.
    """
    warehouse = run.warehouse
    if not warehouse.has_table(TABLE.name):
        return False
    params = {"as_of": as_of, "max_users": chosen.max_users, "algorithm_version": algorithm_version}
    found = run.of_users(_STANDING, params, partial=_NEWEST_OF_SHARD, merge=_STANDING_OF_SHARDS)
    standing, changed = found.row(0)
    if standing is None or changed >= chosen.refresh_share:
        return False
    warehouse.replace_snapshot_sql(TABLE, _CARRIED, params={"as_of": as_of, "standing": standing})
    return True


def _find_related(run: Run, embedder: TextEmbedder, as_of: date) -> pl.DataFrame:
    """The related journeys as of a day, recomputed."""
    settings, llm = run.settings, run.llm
    chosen = settings.expansions
    params = {"as_of": as_of, "max_users": chosen.max_users}
    members = run.of_users(_MEMBERS, params, partial=_MEMBERS_OF_SHARD, merge=_MEMBERS_OF_SHARDS)
    texts = _Texts(run.warehouse, settings, embedder, llm)
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
