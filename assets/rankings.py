"""Step: how likely the user is in the middle of each journey."""

from datetime import date

from journeys_dagster.inference import steps
from journeys_dagster.orchestration.snapshots import Snapshot, SnapshotStep
from journeys_dagster.reporting.plots import histogram
from journeys_dagster.resources.trained_models import RANKING_MODEL, stored_model
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.tables import Column

_JOURNEYS = """
    select user_id, journey_id, weight, last_seen
    from journey_engagement where as_of = $as_of and {of_batch}
    order by user_id, journey_id
"""
_FEATURES = """
    from journey_features where as_of = $as_of and {of_batch} order by user_id, journey_id
"""


def read(snapshot: Snapshot, batch: int) -> steps.Frames:
    """The journeys of a batch of users, and the model in use with their features where there is one that fits."""
    journeys = snapshot.read(_JOURNEYS, batch=batch)
    model = stored_model(snapshot.warehouse, snapshot.settings, RANKING_MODEL, snapshot.as_of)
    if model is None:
        return {"journeys": journeys}
    return {"journeys": journeys, "features": snapshot.read(_FEATURES, batch=batch), "model": model}


def draw(warehouse: Warehouse, as_of: date) -> tuple[bytes, str]:
    """Distribution of confidence."""
    confidence = warehouse.query("select confidence from rankings where as_of = $as_of", {"as_of": as_of})
    png = histogram(
        confidence["confidence"],
        title=f"Confidence, {as_of}",
        x_label="confidence",
        y_label="journeys",
        integer=False,
    )
    return png, "histogram of confidence"


RANKINGS = SnapshotStep(
    name="rankings",
    description="Score and confidence of each journey; `ranker` says what gave them.",
    grain="one row per as_of, user and journey",
    columns={
        "journey_id": Column(type="VARCHAR", description="the journey"),
        "rank": Column(type="INTEGER", description="place in the user's list before diversification, 1 is best"),
        "score": Column(type="DOUBLE", description="the model's, or frequency × exp(−recency / decay)"),
        "confidence": Column(
            type="DOUBLE",
            description="0 to 1: the model's probability of a return, or score / (score + half)",
        ),
        "frequency": Column(type="DOUBLE", description="weighted number of events"),
        "recency_days": Column(type="DOUBLE", description="days from the last event to the end of as_of"),
        "ranker": Column(type="VARCHAR", description="heuristic, or the id of the model"),
    },
    key=("as_of", "user_id", "journey_id"),
    deps=("journey_engagement", "journey_features", "ranking_model", "users_in_scope"),
    kinds=frozenset({"xgboost"}),
    read=read,
    is_heavy=True,
    compute=steps.rank,
    model=RANKING_MODEL,
    draw=draw,
)
