"""Step: which journey each cluster is, day after day."""

import polars as pl

from journeys_dagster.inference import steps
from journeys_dagster.orchestration.snapshots import Snapshot, SnapshotStep
from journeys_dagster.tables import Column

_CURRENT = """
    select user_id, keyword, cluster, weight, first_seen
    from clusters
    where as_of = $as_of and {of_batch}
"""
_PREVIOUS = """
    with newest as (
        select user_id, max(as_of) as as_of
        from journey_identities
        where as_of < $as_of and {of_batch}
        group by user_id
    )
    select user_id, keyword, journey_id
    from journey_identities
    join newest using (as_of, user_id)
    join clusters using (as_of, user_id, cluster)
"""


def read(snapshot: Snapshot, batch: int) -> steps.Frames:
    """The clusters of a batch of users, and the journeys of each user's newest earlier snapshot."""
    current = snapshot.read(_CURRENT, batch=batch)
    if snapshot.warehouse.has_table("journey_identities"):
        previous = snapshot.read(_PREVIOUS, batch=batch)
    else:
        previous = pl.DataFrame(schema={"user_id": pl.String, "keyword": pl.String, "journey_id": pl.String})
    return {"current": current, "previous": previous}


def count(journeys: pl.DataFrame) -> dict[str, float]:
    """How many journeys were continued, and how many are new."""
    continued = int(journeys["continued"].sum())
    return {"continued": continued, "new": len(journeys) - continued}


JOURNEY_IDENTITIES = SnapshotStep(
    name="journey_identities",
    description="The journey that each cluster is: the one it continues from the user's newest earlier snapshot, "
    "or a new one.",
    grain="one row per as_of, user and cluster",
    columns={
        "cluster": Column(type="INTEGER", description="number of the user's cluster"),
        "journey_id": Column(type="VARCHAR", description="stays with the journey from day to day"),
        "continued": Column(type="BOOLEAN", description="whether the user's earlier snapshot had it"),
        "overlap": Column(type="DOUBLE", description="share of the cluster's weight that was in it then, 0 to 1"),
    },
    key=("as_of", "user_id", "journey_id"),
    deps=("clusters", "users_in_scope"),
    kinds=frozenset({"polars"}),
    read=read,
    compute=steps.identify,
    count=count,
)
