"""Step: the related journeys that each user is offered."""

import polars as pl

from assets.journey_expansions import JOURNEY_EXPANSIONS
from journeys_dagster.inference import steps
from journeys_dagster.orchestration.snapshots import Snapshot, SnapshotStep
from journeys_dagster.orchestration.vectors import read_embeddings
from journeys_dagster.tables import Column

# Sensitive journeys are no reason to offer anything.
_MEMBERS = """
    select user_id, journey_id, clusters.keyword, weight, names.keyword as journey, confidence
    from user_journeys
    join names using (as_of, user_id, journey_id)
    join journey_identities using (as_of, user_id, journey_id)
    join clusters using (as_of, user_id, cluster)
    where as_of = $as_of and {of_batch} and may_notify
    order by user_id, journey_id, clusters.keyword
"""
_RELATED = f"""
    select * exclude (as_of), related as keyword
    from {JOURNEY_EXPANSIONS.name}
    where as_of = $as_of
        and journey in (select keyword from names where as_of = $as_of and {{of_batch}})
    order by journey, related
"""
_HELD = "select user_id, keyword from keywords where as_of = $as_of and {of_batch}"


def read(snapshot: Snapshot, batch: int) -> steps.Frames:
    """Listed journeys of a batch of users, keyword by keyword; what is related to these; and what the users have."""
    related = snapshot.read(_RELATED, batch=batch)
    # On a home's first day nothing is related to anything, and nothing else need be read.
    limit = " limit 0" if related.is_empty() else ""
    members = snapshot.read(_MEMBERS + limit, batch=batch)
    return {
        "members": members,
        "embeddings": read_embeddings(snapshot, members),
        "held": snapshot.read(_HELD + limit, batch=batch),
        "related": related,
        "related_embeddings": read_embeddings(snapshot, related),
    }


def count(rows: pl.DataFrame) -> dict[str, float]:
    """Users who are offered anything."""
    return {"users_with_expansions": rows["user_id"].n_unique()}


EXPANSIONS = SnapshotStep(
    name="expansions",
    description="Related journeys offered to each user, best first: by relation to their journeys, the ranker's "
    "confidence in these, and how many have it; without what the user already has.",
    grain="one row per as_of, user and related journey",
    columns={
        "rank": Column(type="INTEGER", description="place in the user's list, 1 is best"),
        "related": Column(type="VARCHAR", description="the related journey, by its name's keyword"),
        "score": Column(type="DOUBLE", description="relation × confidence over the user's journeys, and popularity"),
        "because_of": Column(type="VARCHAR", description="the user's journey that counts most, by its name's keyword"),
        "expander": Column(type="VARCHAR", description="what found it; says whether a language model did"),
    },
    key=("as_of", "user_id", "related"),
    deps=(
        *("user_journeys", "names", "journey_identities", "clusters", "keywords", "keyword_embeddings"),
        *(JOURNEY_EXPANSIONS.name, "users_in_scope"),
    ),
    kinds=frozenset({"polars", "numpy"}),
    read=read,
    compute=steps.expand,
    count=count,
)
