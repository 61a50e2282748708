"""The compiled part of `journey_events`. Import this module late: it needs numba."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Ints = NDArray[np.int64]

NONE = -1


@njit(cache=True, nogil=True, error_model="numpy")
def fill_journeys(
    users: Ints,
    items: Ints,
    queries: Ints,
    item_starts: Ints,
    item_keywords: Ints,
    places: Ints,
    member_starts: Ints,
    member_keywords: Ints,
    member_journeys: Ints,
    distinct: int,
    journeys: Ints,
) -> None:
    """The journey of each keyword event, or none; of an event with several keywords of a journey only once.

    Members are the keywords of each user's journeys, out of so many `distinct` ones.
    """
    journey_of = np.full(distinct, NONE)
    for user in range(len(users) - 1):
        members = range(member_starts[user], member_starts[user + 1])
        for member in members:
            journey_of[member_keywords[member]] = member_journeys[member]
        for event in range(users[user], users[user + 1]):
            first = place = places[event]
            if items[event] == NONE:
                if queries[event] != NONE:
                    journeys[place] = journey_of[queries[event]]
                continue
            for k in range(item_starts[items[event]], item_starts[items[event] + 1]):
                journey = journey_of[item_keywords[k]]
                for other in range(first, place):
                    if journeys[other] == journey:
                        journey = NONE
                        break
                journeys[place] = journey
                place += 1
        for member in members:
            journey_of[member_keywords[member]] = NONE
