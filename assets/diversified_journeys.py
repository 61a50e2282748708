"""Step: similar journeys pushed apart in the list."""

from datetime import date

from journeys_dagster.inference import steps
from journeys_dagster.orchestration.members import read_members
from journeys_dagster.orchestration.snapshots import Snapshot, SnapshotStep
from journeys_dagster.orchestration.vectors import read_embeddings
from journeys_dagster.reporting.plots import before_after
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.tables import Column

_SCORES = "select user_id, journey_id, rank, score from rankings where as_of = $as_of and {of_batch}"


def read(snapshot: Snapshot, batch: int) -> steps.Frames:
    """The ranked journeys of a batch of users, and their keywords."""
    frames = read_members(snapshot, batch, "keyword, weight")
    scores = snapshot.read(_SCORES, batch=batch)
    # A journey without an event that counts any more has no rank.
    ranked = frames["journeys"].join(scores, on=["user_id", "journey_id"], how="left", maintain_order="left")
    return {**frames, "journeys": ranked, "embeddings": read_embeddings(snapshot, frames["members"])}


def draw(warehouse: Warehouse, as_of: date) -> tuple[bytes, str]:
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
        log=True,
    )
    return png, "scores before and after diversification"


DIVERSIFIED_JOURNEYS = SnapshotStep(
    name="diversified_journeys",
    description="Journeys re-ranked: with score × penalty^occurrence, where occurrence counts the similar journeys "
    "ranked above, or by the strategy that is set.",
    grain="one row per as_of, user and journey",
    columns={
        "journey_id": Column(type="VARCHAR", description="the journey"),
        "rank": Column(type="INTEGER", description="place in the user's list, 1 is best"),
        "score": Column(type="DOUBLE", description="score_before × penalty^occurrence; otherwise the lowest so far"),
        "rank_before": Column(type="INTEGER", description="place before"),
        "score_before": Column(type="DOUBLE", description="score before"),
        "occurrence": Column(type="INTEGER", description="similar journeys ranked above before"),
    },
    key=("as_of", "user_id", "journey_id"),
    deps=("rankings", "journey_identities", "clusters", "keyword_embeddings", "users_in_scope"),
    kinds=frozenset({"numpy"}),
    read=read,
    compute=steps.diversify_lists,
    draw=draw,
)
