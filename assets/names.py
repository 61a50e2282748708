"""Step: what each journey is called."""

import polars as pl

from assets.naming_model import NAMING_MODEL
from assets.snapshots import Snapshot, SnapshotStep
from journeys_dagster.inference import steps
from journeys_dagster.tables import Column

_KEYWORDS = """
    select user_id, journey_id, keyword, weight, events, sources, centroid_similarity
    from clusters
    join journey_identities using (as_of, user_id, cluster)
    join keywords using (as_of, user_id, keyword)
    where as_of = $as_of and user_id in {users}
"""
_FORMER = """
    with newest as (
        select user_id, max(as_of) as as_of
        from names
        where as_of < $as_of and user_id in {users}
        group by user_id
    )
    select user_id, journey_id, keyword from names join newest using (as_of, user_id)
"""
_CENTRALITY = """
    select keyword, centrality
    from naming_model
    where as_of <= $as_of
        and keyword in (select keyword from clusters where as_of = $as_of and user_id in {users})
"""
_USUAL = "select coalesce(max(usual), 0.0) as usual from naming_model where as_of <= $as_of"


def read(snapshot: Snapshot, batch: int) -> steps.Frames:
    """The journeys of a batch of users, keyword by keyword, and what is known for naming them."""
    frames = {"keywords": snapshot.read(_KEYWORDS, batch=batch)}
    if snapshot.warehouse.has_table("names"):
        frames["former"] = snapshot.read(_FORMER, batch=batch)
    if snapshot.warehouse.has_table(NAMING_MODEL.name):
        frames["centrality"] = snapshot.read(_CENTRALITY, batch=batch)
        frames["usual"] = snapshot.warehouse.query(_USUAL, {"as_of": snapshot.as_of})
    else:
        frames["centrality"] = pl.DataFrame(schema={"keyword": pl.String, "centrality": pl.Float64})
        frames["usual"] = pl.DataFrame({"usual": [0.0]})
    return frames


NAMES = SnapshotStep(
    name="names",
    description="Name of each journey: its best keyword by closeness to its centroid, centrality in everyone's "
    "journeys, frequency, source and readability; distinct within a user.",
    grain="one row per as_of, user and journey",
    columns={
        "journey_id": Column(type="VARCHAR", description="the journey"),
        "name": Column(type="VARCHAR", description="how to call it"),
        "keyword": Column(type="VARCHAR", description="the keyword the name was made from"),
        "centrality": Column(
            type="DOUBLE", description="how central the keyword is in everyone's journeys; 0 before models are trained"
        ),
        "name_score": Column(type="DOUBLE", description="how good a name the keyword is, 0 to 1"),
    },
    key=("as_of", "user_id", "journey_id"),
    deps=("clusters", "journey_identities", "keywords", "naming_model", "users_in_scope"),
    kinds=frozenset({"polars"}),
    read=read,
    compute=steps.name,
)
