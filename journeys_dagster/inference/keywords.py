"""What each user has been interested in: their events, keyword by keyword."""

from collections.abc import Mapping

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from journeys_dagster.inference.coded_events import CodedEvents, code_events, codes_of
from journeys_dagster.inference.segments import over_segments
from journeys_dagster.settings.algorithm import KeywordSettings

SOURCES = ("search", "engagement", "board")
"""In the order of their numbers in the kernel."""

_MICROSECONDS_PER_MINUTE = 60_000_000
# Whole numbers add up to the same sum in any order; floats would not.
_WEIGHT_UNIT = 10_000
_SHARE_UNIT = 1_000_000
_SETS_OF_SOURCES = pl.Series(
    [sorted(name for number, name in enumerate(SOURCES) if 1 << number & chosen) for chosen in range(1 << len(SOURCES))]
)


def collect_keywords(
    events: pl.DataFrame, item_keywords: pl.DataFrame, action_weights: Mapping[str, float], settings: KeywordSettings
) -> pl.DataFrame:
    """Count and weigh each user's keywords: searched texts, and what the items are about that they engaged with.

    Parameters
    ----------
    events : DataFrame
        Columns ``user_id``, ``source``, ``action``, ``query`` (of searches), ``item_id`` (of the others),
        ``occurred_at`` (datetime, µs); each event once, in the order of users and of time.
    item_keywords : DataFrame
        Columns ``item_id``, ``keyword``, ``share`` (of the event's weight, 0 to 1; the same for each
        of an item's keywords), each item and keyword once.
    action_weights : mapping of str to float
        Weight of one event of each action.

    Returns
    -------
    DataFrame
        Columns of `keywords` but for those that every snapshot has, and ``user_id``; sorted by user and keyword.

    Raises
    ------
    ValueError
        An event is of an action without a weight, or of an unknown source.
    """
    from journeys_dagster.inference import keywords_kernel as kernel

    coded = code_events(events, item_keywords)
    users, places = coded.users, coded.places
    actions = sorted(action_weights)
    event_actions, sources = (
        codes_of(events["action"], pl.Series(actions)),
        codes_of(events["source"], pl.Series(SOURCES)),
    )
    for column, codes in (("action", event_actions), ("source", sources)):
        if (codes < 0).any():
            unknown = events[column][int(np.argmin(codes))]
            raise ValueError(f"user_events has an event of {column} {unknown!r}, which the settings do not name")
    times = events["occurred_at"].cast(pl.Datetime("us")).to_physical().to_numpy(writable=True)
    time_ids = (
        events.select(pl.struct("user_id", "occurred_at").rle_id()).to_series().cast(pl.Int64).to_numpy(writable=True)
    )

    rows = np.empty(places[-1], dtype=np.int64)
    costs = places[users]
    over_segments(
        costs,
        lambda run: kernel.fill_keyword_events(
            coded.items,
            coded.queries,
            coded.item_starts,
            coded.item_keywords,
            users[run.start : run.stop + 1],
            places,
            rows,
        ),
    )
    distinct = np.empty(len(users) - 1, dtype=np.int64)
    over_segments(
        costs,
        lambda run: kernel.count_keywords(rows, places, users[run.start : run.stop + 1], len(events), distinct[run]),
    )
    outputs = np.concatenate([[0], np.cumsum(distinct)])
    found = int(outputs[-1])

    unit_weights = np.array([round(action_weights[action] * _WEIGHT_UNIT) for action in actions], dtype=np.int64)
    event_weights = unit_weights[event_actions] * _event_shares(coded, item_keywords)
    keywords, weights, source_sets, days, first_seen, last_seen, time_counts, item_counts = np.zeros(
        (8, found), dtype=np.int64
    )
    action_counts = np.zeros((found, len(actions)), dtype=np.int64)
    recent_times, recent_items = np.empty((2, found, settings.recent_limit), dtype=np.int64)
    over_segments(
        costs,
        lambda run: kernel.fill_keywords(
            rows,
            places,
            users[run.start : run.stop + 1],
            time_ids,
            sources,
            event_actions,
            coded.items,
            times,
            event_weights,
            settings.search_result_minutes * _MICROSECONDS_PER_MINUTE,
            outputs[run.start : run.stop + 1],
            keywords,
            action_counts,
            weights,
            source_sets,
            days,
            first_seen,
            last_seen,
            recent_times,
            time_counts,
            recent_items,
            item_counts,
        ),
    )
    absent = len(coded.item_ids)
    user_ids = events["user_id"].gather(users[:-1])
    item_places = np.sort(np.where(np.arange(settings.recent_limit) < item_counts[:, None], recent_items, absent))
    return pl.DataFrame(
        {
            "user_id": user_ids.gather(np.repeat(np.arange(len(distinct)), distinct)),
            "keyword": coded.keywords.gather(keywords),
            "sources": _SETS_OF_SOURCES.gather(source_sets),
            "action_counts": _maps(actions, action_counts),
            "events": action_counts.sum(axis=1),
            "weight": weights / (_WEIGHT_UNIT * _SHARE_UNIT),
            "first_seen": _datetimes(first_seen),
            "last_seen": _datetimes(last_seen),
            "days_active": days.astype(np.int32),
            "recent_times": _lists(
                _datetimes(recent_times[np.arange(settings.recent_limit) < time_counts[:, None]]), time_counts
            ),
            "recent_items": _lists(coded.item_ids.gather(item_places[item_places < absent]), item_counts),
        }
    )


def _event_shares(coded: CodedEvents, item_keywords: pl.DataFrame) -> NDArray[np.int64]:
    """Each event's share for each of its keywords: all of it for a search, else the same for each of the item's."""
    of_item = item_keywords.group_by("item_id").agg(pl.col("share").first().cast(pl.Float64))
    shares = coded.item_ids.to_frame("item_id").join(of_item, on="item_id", how="left", maintain_order="left")["share"]
    units = (shares * _SHARE_UNIT).round().fill_null(0).cast(pl.Int64).to_numpy()
    # The place -1 of a search is the last one.
    return np.append(units, _SHARE_UNIT)[coded.items]


def _datetimes(microseconds: NDArray[np.int64]) -> pl.Series:
    return pl.Series(microseconds).cast(pl.Datetime("us"))


def _lists(values: pl.Series, lengths: NDArray[np.int64]) -> pl.Series:
    """Lists of these lengths, of values that lie one after the other."""
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    # To make an array of NumPy's numbers, pyarrow imports pandas where it is installed.
    offsets = pa.Array.from_buffers(pa.int64(), len(offsets), [None, pa.py_buffer(offsets)])
    lists = pa.LargeListArray.from_arrays(offsets, values.to_arrow())
    return pl.Series(pl.from_arrow(lists))


def _maps(names: list[str], counts: NDArray[np.int64]) -> pl.Series:
    """Maps from name to count, of the counts that are not zero."""
    rows, columns = np.nonzero(counts)
    entries = pl.DataFrame(
        {"key": pl.Series(names).gather(columns), "value": counts[rows, columns].astype(np.uint64)}
    ).to_struct()
    return _lists(entries, np.count_nonzero(counts, axis=1)).cast(pl.Map(pl.String, pl.UInt64))
