"""Step: a ranker trained on what users came back to. Not a part of daily runs; weekly is often enough."""

from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from assets.reporting import OWNER, plot, table_metadata
from journeys_dagster.inference.algorithm import STEP_CODE_VERSIONS
from journeys_dagster.inference.embedding import TextEmbedder
from journeys_dagster.reporting.calibration import calibration_curve
from journeys_dagster.reporting.plots import bars
from journeys_dagster.reporting.tables import markdown_table
from journeys_dagster.resources.ranking_models import TABLE, keep_model, model_in_use
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import Settings
from journeys_dagster.sources.contracts import declared_sources
from journeys_dagster.training.history import History, KeywordVectors
from journeys_dagster.training.ranker import Attempt, TooFewReturnsError, attempt_ranker, training_spans
from journeys_dagster.training.replay import return_examples

_SAMPLE = """
    select user_id from (select distinct user_id from user_activity where arrival_day <= $as_of)
    order by md5(user_id), user_id limit $users
"""
_NEWEST_DAY = "select max(arrival_day) as day from user_activity"
_SHOWN_FEATURES = 15


class TrainingConfig(dg.Config):
    """When to train: `as_of` is the last day whose rows are seen, as YYYY-MM-DD; the newest day where it is empty."""

    as_of: str = ""


def build_ranking_model() -> dg.AssetsDefinition:
    """The asset."""

    @dg.asset(
        name=TABLE.name,
        deps=["keyword_events", "user_activity", "keyword_embeddings"],
        description=f"{TABLE.description} Grain: {TABLE.grain}.",
        group_name="training",
        kinds={"python", "duckdb", "xgboost"},
        owners=[OWNER],
        code_version=STEP_CODE_VERSIONS[TABLE.name],
        metadata=table_metadata(TABLE),
    )
    def ranking_model(
        context: dg.AssetExecutionContext,
        config: TrainingConfig,
        warehouse: Warehouse,
        settings: dg.ResourceParam[Settings],
        embedder: dg.ResourceParam[TextEmbedder],
    ) -> dg.MaterializeResult:
        newest: date | None = warehouse.query(_NEWEST_DAY)["day"][0]
        if newest is None:
            raise dg.Failure("there is no user activity to train on: take in landing days first", allow_retries=False)
        as_of = date.fromisoformat(config.as_of) if config.as_of else newest
        history = sampled_history(warehouse, settings, as_of)
        try:
            spans = training_spans(*history.span, settings)
            vectors = KeywordVectors(embedder)
            vectors.remember(_known_vectors(warehouse, embedder.revision))
            examples = return_examples(
                history,
                spans.days,
                settings,
                vectors,
                progress=lambda done: context.log.info(f"past snapshots computed again: {done:.0%}"),
            )
            current = model_in_use(warehouse, as_of, before_training_on=True)
            attempt = attempt_ranker(examples, spans, settings, current=current)
        except TooFewReturnsError as error:
            context.log.warning(f"no model was trained: {error}")
            return dg.MaterializeResult(metadata={"decision": f"not trained: {error}", "as_of": str(as_of)})
        keep_model(warehouse, as_of, attempt)
        context.log.info(attempt.decision)
        return dg.MaterializeResult(metadata=_metadata(attempt, as_of))

    return ranking_model


def sampled_history(warehouse: Warehouse, settings: Settings, as_of: date) -> History:
    """What a fixed sample of users did until a day, in memory."""
    params = {"as_of": as_of, "users": settings.ranking.max_training_users}
    frames = {}
    for name, source in declared_sources(tuple(settings.keywords.action_weights)).items():
        if name != "items" and not source.user_activity:
            continue
        only = f" and user_id in ({_SAMPLE})" if source.user_activity else ""
        used = params if only else {"as_of": as_of}
        frames[name] = warehouse.query(f"from {name} where arrival_day <= $as_of{only}", used)
    return History(frames, settings)


def _known_vectors(warehouse: Warehouse, revision: str) -> pl.DataFrame:
    return warehouse.query(
        "select keyword, embedding from keyword_embeddings where model_revision = $revision order by keyword",
        {"revision": revision},
    )


def _metadata(attempt: Attempt, as_of: date) -> dict[str, Any]:
    importance = list(attempt.trained.importance.items())[:_SHOWN_FEATURES]
    shares = bars(
        [name for name, _ in importance],
        [share for _, share in importance],
        title=f"What the ranker looks at, {as_of}",
        x_label="feature",
        y_label="share of the gain",
    )
    curve = calibration_curve(attempt.calibration, title=f"Calibration on the test snapshots, {as_of}")
    return {
        "decision": attempt.decision,
        "promoted": attempt.promoted,
        "model_id": attempt.trained.model.model_id,
        "as_of": str(as_of),
        "test": dg.MetadataValue.md(markdown_table(attempt.comparison.table)),
        "calibration": plot(curve, alt="stated against observed rates"),
        "importance": plot(shares, alt="feature importance"),
        "card": dg.MetadataValue.json({name: part for name, part in attempt.card.items() if name != "calibration"}),
    }
