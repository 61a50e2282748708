"""A model of whether users come back, which tells ongoing journeys from ended ones. Trained with the ranker."""

from datetime import date
from typing import Any

import dagster as dg

from journeys_dagster.inference.stage_model import FEATURES
from journeys_dagster.orchestration.asset import Run, table_asset
from journeys_dagster.orchestration.checks import promotion_spec
from journeys_dagster.orchestration.metadata import plot
from journeys_dagster.orchestration.timing import TRAINING_GROUP, after_labels
from journeys_dagster.orchestration.training import train_model
from journeys_dagster.reporting.plots import bars
from journeys_dagster.resources.labels import read_labels
from journeys_dagster.resources.trained_models import STAGE_MODEL, keep_stage_model, stage_model_in_use
from journeys_dagster.training.stager import StageAttempt, attempt_stage_model

_COLUMNS = ("as_of", "user_id", "label_source", "labelled_on", "days_to_return")


@table_asset(
    STAGE_MODEL,
    kinds={"python", "scipy"},
    group=TRAINING_GROUP,
    deps=["ranking_labels"],
    condition=after_labels,
    checks=[promotion_spec(STAGE_MODEL.name)],
    needs_everyone=True,
)
def stage_model(run: Run) -> dg.MaterializeResult:
    """Train a stage model, and keep it with its card; it takes over if it beats what is in use."""

    def train() -> tuple[date, StageAttempt]:
        labels, settings = read_labels(run.warehouse, (*_COLUMNS, *FEATURES)), run.settings
        spans = labels.spans(settings.ranking, horizon_days=settings.stages.return_days)
        current = stage_model_in_use(run.warehouse, settings, labels.read_until, before_training_on=True)
        return labels.read_until, attempt_stage_model(labels.rows, spans, settings, current=current)

    return train_model(run, train, keep=keep_stage_model, show=_metadata)


def _metadata(attempt: StageAttempt, as_of: date) -> dict[str, Any]:
    weights = dict(sorted(attempt.model.weights.items(), key=lambda item: -abs(item[1])))
    png = bars(
        list(weights),
        list(weights.values()),
        title=f"Weights of the stage model, {as_of}",
        x_label="term, on a logarithmic scale",
        y_label="weight",
    )
    return {
        "weights": plot(png, alt="weights of the terms"),
        "card": dg.MetadataValue.json(attempt.card),
    }
