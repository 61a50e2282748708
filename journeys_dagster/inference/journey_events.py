"""Which events belong to which journeys."""

import numpy as np
import polars as pl

from journeys_dagster.inference.coded_events import code_events, codes_of
from journeys_dagster.inference.segments import over_segments, segment_starts


def events_of_journeys(
    events: pl.DataFrame, item_keywords: pl.DataFrame, journeys: pl.DataFrame, members: pl.DataFrame
) -> pl.DataFrame:
    """Put each user's events under the journeys that their keywords are in.

    Parameters
    ----------
    events : DataFrame
        Columns ``user_id``, ``source``, ``action``, ``query``, ``item_id``, ``occurred_at``; each event once, in the
        order of users.
    item_keywords : DataFrame
        Columns ``item_id`` and ``keyword``, each pair once.
    journeys : DataFrame
        Columns ``user_id`` and ``journey_id``.
    members : DataFrame
        Columns ``user_id``, ``keyword`` and ``journey`` (int64, row of `journeys`): the keywords of each user's
        journeys, each in one of them.

    Returns
    -------
    DataFrame
        Columns ``user_id``, ``journey_id``, ``source``, ``action``, ``occurred_at``. An event with several keywords of
        a journey is there once; one with keywords of several journeys under each of them.
    """
    from journeys_dagster.inference.journey_events_kernel import fill_journeys

    coded = code_events(events, item_keywords)
    user_ids = events["user_id"].gather(coded.users[:-1])
    of_users = segment_starts(members.select("user_id"))
    users = np.repeat(codes_of(members["user_id"].gather(of_users[:-1]), user_ids), np.diff(of_users))
    keywords = codes_of(members["keyword"], coded.keywords)
    # A user or a keyword without an event has no part in it.
    known = np.flatnonzero((keywords >= 0) & (users >= 0))
    known = known[np.argsort(users[known], kind="stable")]
    starts = np.searchsorted(users[known], np.arange(len(user_ids) + 1))
    member_keywords, member_journeys = keywords[known], members["journey"].to_numpy()[known]
    attributed = np.empty(coded.places[-1], dtype=np.int64)
    over_segments(
        coded.places[coded.users],
        lambda run: fill_journeys(
            coded.users[run.start : run.stop + 1],
            coded.items,
            coded.queries,
            coded.item_starts,
            coded.item_keywords,
            coded.places,
            starts[run.start : run.stop + 1],
            member_keywords,
            member_journeys,
            len(coded.keywords),
            attributed,
        ),
    )
    found = attributed >= 0
    event = np.repeat(np.arange(len(events)), np.diff(coded.places))[found]
    return events.select("user_id", "source", "action", "occurred_at")[event].select(
        "user_id", journeys["journey_id"].gather(attributed[found]), "source", "action", "occurred_at"
    )
