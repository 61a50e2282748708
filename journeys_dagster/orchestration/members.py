"""Reading the keywords of users' journeys."""

import polars as pl

from journeys_dagster.inference.segments import sort_rows
from journeys_dagster.orchestration.snapshots import Snapshot

_JOURNEYS = """
    select user_id, cluster, journey_id
    from journey_identities where as_of = $as_of and {of_batch}
"""


def read_members(snapshot: Snapshot, batch: int, columns: str) -> dict[str, pl.DataFrame]:
    """``journeys`` of a batch of users, in order, and their ``members``: keywords, by user and keyword.

    Members have the user's cluster, and no text that names their journey; it is found by number. With columns of
    `clusters`, ``keyword`` among them.
    """
    members = f"select user_id, cluster, {columns} from clusters where as_of = $as_of and {{of_batch}}"
    return {
        "journeys": sort_rows(snapshot.read(_JOURNEYS, batch=batch), "user_id", "cluster"),
        "members": sort_rows(snapshot.read(members, batch=batch), "user_id", "keyword"),
    }
