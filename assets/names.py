"""Step: what each journey is called."""

import polars as pl

from assets.naming_model import NAMING_MODEL
from assets.snapshots import Snapshot, SnapshotStep
from journeys_dagster.inference.naming import name_journeys, with_centrality
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


def compute(snapshot: Snapshot, batch: int) -> pl.DataFrame:
    """Name a batch of users' journeys."""
    keywords = snapshot.read(_KEYWORDS, batch=batch)
    former = snapshot.read(_FORMER, batch=batch) if snapshot.warehouse.has_table("names") else None
    if snapshot.warehouse.has_table(NAMING_MODEL.name):
        known = snapshot.read(_CENTRALITY, batch=batch)
        usual = snapshot.warehouse.query(_USUAL, {"as_of": snapshot.as_of})["usual"][0]
    else:
        known, usual = pl.DataFrame(schema={"keyword": pl.String, "centrality": pl.Float64}), 0.0
    return name_journeys(with_centrality(keywords, known, usual=usual), snapshot.settings.naming, former)


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
    compute=compute,
)
