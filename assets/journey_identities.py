"""Which journey each cluster is, day after day."""

from datetime import date

import polars as pl

from journeys_dagster.inference.frames import Frames
from journeys_dagster.inference.identity import continue_journeys
from journeys_dagster.orchestration.snapshot_asset import snapshot_asset
from journeys_dagster.settings import Settings
from journeys_dagster.tables import boolean, double, integer, text

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


def continued_and_new(journeys: pl.DataFrame) -> dict[str, float]:
    """How many journeys were continued, and how many are new."""
    continued = int(journeys["continued"].sum())
    return {"continued": continued, "new": len(journeys) - continued}


@snapshot_asset(
    grain="one row per as_of, user and cluster",
    columns={
        "cluster": integer("number of the user's cluster"),
        "journey_id": text("stays with the journey from day to day"),
        "continued": boolean("whether the user's earlier snapshot had it"),
        "overlap": double("share of the cluster's weight that was in it then, 0 to 1"),
    },
    key=("as_of", "user_id", "journey_id"),
    reads={"current": _CURRENT, "previous": _PREVIOUS},
    kinds={"polars"},
    count=continued_and_new,
)
def journey_identities(frames: Frames, as_of: date, settings: Settings) -> pl.DataFrame:
    """The journey that each cluster is: the one it continues from the user's newest earlier snapshot, or a new
    one.
    """
    return continue_journeys(frames["current"], frames["previous"])
