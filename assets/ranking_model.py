"""A ranker trained on labelled journeys. Not a part of daily runs; weekly is often enough."""

from datetime import date
from typing import Any

import dagster as dg

from journeys_dagster.orchestration.asset import Run, table_asset
from journeys_dagster.orchestration.checks import promotion_result, promotion_spec
from journeys_dagster.orchestration.metadata import plot
from journeys_dagster.orchestration.timing import TRAINING_GROUP, after_labels
from journeys_dagster.reporting.calibration import calibration_curve
from journeys_dagster.reporting.plots import bars
from journeys_dagster.reporting.tables import markdown_table
from journeys_dagster.resources.labels import read_labels
from journeys_dagster.resources.trained_models import RANKING_MODEL, keep_ranking_model, ranking_model_in_use
from journeys_dagster.training.ranker import Attempt, attempt_ranker
from journeys_dagster.training.spans import TooFewReturnsError

_SHOWN_FEATURES = 15


@table_asset(
    RANKING_MODEL,
    kinds={"python", "xgboost"},
    group=TRAINING_GROUP,
    deps=["ranking_labels"],
    condition=after_labels,
    checks=[promotion_spec(RANKING_MODEL.name)],
)
def ranking_model(run: Run) -> dg.MaterializeResult:
    """Train a ranker, and keep it with its card; it takes over if it beats what is in use."""
    try:
        labels = read_labels(run.warehouse)
        spans = labels.spans(run.settings.ranking, horizon_days=run.settings.ranking.return_days)
        current = ranking_model_in_use(run.warehouse, run.settings, labels.read_until, before_training_on=True)
        attempt = attempt_ranker(labels.rows, spans, run.settings, current=current)
    except TooFewReturnsError as error:
        decision = f"not trained: {error}"
        run.warn(decision)
        return dg.MaterializeResult(
            metadata={"decision": decision}, check_results=[promotion_result(decision, promoted=False)]
        )
    as_of = labels.read_until
    keep_ranking_model(run.warehouse, as_of, attempt)
    run.log(attempt.decision)
    check = promotion_result(attempt.decision, promoted=attempt.promoted, test=attempt.comparison.table)
    return dg.MaterializeResult(metadata=_metadata(attempt, as_of), check_results=[check])


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
