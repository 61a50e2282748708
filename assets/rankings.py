"""How sure each journey is one, how likely the user comes back to it, and the order that follows."""

from datetime import date

import polars as pl

from journeys_dagster.inference.confidence import with_confidence
from journeys_dagster.inference.frames import Frames
from journeys_dagster.inference.ranking import rank_by_heuristic, rank_by_model
from journeys_dagster.inference.ranking_model import ranking_model
from journeys_dagster.orchestration.snapshot_asset import Snapshot, snapshot_asset
from journeys_dagster.reporting.plots import histogram
from journeys_dagster.resources.trained_models import RANKING_MODEL, stored_model
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import Settings
from journeys_dagster.sources.parameters import action_names
from journeys_dagster.tables import double, integer, text

_JOURNEYS = """
    select user_id, journey_id, weight, search_count + action_count as events, keywords, cohesion, days_active,
        first_seen, last_seen
    from journey_engagement where as_of = $as_of and {of_batch}
    order by user_id, journey_id
"""
_FEATURES = """
    from journey_features where as_of = $as_of and {of_batch} order by user_id, journey_id
"""


def model_that_fits(snapshot: Snapshot, batch: int, frames: dict[str, pl.DataFrame]) -> Frames:
    """The model in use, with the features of the journeys, where there is one that fits."""
    model = stored_model(snapshot.warehouse, snapshot.settings, RANKING_MODEL, snapshot.as_of)
    return frames if model is None else {**frames, "features": snapshot.read(_FEATURES, batch=batch), "model": model}


def confidences(warehouse: Warehouse, as_of: date) -> tuple[bytes, str]:
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


@snapshot_asset(
    grain="one row per as_of, user and journey",
    columns={
        "journey_id": text("the journey"),
        "rank": integer("place in the user's list before diversification, 1 is best"),
        "score": double("what the model says, or how much, how often and how lately; less where it is not sure"),
        "confidence": double("0 to 1: how sure it is that this is one journey of this person"),
        "return_probability": double(
            "0 to 1: that the user comes back within ranking.return_days; by the model, or a rule of thumb"
        ),
        "frequency": double("weighted number of events"),
        "recency_days": double("days from the last event to the end of as_of"),
        "ranker": text("heuristic, or the id of the model"),
    },
    key=("as_of", "user_id", "journey_id"),
    reads={"journeys": _JOURNEYS},
    read=model_that_fits,
    deps=("journey_features",),
    model=RANKING_MODEL,
    kinds={"xgboost"},
    heavy=True,
    plot=confidences,
)
def rankings(frames: Frames, as_of: date, settings: Settings) -> pl.DataFrame:
    """Score, confidence and probability of a return of each journey; `ranker` says what gave score and probability."""
    journeys = with_confidence(frames["journeys"], as_of=as_of)
    sure_from = settings.output.min_confidence
    if "model" in frames:
        model, actions = ranking_model(frames["model"]), action_names(settings)
        return rank_by_model(journeys, frames["features"], model, as_of=as_of, actions=actions, sure_from=sure_from)
    return rank_by_heuristic(journeys, as_of=as_of, sure_from=sure_from)
