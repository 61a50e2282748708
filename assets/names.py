"""Step: what each journey is called."""

import polars as pl

from assets.snapshots import Snapshot, SnapshotStep
from journeys_dagster.inference.naming import name_journeys
from journeys_dagster.tables import Column

_KEYWORDS = """
    select user_id, journey_id, keyword, weight, centroid_similarity
    from clusters
    join journey_identities using (as_of, user_id, cluster)
    join keywords using (as_of, user_id, keyword)
    where as_of = $as_of and user_id in {users}
"""


def compute(snapshot: Snapshot, batch: int) -> pl.DataFrame:
    """Name a batch of users' journeys."""
    settings = snapshot.settings.naming
    return name_journeys(
        snapshot.read(_KEYWORDS, batch=batch),
        closeness_weight=settings.closeness_weight,
        keyword_weight=settings.keyword_weight,
        readability_weight=settings.readability_weight,
    )


NAMES = SnapshotStep(
    name="names",
    description="Name of each journey: its best keyword by closeness to the centroid, weight and readability; "
    "distinct within a user.",
    grain="one row per as_of, user and journey",
    columns={
        "journey_id": Column(type="VARCHAR", description="the journey"),
        "name": Column(type="VARCHAR", description="how to call it"),
        "keyword": Column(type="VARCHAR", description="the keyword the name was made from"),
        "name_score": Column(type="DOUBLE", description="how good a name the keyword is, 0 to 1"),
    },
    key=("as_of", "user_id", "journey_id"),
    deps=("clusters", "journey_identities", "keywords", "users_in_scope"),
    kinds=frozenset({"polars"}),
    compute=compute,
)
