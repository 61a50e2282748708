"""A ranker trained on labelled journeys. Not a part of daily runs; weekly is often enough."""

from datetime import date
from typing import Any

import dagster as dg

from journeys_dagster.orchestration.asset import Run, table_asset
from journeys_dagster.orchestration.checks import promotion_spec
from journeys_dagster.orchestration.metadata import plot
from journeys_dagster.orchestration.timing import TRAINING_GROUP, after_labels
from journeys_dagster.orchestration.training import train_model
from journeys_dagster.reporting.calibration import calibration_curve
from journeys_dagster.reporting.plots import bars
from journeys_dagster.resources.labels import read_labels
from journeys_dagster.resources.trained_models import RANKING_MODEL, keep_ranking_model, ranking_model_in_use
from journeys_dagster.training.ranker import Attempt, attempt_ranker

_SHOWN_FEATURES = 15


@table_asset(
    RANKING_MODEL,
    kinds={"python", "xgboost"},
    group=TRAINING_GROUP,
    deps=["ranking_labels"],
    condition=after_labels,
    checks=[promotion_spec(RANKING_MODEL.name)],
    needs_everyone=True,
)
def ranking_model(run: Run) -> dg.MaterializeResult:
    """Train a ranker, and keep it with its card; it takes over if it beats what is in use."""

    def train() -> tuple[date, Attempt]:
        labels, settings = read_labels(run.warehouse), run.settings
        spans = labels.spans(settings.ranking, horizon_days=settings.ranking.return_days)
        current = ranking_model_in_use(run.warehouse, settings, labels.read_until, before_training_on=True)
        return labels.read_until, attempt_ranker(labels.rows, spans, settings, current=current)

    return train_model(run, train, keep=keep_ranking_model, show=_metadata)


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
        "calibration": plot(curve, alt="stated against observed rates"),
        "importance": plot(shares, alt="feature importance"),
        "card": dg.MetadataValue.json({name: part for name, part in attempt.card.items() if name != "calibration"}),
    }
