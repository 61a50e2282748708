"""Step: whether each distinct name and keyword may be shown, told once per policy, model and settings."""

from contextlib import closing
from datetime import date
from functools import partial

import dagster as dg
import polars as pl

from journeys_dagster.inference.embedding import TextEmbedder
from journeys_dagster.inference.fingerprint import step_version
from journeys_dagster.inference.llm_safety import SAFETY_PROMPT, SafetyAnswer, safety_inputs, with_opinions
from journeys_dagster.inference.safety import checked_text, judge_frame, verdict_revision
from journeys_dagster.inference.safety_classifier import safety_classifier
from journeys_dagster.inference.safety_policy import ALLOW, BLOCK, load_policy
from journeys_dagster.inference.steps import Frames
from journeys_dagster.llm.client import LLM
from journeys_dagster.llm.prompts import load_prompt
from journeys_dagster.orchestration.language_models import answered_check, answered_spec
from journeys_dagster.orchestration.metadata import OWNER, WAREHOUSE_POOL, table_metadata
from journeys_dagster.orchestration.vectors import embeddings_of
from journeys_dagster.reporting.tables import markdown_table
from journeys_dagster.resources.engine import engine_in_use
from journeys_dagster.resources.llm import LLMResource
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import Settings
from journeys_dagster.tables import Column, Table

TABLE = Table(
    name="safety_verdicts",
    description="Whether each distinct name and keyword may be shown, by the policy, and as a name by a language model "
    "too where one is asked; told once per policy, model and settings.",
    grain="one row per revision and text, and one more for a name that a language model was asked about",
    columns={
        "revision": Column(type="VARCHAR", description="policy, embedding model and settings"),
        "text": Column(type="VARCHAR", description="a name or keyword in lower case"),
        "outcome": Column(type="VARCHAR", description="allow, quiet (never notified) or block (not listed)"),
        "category": Column(type="VARCHAR", description="the policy's category; null where allowed", nullable=True),
        "reasons": Column(type="VARCHAR[]", description="what was found in each category, in the policy's words"),
        "by_term": Column(type="BOOLEAN", description="whether a term says so, and not a meaning alone"),
        "by_model": Column(
            type="BOOLEAN", description="whether a language model was asked too, which counts for names"
        ),
        "probability": Column(type="DOUBLE", description="that it is in any category, by its meaning alone"),
    },
    key=("revision", "text", "by_model"),
)

_SHOWN = """
    with users as (select user_id from users_in_scope where as_of = $as_of)

    select name as text, true as is_name from names where as_of = $as_of and user_id in (from users)
    union
    select keyword, false from clusters where as_of = $as_of and user_id in (from users)
"""
_MISSING = f"""
    select text
    from texts anti join (from {TABLE.name} where revision = $revision and not by_model) using (text)
    order by text
"""
# What the policy blocks stays blocked whatever a model says.
_WITHOUT_OPINION = f"""
    select text, outcome, category, reasons, by_term, probability
    from {TABLE.name} semi join texts using (text)
    where revision = $revision and not by_model and outcome <> '{BLOCK}'
        and text not in (select text from {TABLE.name} where revision = $revision and by_model)
    order by text
"""
_OF_TEXTS = f"""
    select text, outcome, category, reasons, by_term, by_model
    from {TABLE.name} semi join texts using (text)
    where revision = $revision
"""


def build_safety_verdicts(*, partitions_def: dg.PartitionsDefinition, asks_llm: bool = False) -> dg.AssetsDefinition:
    """The asset; `asks_llm`: with a language model's opinion on names."""
    asset = dg.asset(
        name=TABLE.name,
        deps=["names", "clusters", "keyword_embeddings", "users_in_scope"],
        partitions_def=partitions_def,
        backfill_policy=dg.BackfillPolicy.single_run(),
        description=f"{TABLE.description} Grain: {TABLE.grain}.",
        group_name="inference",
        kinds={"python", "duckdb", "openai" if asks_llm else "pytorch"},
        pool=WAREHOUSE_POOL,
        owners=[OWNER],
        code_version=step_version(__name__),
        metadata=table_metadata(TABLE),
        check_specs=[answered_spec(TABLE.name)] if asks_llm else None,
    )

    def _materialize(
        context: dg.AssetExecutionContext,
        warehouse: Warehouse,
        settings: Settings,
        embedder: TextEmbedder,
        llm: LLM | None,
    ) -> dg.MaterializeResult:
        checked = 0
        for partition_key in context.partition_keys:
            shown = warehouse.query(_SHOWN, {"as_of": date.fromisoformat(partition_key)})
            checked += check_new_texts(
                warehouse, settings, embedder, shown["text"], names=shown.filter("is_name")["text"], llm=llm
            )
        policy = load_policy(settings.safety.policy)
        revision = verdict_revision(settings, policy)
        context.log.info(f"{checked} new texts checked by policy {policy.revision}")
        return _report(warehouse, revision, checked, llm)

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
    def _safety_verdicts(
        context: dg.AssetExecutionContext,
        warehouse: Warehouse,
        settings: dg.ResourceParam[Settings],
        embedder: dg.ResourceParam[TextEmbedder],
    ) -> dg.MaterializeResult:
        return _materialize(context, warehouse, settings, embedder, None)

    return _safety_verdicts


def check_new_texts(
    warehouse: Warehouse,
    settings: Settings,
    embedder: TextEmbedder,
    texts: pl.Series,
    *,
    names: pl.Series,
    llm: LLM | None,
) -> int:
    """Tell the verdicts on texts that have none yet, and keep them; how many these were.

    Parameters
    ----------
    names : Series of str
        Those of the texts that the language model is asked about too, where there is one. What it says of a text counts
        where the text is a name, and not where it is a keyword: else a verdict would depend on what was asked before.
    """
    policy = load_policy(settings.safety.policy)
    revision = verdict_revision(settings, policy)
    with warehouse.write() as connection:
        connection.execute(TABLE.create_sql())
    missing = _rows_of(warehouse, _MISSING, checked_texts(texts), revision)
    if not missing.is_empty():
        check = partial(
            judge_frame,
            embedder=embedder,
            policy=policy,
            classifier=safety_classifier(policy, embedder),
            settings=settings.safety,
        )
        shards = missing.iter_slices(settings.run.keywords_per_batch)
        batches = (_with_embeddings(warehouse, shard, embedder.revision) for shard in shards)
        with closing(engine_in_use(settings, warehouse).map(check, batches)) as judged:
            for verdicts in judged:
                _store(warehouse, verdicts, revision=revision, by_model=False)
    if llm is not None:
        asked = _rows_of(warehouse, _WITHOUT_OPINION, checked_texts(names), revision)
        for verdicts in asked.iter_slices(settings.run.keywords_per_batch):
            named = verdicts["text"].to_list()
            outcomes = llm.complete(load_prompt(SAFETY_PROMPT), safety_inputs(named, policy), SafetyAnswer)
            _store(warehouse, with_opinions(verdicts, named, outcomes), revision=revision, by_model=True)
    return len(missing)


def read_verdicts(warehouse: Warehouse, texts: pl.DataFrame, settings: Settings, *, names: bool) -> pl.DataFrame:
    """The verdicts that count for texts as names, or as keywords.

    Parameters
    ----------
    texts : DataFrame
        From `checked_texts`.
    names : bool
        With a language model in use, its word is needed too: a name that it has said nothing of has no verdict.

    Returns
    -------
    DataFrame
        Columns ``text``, ``outcome``, ``category``, ``reasons``, ``by_term``; a text without a verdict is missing.
    """
    found = _rows_of(warehouse, _OF_TEXTS, texts, revision_of(settings))
    of_policy = ~pl.col("by_model")
    counts = pl.col("by_model") | (pl.col("outcome") == BLOCK) if names and settings.llm.safety else of_policy
    return found.filter(counts).unique("text", keep="any").drop("by_model")


def revision_of(settings: Settings) -> str:
    """The revision of the verdicts that count under these settings."""
    return verdict_revision(settings, load_policy(settings.safety.policy))


def checked_texts(texts: pl.Series) -> pl.DataFrame:
    """The distinct texts in the form in which they are checked: column ``text``."""
    return pl.DataFrame({"text": texts}, schema={"text": pl.String}).select(checked_text(pl.col("text"))).unique()


def _rows_of(warehouse: Warehouse, sql: str, texts: pl.DataFrame, revision: str) -> pl.DataFrame:
    with warehouse.read() as connection:
        connection.register("texts", texts)
        return connection.sql(sql, params={"revision": revision}).pl()


def _with_embeddings(warehouse: Warehouse, texts: pl.DataFrame, model_revision: str) -> Frames:
    """The texts, and those embeddings of them that are there: of keywords, and not of titles."""
    return {"texts": texts, "embeddings": embeddings_of(warehouse, texts["text"], model_revision)}


def _store(warehouse: Warehouse, verdicts: pl.DataFrame, *, revision: str, by_model: bool) -> None:
    with warehouse.write() as connection:
        connection.register(
            "new_rows", verdicts.with_columns(revision=pl.lit(revision), by_model=pl.lit(value=by_model))
        )
        # Another run may have checked some of them meanwhile.
        connection.execute(
            f"insert into {TABLE.name} by name "
            f"select * from new_rows anti join {TABLE.name} using (revision, text, by_model)"
        )


def _report(warehouse: Warehouse, revision: str, checked: int, llm: LLM | None) -> dg.MaterializeResult:
    counts = warehouse.query(
        f"select outcome, coalesce(category, '') as category, count(*) as texts from {TABLE.name} "
        "where revision = $revision and not by_model group by all order by texts desc, outcome, category",
        {"revision": revision},
    )
    flagged = counts.filter(pl.col("outcome") != ALLOW)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": int(counts["texts"].sum()),
            "newly_checked": checked,
            "flagged": int(flagged["texts"].sum()),
            "revision": revision,
            # Counts, not texts: what is flagged is what nobody should stumble upon.
            "sample": dg.MetadataValue.md(markdown_table(counts, max_rows=40)),
            **(llm.usage.figures() if llm is not None else {}),
        },
        check_results=[answered_check(llm.usage)] if llm is not None else None,
    )
