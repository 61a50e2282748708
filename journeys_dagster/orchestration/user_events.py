"""Reading users' events and what their items are about."""

import polars as pl

from journeys_dagster.inference.segments import is_in_order
from journeys_dagster.inference.steps import Frames
from journeys_dagster.orchestration.snapshots import Snapshot

_EVENTS = """
    select user_id, source, action, query, item_id, occurred_at
    from user_events where as_of = $as_of and {of_batch}
"""
_ITEM_KEYWORDS = """
    select item_id, keyword, share
    from item_keywords
    where valid_from <= $as_of
        and valid_until > $as_of
        and item_id in (select item_id from user_events where as_of = $as_of and {of_batch})
"""


def read_events(snapshot: Snapshot, batch: int) -> Frames:
    """``events`` of a batch of users in the order of users and time, and the ``item_keywords`` that were in force."""
    return {
        "events": _in_order(snapshot.read(_EVENTS, batch=batch)),
        "item_keywords": snapshot.read(_ITEM_KEYWORDS, batch=batch),
    }


def _in_order(events: pl.DataFrame) -> pl.DataFrame:
    """By user and time, as the table has them."""
    columns = "user_id", "occurred_at"
    return events if is_in_order(events, *columns) else events.sort(columns, maintain_order=True)
