"""A model of whether users come back, which tells ongoing journeys from ended ones. Trained with the ranker."""

from typing import Any

import dagster as dg

from journeys_dagster.inference.stage_model import FEATURES
from journeys_dagster.orchestration.asset import Run, table_asset
from journeys_dagster.orchestration.checks import promotion_result, promotion_spec
from journeys_dagster.orchestration.metadata import plot
from journeys_dagster.orchestration.timing import TRAINING_GROUP, after_labels
from journeys_dagster.reporting.plots import bars
from journeys_dagster.reporting.tables import markdown_table
from journeys_dagster.resources.labels import read_labels
from journeys_dagster.resources.trained_models import STAGE_MODEL, keep_stage_model, stage_model_in_use
from journeys_dagster.training.spans import TooFewReturnsError
from journeys_dagster.training.stager import StageAttempt, attempt_stage_model

_COLUMNS = ("as_of", "user_id", "label_source", "labelled_on", "days_to_return")


@table_asset(
    STAGE_MODEL,
    kinds={"python", "scipy"},
    group=TRAINING_GROUP,
    deps=["ranking_labels"],
    condition=after_labels,
    checks=[promotion_spec(STAGE_MODEL.name)],
)
def stage_model(run: Run) -> dg.MaterializeResult:
    """Train a stage model, and keep it with its card; it takes over if it beats what is in use."""
    try:
        labels = read_labels(run.warehouse, (*_COLUMNS, *FEATURES))
        spans = labels.spans(run.settings.ranking, horizon_days=run.settings.stages.return_days)
        current = stage_model_in_use(run.warehouse, run.settings, labels.read_until, before_training_on=True)
        attempt = attempt_stage_model(labels.rows, spans, run.settings, current=current)
    except TooFewReturnsError as error:
        decision = f"not trained: {error}"
        run.warn(decision)
        return dg.MaterializeResult(
            metadata={"decision": decision}, check_results=[promotion_result(decision, promoted=False)]
        )
    keep_stage_model(run.warehouse, labels.read_until, attempt)
    run.log(attempt.decision)
    check = promotion_result(attempt.decision, promoted=attempt.promoted, test=attempt.comparison.table)
    metadata = {"as_of": str(labels.read_until), **_metadata(attempt)}
    return dg.MaterializeResult(metadata=metadata, check_results=[check])


def _metadata(attempt: StageAttempt) -> dict[str, Any]:
    weights = dict(sorted(attempt.model.weights.items(), key=lambda item: -abs(item[1])))
    png = bars(
        list(weights),
        list(weights.values()),
        title="Weights of the stage model",
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
