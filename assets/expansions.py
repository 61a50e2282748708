"""The related journeys that each user is offered."""

from datetime import date

import polars as pl

from journeys_dagster.inference.expansions import expand_users
from journeys_dagster.inference.frames import Frames, with_codes
from journeys_dagster.inference.segments import centroids, segment_starts
from journeys_dagster.orchestration.reads import read_embeddings
from journeys_dagster.orchestration.snapshot_asset import Snapshot, snapshot_asset
from journeys_dagster.settings import Settings
from journeys_dagster.sql.models import tables_of
from journeys_dagster.tables import double, integer, text

# Sensitive journeys are no reason to offer anything.
_MEMBERS = """
    select user_id, journey_id, clusters.keyword, weight, names.keyword as journey, return_probability
    from user_journeys
    join names using (as_of, user_id, journey_id)
    join journey_identities using (as_of, user_id, journey_id)
    join clusters using (as_of, user_id, cluster)
    where as_of = $as_of and {of_batch} and may_notify
    union all
    -- Nothing is offered because of what a user does not want to see, nor anything that is near it.
    select user_id, journey_id, clusters.keyword, weight, names.keyword as journey, null as return_probability
    from unwanted_journeys
    join names using (as_of, user_id, journey_id)
    join journey_identities using (as_of, user_id, journey_id)
    join clusters using (as_of, user_id, cluster)
    where as_of = $as_of and {of_batch}
    order by user_id, journey_id, clusters.keyword
"""
_RELATED = """
    select * exclude (as_of), related as keyword
    from journey_expansions
    where as_of = $as_of
        and journey in (select keyword from names where as_of = $as_of and {of_batch})
    order by journey, related
"""
_HELD = """
    select user_id, keyword from keywords where as_of = $as_of and {of_batch}
    union
    select user_id, about as keyword
    from controls_in_force
    where control = 'not_interested' and valid_from <= $as_of and $as_of < valid_until and {of_batch}
"""


def members_and_held(snapshot: Snapshot, batch: int, frames: dict[str, pl.DataFrame]) -> Frames:
    """Listed and unwanted journeys of a batch of users, keyword by keyword, and what the users have already or are not
    interested in.
    """
    related = frames["related"]
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


def users_offered(rows: pl.DataFrame) -> dict[str, float]:
    """Users who are offered anything."""
    return {"users_with_expansions": rows["user_id"].n_unique()}


@snapshot_asset(
    grain="one row per as_of, user and related journey",
    columns={
        "rank": integer("place in the user's list, 1 is best"),
        "related": text("the related journey, by its name's keyword"),
        "score": double("relation × probability of a return over the user's journeys, and popularity"),
        "because_of": text("the user's journey that adds most, by its name's keyword"),
        "expander": text("what found it: co-occurrence, or a language model's name"),
    },
    key=("as_of", "user_id", "related"),
    reads={"related": _RELATED},
    read=members_and_held,
    deps=(*tables_of(_MEMBERS, _HELD), "keyword_embeddings"),
    kinds={"polars", "numpy"},
    count=users_offered,
    of_every_user=False,
)
def expansions(frames: Frames, as_of: date, settings: Settings) -> pl.DataFrame:
    """Related journeys offered to each user, best first: by relation to their journeys, the probability of a return to
    these, and how many have it; without what the user already has or does not want to see.
    """
    members, vectors = with_codes(frames["members"], frames["embeddings"])
    starts = segment_starts(members.select("user_id", "journey_id"))
    centres = centroids(vectors, members["code"].to_numpy(), members["weight"].to_numpy(), starts)
    journeys = members.select("user_id", "journey", "return_probability")[starts[:-1]]
    related, near = with_codes(frames["related"], frames["related_embeddings"])
    return expand_users(journeys, centres, related, near, held=frames["held"], settings=settings.expansions)
