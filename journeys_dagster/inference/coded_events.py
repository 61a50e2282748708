"""Users' events as numbers: what compiled code reads in place of texts."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.inference.segments import segment_starts


@dataclass(frozen=True, kw_only=True)
class CodedEvents:
    """Events in the order of users and of time, with keywords and items as places in sorted lists of their names.

    A keyword event is a search under its query, or another event under one of its item's keywords. A search without a
    query has none.

    Attributes
    ----------
    keywords, item_ids : Series of str
        Distinct and sorted.
    users : array of shape (users + 1,), int64
        First event of each user.
    items, queries : array of shape (events,), int64
        Of each event; -1 for none.
    item_starts, item_keywords : array of int64
        Keywords of each item, one item after the other. An item may have none.
    places : array of shape (events + 1,), int64
        First keyword event of each event.
    """

    keywords: pl.Series
    item_ids: pl.Series
    users: NDArray[np.int64]
    items: NDArray[np.int64]
    queries: NDArray[np.int64]
    item_starts: NDArray[np.int64]
    item_keywords: NDArray[np.int64]
    places: NDArray[np.int64]


def code_events(events: pl.DataFrame, item_keywords: pl.DataFrame) -> CodedEvents:
    """Put numbers in place of texts.

    Parameters
    ----------
    events : DataFrame
        Columns ``user_id``, ``query`` (of searches about a topic) and ``item_id`` (of the others); in the order of
        users.
    item_keywords : DataFrame
        Columns ``item_id`` and ``keyword``, each pair once. Items of no event are left out.
    """
    item_ids = events["item_id"].drop_nulls().unique().sort()
    about = item_keywords.join(item_ids.to_frame("item_id"), on="item_id", how="semi").sort("item_id", "keyword")
    keywords = pl.concat([about["keyword"], events["query"].drop_nulls()]).unique().sort()
    item_starts = np.append(about["item_id"].search_sorted(item_ids), len(about)).astype(np.int64)
    items = codes_of(events["item_id"], item_ids)
    queries = codes_of(events["query"], keywords)
    counts = np.where(items < 0, queries >= 0, item_starts[items + 1] - item_starts[items])
    return CodedEvents(
        keywords=keywords,
        item_ids=item_ids,
        users=segment_starts(events.select("user_id")),
        items=items,
        queries=queries,
        item_starts=item_starts,
        item_keywords=codes_of(about["keyword"], keywords),
        places=np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]),
    )


def codes_of(texts: pl.Series, names: pl.Series) -> NDArray[np.int64]:
    """Place of each text among distinct names; -1 for none."""
    coded = texts.to_frame("name").join(
        names.to_frame("name").with_row_index("code"), on="name", how="left", maintain_order="left"
    )
    return coded["code"].cast(pl.Int64).fill_null(-1).to_numpy(writable=True)
