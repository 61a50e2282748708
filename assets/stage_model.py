"""Step: a model of whether users come back, which tells ongoing journeys from ended ones. Trained with the ranker."""

from typing import Any

import dagster as dg

from journeys_dagster.inference.fingerprint import step_version
from journeys_dagster.inference.stage_model import FEATURES
from journeys_dagster.orchestration.metadata import (
    OWNER,
    WAREHOUSE_POOL,
    plot,
    promotion_result,
    promotion_spec,
    table_metadata,
)
from journeys_dagster.orchestration.timing import TRAINING_GROUP, after_labels
from journeys_dagster.reporting.plots import bars
from journeys_dagster.reporting.tables import markdown_table
from journeys_dagster.resources.labels import read_labels
from journeys_dagster.resources.trained_models import STAGE_MODEL, keep_stage_model, stage_model_in_use
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import Settings
from journeys_dagster.training.spans import TooFewReturnsError
from journeys_dagster.training.stager import StageAttempt, attempt_stage_model

_COLUMNS = ("as_of", "user_id", "label_source", "labelled_on", "days_to_return")


def build_stage_model() -> dg.AssetsDefinition:
    """The asset."""

    @dg.asset(
        name=STAGE_MODEL.name,
        deps=["ranking_labels"],
        description=f"{STAGE_MODEL.description} Grain: {STAGE_MODEL.grain}.",
        group_name=TRAINING_GROUP,
        automation_condition=after_labels(),
        kinds={"python", "duckdb", "scipy"},
        pool=WAREHOUSE_POOL,
        owners=[OWNER],
        code_version=step_version(__name__),
        metadata=table_metadata(STAGE_MODEL),
        check_specs=[promotion_spec(STAGE_MODEL.name)],
    )
    def stage_model(
        context: dg.AssetExecutionContext, warehouse: Warehouse, settings: dg.ResourceParam[Settings]
    ) -> dg.MaterializeResult:
        try:
            labels = read_labels(warehouse, (*_COLUMNS, *FEATURES))
            spans = labels.spans(settings.ranking, horizon_days=settings.stages.return_days)
            current = stage_model_in_use(warehouse, settings, labels.read_until, before_training_on=True)
            attempt = attempt_stage_model(labels.rows, spans, settings, current=current)
        except TooFewReturnsError as error:
            decision = f"not trained: {error}"
            context.log.warning(decision)
            return dg.MaterializeResult(
                metadata={"decision": decision}, check_results=[promotion_result(decision, promoted=False)]
            )
        keep_stage_model(warehouse, labels.read_until, attempt)
        context.log.info(attempt.decision)
        check = promotion_result(attempt.decision, promoted=attempt.promoted, test=attempt.comparison.table)
        metadata = {"as_of": str(labels.read_until), **_metadata(attempt)}
        return dg.MaterializeResult(metadata=metadata, check_results=[check])

    return stage_model


def _metadata(attempt: StageAttempt) -> dict[str, Any]:
    weights = dict(sorted(attempt.model.weights.items(), key=lambda item: -abs(item[1])))
    png = bars(
        list(weights),
        list(weights.values()),
        title="What speaks for a return",
        x_label="term, on a logarithmic scale",
        y_label="weight",
    )
    return {
        "decision": attempt.decision,
        "promoted": attempt.promoted,
        "model_id": attempt.model.model_id,
        "test": dg.MetadataValue.md(markdown_table(attempt.comparison.table)),
        "weights": plot(png, alt="weights of the terms"),
        "card": dg.MetadataValue.json(attempt.card),
    }
