"""What each user has been interested in: their events, keyword by keyword."""

from collections.abc import Mapping

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from journeys_dagster.inference.segments import over_segments, segment_starts
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

    items = events["item_id"].drop_nulls().unique().sort()
    item_keywords = item_keywords.filter(pl.col("item_id").is_in(items)).sort("item_id", "keyword")
    names = pl.concat([item_keywords["keyword"], events["query"].drop_nulls()]).unique().sort()
    actions = sorted(action_weights)
    # Starts of each item's keywords; an item may have none.
    item_starts = np.append(item_keywords["item_id"].search_sorted(items), len(item_keywords)).astype(np.int64)
    item_codes = _codes(item_keywords["keyword"], names)

    users = segment_starts(events.select("user_id"))
    event_items, queries = _codes(events["item_id"], items), _codes(events["query"], names)
    event_actions, sources = _codes(events["action"], pl.Series(actions)), _codes(events["source"], pl.Series(SOURCES))
    for column, codes in (("action", event_actions), ("source", sources)):
        if (codes < 0).any():
            unknown = events[column][int(np.argmin(codes))]
            raise ValueError(f"user_events has an event of {column} {unknown!r}, which the settings do not name")
    times = events["occurred_at"].cast(pl.Datetime("us")).to_physical().to_numpy()
    moments = events.select(pl.struct("user_id", "occurred_at").rle_id()).to_series().cast(pl.Int64).to_numpy()

    counts = np.where(event_items < 0, 1, item_starts[event_items + 1] - item_starts[event_items])
    places = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    rows = np.empty(places[-1], dtype=np.int64)
    costs = places[users]
    over_segments(
        costs,
        lambda run: kernel.fill_keyword_events(
            event_items, queries, item_starts, item_codes, users[run.start : run.stop + 1], places, rows
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
    event_weights = unit_weights[event_actions] * _event_shares(event_items, item_keywords, item_starts)
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
            moments,
            sources,
            event_actions,
            event_items,
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
    user_ids = events["user_id"].gather(users[:-1])
    item_places = np.sort(np.where(np.arange(settings.recent_limit) < item_counts[:, None], recent_items, len(items)))
    return pl.DataFrame(
        {
            "user_id": user_ids.gather(np.repeat(np.arange(len(distinct)), distinct)),
            "keyword": names.gather(keywords),
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
            "recent_items": _lists(items.gather(item_places[item_places < len(items)]), item_counts),
        }
    )


def _codes(texts: pl.Series, names: pl.Series) -> NDArray[np.int64]:
    """Place of each text among distinct names; -1 for none."""
    coded = texts.to_frame("name").join(
        names.to_frame("name").with_row_index("code"), on="name", how="left", maintain_order="left"
    )
    return coded["code"].cast(pl.Int64).fill_null(-1).to_numpy()


def _event_shares(
    event_items: NDArray[np.int64], item_keywords: pl.DataFrame, item_starts: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Each event's share for each of its keywords: all of it for a search, else the same for each of the item's."""
    shares = (item_keywords["share"].cast(pl.Float64) * _SHARE_UNIT).round().cast(pl.Int64).to_numpy()
    of_item = np.zeros(len(item_starts) - 1, dtype=np.int64)
    has_keywords = item_starts[1:] > item_starts[:-1]
    of_item[has_keywords] = shares[item_starts[:-1][has_keywords]]
    return np.append(of_item, _SHARE_UNIT)[event_items]


def _datetimes(microseconds: NDArray[np.int64]) -> pl.Series:
    return pl.Series(microseconds).cast(pl.Datetime("us"))


def _lists(values: pl.Series, lengths: NDArray[np.int64]) -> pl.Series:
    """Lists of these lengths, of values that lie one after the other."""
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    lists = pa.LargeListArray.from_arrays(pa.array(offsets), values.to_arrow())
    return pl.Series(pl.from_arrow(lists))


def _maps(names: list[str], counts: NDArray[np.int64]) -> pl.Series:
    """Maps from name to count, of the counts that are not zero."""
    rows, columns = np.nonzero(counts)
    entries = pl.DataFrame(
        {"key": pl.Series(names).gather(columns), "value": counts[rows, columns].astype(np.uint64)}
    ).to_struct()
    return _lists(entries, np.count_nonzero(counts, axis=1)).cast(pl.Map(pl.String, pl.UInt64))
