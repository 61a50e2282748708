"""Step: which of a user's events belong to which journey."""

from journeys_dagster.inference import steps
from journeys_dagster.orchestration.members import read_members
from journeys_dagster.orchestration.snapshots import Snapshot, SnapshotStep
from journeys_dagster.orchestration.user_events import read_events
from journeys_dagster.tables import Column


def read(snapshot: Snapshot, batch: int) -> steps.Frames:
    """The events of a batch of users, what their items are about, and the keywords of their journeys."""
    return {**read_events(snapshot, batch), **read_members(snapshot, batch, "keyword")}


JOURNEY_EVENTS = SnapshotStep(
    name="journey_events",
    description="The events of each journey; one with several keywords of a journey counts once.",
    grain="one row per as_of, user, journey and event",
    columns={
        "journey_id": Column(type="VARCHAR", description="the journey"),
        "source": Column(type="VARCHAR", description="search, engagement or board"),
        "action": Column(type="VARCHAR", description="search, board, or the engagement's action"),
        "occurred_at": Column(type="TIMESTAMP", description="when it happened, UTC"),
    },
    key=(),
    deps=("clusters", "item_keywords", "journey_identities", "user_events", "users_in_scope"),
    kinds=frozenset({"numba"}),
    read=read,
    is_heavy=True,
    compute=steps.attribute_events,
)
