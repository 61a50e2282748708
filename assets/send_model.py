"""A model of opens and clicks, which says what a send is worth. Trained with the ranker, once there is feedback."""

from datetime import date
from typing import Any

import dagster as dg

from journeys_dagster.notification.features import FEATURES
from journeys_dagster.notification.sends import OUTCOMES
from journeys_dagster.orchestration.asset import Run, table_asset
from journeys_dagster.orchestration.checks import promotion_spec
from journeys_dagster.orchestration.metadata import plot
from journeys_dagster.orchestration.timing import TRAINING_GROUP, after_labels
from journeys_dagster.orchestration.training import train_model
from journeys_dagster.reporting.calibration import calibration_curve
from journeys_dagster.reporting.plots import bars
from journeys_dagster.resources.labels import labels_read_until
from journeys_dagster.resources.trained_models import SEND_MODEL, keep_send_model, send_model_in_use
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import Settings
from journeys_dagster.training.sender import SendAttempt, attempt_send_model
from journeys_dagster.training.spans import TooFewReturnsError

_SENDS = f"""
    with known as ({OUTCOMES})
    select known.user_id, known.day, known.opened, known.clicked, unnest(features)
    from known join notification_sends using (send_id)
    where features is not null
"""
_SHOWN_FEATURES = 15
_EVER = date(1970, 1, 1)


@table_asset(
    SEND_MODEL,
    kinds={"python", "xgboost"},
    group=TRAINING_GROUP,
    sql=[_SENDS],
    deps=["ranking_labels"],
    condition=after_labels,
    checks=[promotion_spec(SEND_MODEL.name)],
    decides=False,
    only_with=lambda settings: settings.notifications.enabled,
    needs_everyone=True,
)
def send_model(run: Run) -> dg.MaterializeResult:
    """Train a model of sends, and keep it with its card; it takes over if it beats the rule and what is in use."""

    def train() -> tuple[date, SendAttempt]:
        as_of = labels_read_until(run.warehouse)
        return as_of, attempt(run.warehouse, run.settings, as_of)

    return train_model(run, train, keep=keep_send_model, show=_metadata)


def attempt(warehouse: Warehouse, settings: Settings, as_of: date) -> SendAttempt:
    """Train on what was sent, and what had arrived of it, until a day."""
    if not warehouse.has_table("notification_sends"):
        raise TooFewReturnsError("nothing has been exported to be sent yet")
    chosen = settings.notifications
    sends = warehouse.query(_SENDS, {"as_of": as_of, "since": _EVER, "feedback_days": chosen.feedback_days})
    current = send_model_in_use(warehouse, settings, as_of, before_training_on=True)
    columns = ("user_id", "day", "opened", "clicked", *FEATURES)
    return attempt_send_model(sends.select(columns), chosen, known_until=as_of, current=current)


def _metadata(attempt: SendAttempt, as_of: date) -> dict[str, Any]:
    importance = list(attempt.importance.items())[:_SHOWN_FEATURES]
    shares = bars(
        [name for name, _ in importance],
        [share for _, share in importance],
        title=f"What the model of sends looks at, {as_of}",
        x_label="feature",
        y_label="share of the gain",
    )
    curve = calibration_curve(attempt.calibration, title=f"Clicks stated and observed on the newest sends, {as_of}")
    return {
        "calibration": plot(curve, alt="stated against observed rates"),
        "importance": plot(shares, alt="feature importance"),
        "card": dg.MetadataValue.json(attempt.card),
    }
