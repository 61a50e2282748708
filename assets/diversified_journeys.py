"""Similar journeys pushed apart in the list."""

from datetime import date

import polars as pl

from journeys_dagster.inference.diversification import ranked_centroids, rerank
from journeys_dagster.inference.frames import Frames, with_codes
from journeys_dagster.inference.members import with_journeys
from journeys_dagster.orchestration.reads import JOURNEYS, members, members_in_order, read_embeddings
from journeys_dagster.orchestration.snapshot_asset import Snapshot, snapshot_asset
from journeys_dagster.reporting.plots import before_after
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import Settings
from journeys_dagster.tables import double, integer, text

_SCORES = "select user_id, journey_id, rank, score from rankings where as_of = $as_of and {of_batch}"


def ranked_with_vectors(snapshot: Snapshot, batch: int, frames: dict[str, pl.DataFrame]) -> Frames:
    """Journeys with their rank, in order, and the vectors of their keywords."""
    ordered = members_in_order(frames)
    # A journey without an event that counts any more has no rank.
    ranked = ordered["journeys"].join(frames["scores"], on=["user_id", "journey_id"], how="left", maintain_order="left")
    return {
        "journeys": ranked,
        "members": ordered["members"],
        "embeddings": read_embeddings(snapshot, ordered["members"]),
    }


def scores_before_and_after(warehouse: Warehouse, as_of: date) -> tuple[bytes, str]:
    """Scores before and after."""
    scores = warehouse.query(
        "select score_before, score from diversified_journeys where as_of = $as_of order by user_id, rank",
        {"as_of": as_of},
    )
    png = before_after(
        scores["score_before"],
        scores["score"],
        title=f"Score before and after diversification, {as_of}",
        x_label="score before",
        y_label="score after",
    )
    return png, "scores before and after diversification"


@snapshot_asset(
    grain="one row per as_of, user and journey",
    columns={
        "journey_id": text("the journey"),
        "rank": integer("place in the user's list, 1 is best"),
        "score": double("score_before × penalty^occurrence; otherwise the lowest so far"),
        "rank_before": integer("place before"),
        "score_before": double("score before"),
        "occurrence": integer("similar journeys ranked above before"),
    },
    key=("as_of", "user_id", "journey_id"),
    reads={"journeys": JOURNEYS, "members": members("keyword, weight"), "scores": _SCORES},
    read=ranked_with_vectors,
    deps=("keyword_embeddings",),
    kinds={"numpy"},
    plot=scores_before_and_after,
)
def diversified_journeys(frames: Frames, as_of: date, settings: Settings) -> pl.DataFrame:
    """Journeys re-ranked: with score × penalty^occurrence, where occurrence counts the similar journeys ranked
    above, or by the strategy that is set.
    """
    members_of, vectors = with_codes(with_journeys(frames["members"], frames["journeys"]), frames["embeddings"])
    ranked, centroids = ranked_centroids(frames["journeys"], members_of, vectors)
    return rerank(ranked, centroids, settings.diversification, list_length=settings.output.max_journeys_per_user)
