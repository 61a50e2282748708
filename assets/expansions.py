"""Step: the related journeys that each user is offered."""

import polars as pl

from assets.journey_expansions import JOURNEY_EXPANSIONS
from assets.snapshots import Snapshot, SnapshotStep
from assets.vectors import read_with_vectors
from journeys_dagster.inference.expansions import EXPANDER, expand_users
from journeys_dagster.inference.segments import centroids, segment_starts
from journeys_dagster.tables import Column

# Sensitive journeys are no reason to offer anything.
_MEMBERS = """
    select user_id, journey_id, clusters.keyword, weight, names.keyword as journey, confidence
    from user_journeys
    join names using (as_of, user_id, journey_id)
    join journey_identities using (as_of, user_id, journey_id)
    join clusters using (as_of, user_id, cluster)
    join keywords on keywords.as_of = clusters.as_of and keywords.user_id = clusters.user_id
        and keywords.keyword = clusters.keyword
    where as_of = $as_of and user_id in {users} and may_notify
    order by user_id, journey_id, clusters.keyword
"""
_RELATED = f"""
    select * exclude (as_of, expander), related as keyword
    from {JOURNEY_EXPANSIONS.name}
    where as_of = $as_of
        and journey in (select keyword from names where as_of = $as_of and user_id in {{users}})
    order by journey, related
"""
_HELD = "select user_id, keyword from keywords where as_of = $as_of and user_id in {users}"


def compute(snapshot: Snapshot, batch: int) -> pl.DataFrame:
    """Offer a batch of users what is related to their journeys."""
    members, vectors = read_with_vectors(snapshot, snapshot.read(_MEMBERS, batch=batch))
    starts = segment_starts(members.select("user_id", "journey_id"))
    centres = centroids(vectors, members["code"].to_numpy(), members["weight"].to_numpy(), starts)
    journeys = members.select("user_id", "journey", "confidence")[starts[:-1]]
    related, near = read_with_vectors(snapshot, snapshot.read(_RELATED, batch=batch))
    held = snapshot.read(_HELD, batch=batch)
    offered = expand_users(journeys, centres, related, near, held=held, settings=snapshot.settings.expansions)
    snapshot.note("users_with_expansions", offered["user_id"].n_unique())
    return offered.with_columns(expander=pl.lit(EXPANDER))


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
    compute=compute,
)
