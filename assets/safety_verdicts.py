"""Step: whether each distinct name and keyword may be shown, told once per policy, model and settings."""

from datetime import date

import dagster as dg
import numpy as np
import polars as pl
from numpy.typing import NDArray

from assets.reporting import OWNER, WAREHOUSE_POOL, table_metadata
from journeys_dagster.inference.algorithm import STEP_CODE_VERSIONS
from journeys_dagster.inference.embedding import TextEmbedder
from journeys_dagster.inference.safety import checked_text, judge_texts, verdict_revision
from journeys_dagster.inference.safety_classifier import SafetyClassifier, safety_classifier
from journeys_dagster.inference.safety_policy import ALLOW, Policy, load_policy
from journeys_dagster.reporting.tables import markdown_table
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import SafetySettings, Settings
from journeys_dagster.tables import Column, Table

TABLE = Table(
    name="safety_verdicts",
    description="Whether each distinct name and keyword may be shown, by the policy; told once per policy, model and "
    "settings.",
    grain="one row per revision and text",
    columns={
        "revision": Column(type="VARCHAR", description="policy, embedding model and settings"),
        "text": Column(type="VARCHAR", description="a name or keyword in lower case"),
        "outcome": Column(type="VARCHAR", description="allow, quiet (never notified) or block (not listed)"),
        "category": Column(type="VARCHAR", description="the policy's category; null where allowed", nullable=True),
        "reasons": Column(type="VARCHAR[]", description="what was found in each category, in the policy's words"),
        "probability": Column(type="DOUBLE", description="that it is in any category, by its meaning alone"),
    },
    key=("revision", "text"),
)

_TEXTS_PER_WRITE = 16_384
_SHOWN = """
    with users as (select user_id from users_in_scope where as_of = $as_of)

    select name as text from names where as_of = $as_of and user_id in (from users)
    union
    select keyword from clusters where as_of = $as_of and user_id in (from users)
"""
_MISSING = """
    select texts.text, keyword_embeddings.embedding
    from texts
    left join keyword_embeddings
        on keyword_embeddings.keyword = texts.text and keyword_embeddings.model_revision = $model_revision
    where texts.text not in (select text from safety_verdicts where revision = $revision)
    order by texts.text
"""


def build_safety_verdicts(*, partitions_def: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The asset."""

    @dg.asset(
        name=TABLE.name,
        deps=["names", "clusters", "keyword_embeddings", "users_in_scope"],
        partitions_def=partitions_def,
        backfill_policy=dg.BackfillPolicy.single_run(),
        description=f"{TABLE.description} Grain: {TABLE.grain}.",
        group_name="inference",
        kinds={"python", "duckdb", "pytorch"},
        pool=WAREHOUSE_POOL,
        owners=[OWNER],
        code_version=STEP_CODE_VERSIONS[TABLE.name],
        metadata=table_metadata(TABLE),
    )
    def safety_verdicts(
        context: dg.AssetExecutionContext,
        warehouse: Warehouse,
        settings: dg.ResourceParam[Settings],
        embedder: dg.ResourceParam[TextEmbedder],
    ) -> dg.MaterializeResult:
        checked = 0
        for partition_key in context.partition_keys:
            shown = warehouse.query(_SHOWN, {"as_of": date.fromisoformat(partition_key)})
            checked += check_new_texts(warehouse, settings, embedder, shown["text"])
        policy = load_policy(settings.safety.policy)
        revision = verdict_revision(settings, policy)
        context.log.info(f"{checked} new texts checked by policy {policy.revision}")
        return _report(warehouse, revision, checked)

    return safety_verdicts


def check_new_texts(warehouse: Warehouse, settings: Settings, embedder: TextEmbedder, texts: pl.Series) -> int:
    """Tell the verdicts on texts that have none yet, and keep them; how many these were."""
    policy = load_policy(settings.safety.policy)
    revision = verdict_revision(settings, policy)
    missing = _missing(warehouse, texts, revision, embedder.revision)
    if not missing.is_empty():
        classifier = safety_classifier(policy, embedder)
        for rows in missing.iter_slices(_TEXTS_PER_WRITE):
            _store(warehouse, revision, _judged(rows, embedder, policy, classifier, settings.safety))
    return len(missing)


def _missing(warehouse: Warehouse, texts: pl.Series, revision: str, embedder_revision: str) -> pl.DataFrame:
    """Texts that have no verdict yet, with their embeddings where there are any."""
    checked = pl.DataFrame({"text": texts}, schema={"text": pl.String}).select(checked_text(pl.col("text"))).unique()
    with warehouse.write() as connection:
        connection.execute(TABLE.create_sql())
        connection.register("texts", checked)
        return connection.sql(_MISSING, params={"revision": revision, "model_revision": embedder_revision}).pl()


def _judged(
    texts: pl.DataFrame, embedder: TextEmbedder, policy: Policy, classifier: SafetyClassifier, settings: SafetySettings
) -> pl.DataFrame:
    """Verdicts, with the embeddings that are there and new ones for the others."""
    vectors = np.full((len(texts), len(classifier.weights)), np.nan, dtype=np.float32)
    is_new = texts["embedding"].is_null().to_numpy()
    vectors[is_new] = embedder.embed(texts.filter(pl.Series(is_new))["text"].to_list())
    vectors[~is_new] = _as_matrix(texts["embedding"].drop_nulls(), vectors.shape[1])
    return judge_texts(texts["text"], vectors, policy, classifier, settings)


def _as_matrix(embeddings: pl.Series, width: int) -> NDArray[np.float32]:
    if embeddings.is_empty():
        return np.zeros((0, width), dtype=np.float32)
    flat = embeddings.explode(empty_as_null=True, keep_nulls=True).to_numpy()
    return np.asarray(flat, dtype=np.float32).reshape(len(embeddings), width)


def _store(warehouse: Warehouse, revision: str, verdicts: pl.DataFrame) -> None:
    with warehouse.write() as connection:
        connection.register("new_rows", verdicts.with_columns(revision=pl.lit(revision)))
        # Another run may have checked some of them meanwhile.
        connection.execute(
            f"insert into {TABLE.name} by name select * from new_rows anti join {TABLE.name} using (revision, text)"
        )


def _report(warehouse: Warehouse, revision: str, checked: int) -> dg.MaterializeResult:
    counts = warehouse.query(
        f"select outcome, coalesce(category, '') as category, count(*) as texts from {TABLE.name} "
        "where revision = $revision group by all order by texts desc, outcome, category",
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
