"""Whether each distinct name and keyword may be shown, told once per policy, model and settings."""

from contextlib import closing
from functools import partial

import dagster as dg
import polars as pl

from journeys_dagster.inference.embedding import TextEmbedder, english_embedder
from journeys_dagster.inference.frames import Frames
from journeys_dagster.inference.llm_safety import SAFETY_PROMPT, SafetyAnswer, safety_inputs, with_opinions
from journeys_dagster.inference.safety import check_frame, checked_text, verdict_revision
from journeys_dagster.inference.safety_classifier import safety_classifier
from journeys_dagster.inference.safety_policy import ALLOW, BLOCK, load_policy
from journeys_dagster.inference.spelling import misspelt, respelt
from journeys_dagster.llm.client import LLM
from journeys_dagster.llm.prompts import load_prompt
from journeys_dagster.orchestration.asset import Run, table_asset
from journeys_dagster.orchestration.reads import SPELLINGS, embeddings_of
from journeys_dagster.reporting.tables import markdown_table
from journeys_dagster.resources.engine import engine_in_use
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import Settings
from journeys_dagster.tables import Table, boolean, double, text, texts

TABLE = Table(
    name="safety_verdicts",
    kind="kept",
    description="Whether each distinct name and keyword, as typed and in the spelling to show, may be shown, by the "
    "policy, and as a name by a language model too where one is asked; decided once per policy, model and settings.",
    grain="one row per revision and text, and one more for a name that a language model was asked about",
    columns={
        "revision": text("policy, model that reads and settings"),
        "text": text("a name or keyword in lower case"),
        "outcome": text("allow; unknown (not covered by the policy) or quiet: never notified; block: not listed"),
        "category": text("the policy's category; null where allowed", nullable=True),
        "reasons": texts("what was found in each category, in the policy's words"),
        "by_term": boolean("whether a term decided, and not the classifier alone"),
        "by_model": boolean("whether a language model was asked too; only names are"),
        "probability": double("the classifier's, that it is in any category"),
    },
    key=("revision", "text", "by_model"),
)

_SHOWN = """
    with users as (select user_id from users_in_scope where as_of = $as_of)

    select name as text, true as is_name from names where as_of = $as_of and user_id in (from users)
    union
    select keyword, false from clusters where as_of = $as_of and user_id in (from users)
"""
_SHOWN_OF_SHARDS = "select distinct text, is_name from parts"
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


@table_asset(
    TABLE,
    kinds={"python", "pytorch"},
    sql=[_SHOWN, SPELLINGS],
    deps=["keyword_embeddings"],
    needs=frozenset({"embedder"}),
    llm=("safety",),
    gathers=True,
)
def safety_verdicts(run: Run) -> dg.MaterializeResult:
    """Check the names and keywords that have no verdict yet, and the spellings in which keywords may be shown."""
    warehouse, settings = run.warehouse, run.settings
    checked = 0
    for day in run.days:
        shown = run.of_users(_SHOWN, {"as_of": day}, merge=_SHOWN_OF_SHARDS)
        names = shown.filter("is_name")["text"]
        usual = respelt(pl.col("text"), misspelt(warehouse.query(SPELLINGS, {"as_of": day})))
        texts = pl.concat([shown["text"], shown.filter(~pl.col("is_name")).select(usual)["text"]])
        checked += check_new_texts(warehouse, settings, run.vectors, texts, names=names, llm=run.llm)
    policy = load_policy(settings.safety.policy)
    run.log(f"{checked} new texts checked by policy {policy.revision}")
    return _report(warehouse, verdict_revision(settings, policy), checked)


def check_new_texts(
    warehouse: Warehouse,
    settings: Settings,
    embedder: TextEmbedder,
    texts: pl.Series,
    *,
    names: pl.Series,
    llm: LLM | None,
) -> int:
    """Decide and store the verdicts on texts that have none yet; return their number.

    Parameters
    ----------
    names : Series of str
        Those of the texts that the language model is asked about too, where there is one. What it says of a text counts
        where the text is a name, and not where it is a keyword: else a verdict would depend on what was asked before.
    """
    policy = load_policy(settings.safety.policy)
    revision = verdict_revision(settings, policy)
    warehouse.create_missing([TABLE])
    missing = _rows_of(warehouse, _MISSING, checked_texts(texts), revision)
    if not missing.is_empty():
        english = english_embedder(embedder)
        check = partial(
            check_frame,
            embedder=english,
            policy=policy,
            classifier=safety_classifier(policy, english),
            settings=settings.safety,
        )
        shards = missing.iter_slices(settings.run.keywords_per_batch)
        batches = (_with_embeddings(warehouse, shard, english.revision) for shard in shards)
        with closing(engine_in_use(settings, warehouse).map(check, batches)) as checked_batches:
            for verdicts in checked_batches:
                _store(warehouse, verdicts, revision=revision, by_model=False)
    if llm is not None:
        asked = _rows_of(warehouse, _WITHOUT_OPINION, checked_texts(names), revision)
        for verdicts in asked.iter_slices(settings.run.keywords_per_batch):
            named = verdicts["text"].to_list()
            outcomes = llm.complete(load_prompt(SAFETY_PROMPT), safety_inputs(named, policy), SafetyAnswer)
            _store(warehouse, with_opinions(verdicts, named, outcomes), revision=revision, by_model=True)
    return len(missing)


def read_verdicts(warehouse: Warehouse, texts: pl.DataFrame, settings: Settings, *, names: bool) -> pl.DataFrame:
    """The verdicts that apply to texts as names, or as keywords.

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


def _report(warehouse: Warehouse, revision: str, checked: int) -> dg.MaterializeResult:
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
        }
    )
