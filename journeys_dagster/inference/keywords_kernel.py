"""The compiled part of `keywords`. Import this module late: it needs numba.

Events lie in the order of users and time. A user's keyword events are the searches under their query, if they
have one, and the other events under each keyword of their item.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Ints = NDArray[np.int64]

MICROSECONDS_PER_DAY = 86_400_000_000
SEARCH, ENGAGEMENT = 0, 1
NONE = -1


@njit(cache=True, nogil=True, error_model="numpy")
def fill_keyword_events(
    items: Ints, queries: Ints, item_starts: Ints, item_keywords: Ints, users: Ints, places: Ints, rows: Ints
) -> None:
    """Each user's keyword events by keyword and time: ``keyword * events + event``, as one number to be sorted fast.

    Users are the first event of each, `places` the first keyword event of each event.
    """
    events = len(items)
    for user in range(len(users) - 1):
        for event in range(users[user], users[user + 1]):
            place = places[event]
            if items[event] == NONE:
                if queries[event] != NONE:
                    rows[place] = queries[event] * events + event
            else:
                for k in range(item_starts[items[event]], item_starts[items[event] + 1]):
                    rows[place] = item_keywords[k] * events + event
                    place += 1
        rows[places[users[user]] : places[users[user + 1]]].sort()


@njit(cache=True, nogil=True, error_model="numpy")
def count_keywords(rows: Ints, places: Ints, users: Ints, events: int, counts: Ints) -> None:
    """Distinct keywords of each user."""
    for user in range(len(users) - 1):
        counts[user] = 0
        last = NONE
        for row in range(places[users[user]], places[users[user + 1]]):
            keyword = rows[row] // events
            if keyword != last:
                counts[user] += 1
                last = keyword


@njit(cache=True, nogil=True, error_model="numpy")
def remember_item(item: int, time: int, items: Ints, times: Ints, held: int) -> int:
    """Keep the newest distinct items, newest first and of one time the lowest first; returns how many are held."""
    for place in range(held):
        if items[place] == item:
            if times[place] >= time:
                return held
            # It moves up, and is put in again below.
            for k in range(place, held - 1):
                items[k], times[k] = items[k + 1], times[k + 1]
            held -= 1
            break
    place = held
    while place > 0 and (times[place - 1] < time or (times[place - 1] == time and items[place - 1] > item)):
        place -= 1
    if place == len(items):
        return held
    held = min(held + 1, len(items))
    for k in range(held - 1, place, -1):
        items[k], times[k] = items[k - 1], times[k - 1]
    items[place], times[place] = item, time
    return held


@njit(cache=True, nogil=True, error_model="numpy")
def fill_search_results(
    first: int,
    last: int,
    time_ids: Ints,
    sources: Ints,
    items: Ints,
    times: Ints,
    within: int,
    result_items: Ints,
    result_times: Ints,
    results: Ints,
) -> None:
    """The newest items that a user's searches at each time led to: engaged soon after, before the next search.

    No older item can be among a keyword's newest ones. Where a log has days but no times, and for a bot, all of a day's
    searches have one time, and each of them would be paired with all of the day's items.
    """
    search, searched_at = NONE, 0
    event = first
    while event < last:
        next_time, has_search = event, False
        while next_time < last and time_ids[next_time] == time_ids[event]:
            has_search = has_search or sources[next_time] == SEARCH
            next_time += 1
        if has_search:
            search, searched_at = time_ids[event] - time_ids[first], times[event]
            results[search] = 0
        for other in range(event, next_time):
            if sources[other] == ENGAGEMENT and search != NONE and times[other] <= searched_at + within:
                held = int(results[search])
                results[search] = remember_item(
                    items[other], times[other], result_items[search], result_times[search], held
                )
        event = next_time


@njit(cache=True, nogil=True, error_model="numpy")
def fill_keywords(
    rows: Ints,
    places: Ints,
    users: Ints,
    time_ids: Ints,
    sources: Ints,
    actions: Ints,
    items: Ints,
    times: Ints,
    event_weights: Ints,
    within: int,
    outputs: Ints,
    keywords: Ints,
    action_counts: Ints,
    weights: Ints,
    source_sets: Ints,
    days: Ints,
    first_seen: Ints,
    last_seen: Ints,
    recent_times: Ints,
    recent_time_counts: Ints,
    recent_items: Ints,
    recent_item_counts: Ints,
) -> None:
    """The row of each keyword of each user; `outputs` is the first row of each user."""
    events, limit = len(sources), recent_items.shape[1]
    most = 0
    for user in range(len(users) - 1):
        most = max(most, users[user + 1] - users[user])
    result_items = np.empty((most, limit), dtype=np.int64)
    result_times = np.empty((most, limit), dtype=np.int64)
    results = np.empty(most, dtype=np.int64)
    item_times = np.empty(limit, dtype=np.int64)
    for user in range(len(users) - 1):
        first, last = users[user], users[user + 1]
        fill_search_results(first, last, time_ids, sources, items, times, within, result_items, result_times, results)
        output = outputs[user] - 1
        keyword = NONE
        before = 0
        for row in range(places[first], places[last]):
            event = rows[row] % events
            time = times[event]
            if rows[row] // events != keyword:
                keyword = rows[row] // events
                output += 1
                keywords[output] = keyword
                first_seen[output] = time
            if recent_time_counts[output] == 0 or time // MICROSECONDS_PER_DAY != before // MICROSECONDS_PER_DAY:
                days[output] += 1
            if recent_time_counts[output] == 0 or time != before:
                # Rows are in the order of time, so the newest times are a window that moves on.
                if recent_time_counts[output] == limit:
                    # By hand: numba takes seconds to compile an assignment of slices.
                    for k in range(limit - 1):
                        recent_times[output, k] = recent_times[output, k + 1]
                    recent_time_counts[output] -= 1
                recent_times[output, recent_time_counts[output]] = time
                recent_time_counts[output] += 1
            before = time
            last_seen[output] = time
            action_counts[output, actions[event]] += 1
            weights[output] += event_weights[event]
            source_sets[output] |= 1 << sources[event]
            held = int(recent_item_counts[output])
            if sources[event] == SEARCH:
                search = time_ids[event] - time_ids[first]
                for k in range(results[search]):
                    item, met = int(result_items[search, k]), int(result_times[search, k])
                    held = remember_item(item, met, recent_items[output], item_times, held)
            else:
                held = remember_item(int(items[event]), int(time), recent_items[output], item_times, held)
            recent_item_counts[output] = held
