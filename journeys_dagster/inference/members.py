"""Which journey each keyword of a user is in, by number: to join or group texts takes many times as long."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.inference.coded_events import codes_of
from journeys_dagster.inference.segments import segment_starts

_JOURNEY = ["user_id", "journey_id"]


def journey_of_members(members: pl.DataFrame, journeys: pl.DataFrame) -> NDArray[np.int64]:
    """The row of `journeys` that each member is in.

    Parameters
    ----------
    members : DataFrame
        Columns ``user_id`` and ``cluster`` (int), each user's rows together, users in order.
    journeys : DataFrame
        The same columns, sorted: each user's clusters from 0 on.

    Returns
    -------
    array of shape (members,), int64

    Raises
    ------
    ValueError
        Users or clusters are not the same, as where one table was materialised without the other.
    """
    starts, of_users = segment_starts(journeys.select("user_id")), segment_starts(members.select("user_id"))
    sizes, clusters = np.diff(starts), members["cluster"].to_numpy()
    first_rows = np.repeat(starts[:-1], sizes)
    if (
        not journeys["user_id"].gather(starts[:-1]).equals(members["user_id"].gather(of_users[:-1]))
        or (journeys["cluster"].to_numpy() != np.arange(len(journeys)) - first_rows).any()
        or (clusters >= np.repeat(sizes, np.diff(of_users))).any()
    ):
        raise ValueError("clusters and journeys are of different runs: materialise journey_identities again")
    return np.repeat(starts[:-1], np.diff(of_users)) + clusters


def with_journeys(members: pl.DataFrame, journeys: pl.DataFrame) -> pl.DataFrame:
    """Members with ``journey`` from `journey_of_members` in place of user and cluster."""
    journey = pl.Series(journey_of_members(members, journeys))
    return members.drop("user_id", "cluster").with_columns(journey=journey)


def number_journeys(members: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The distinct journeys of some rows, and the rows with the number of theirs.

    Parameters
    ----------
    members : DataFrame
        Columns ``user_id`` and ``journey_id``; others are kept.

    Returns
    -------
    journeys : DataFrame
        Columns ``user_id`` and ``journey_id``, sorted.
    members : DataFrame
        In the same order, with ``journey`` (int64), the row of `journeys`.
    """
    journeys = members.select(_JOURNEY).unique().sort(_JOURNEY)
    numbered = members.join(journeys.with_row_index("journey"), on=_JOURNEY, how="left", maintain_order="left")
    return journeys, numbered.cast({"journey": pl.Int64})


def number_groups(users: NDArray[np.int64], numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number the distinct pairs of a user and a number of theirs, in order and without gaps.

    Parameters
    ----------
    users : array of shape (rows,), int64
        From 0, without gaps.
    numbers : array of shape (rows,), int64
        At least 0, such as clusters. Memory grows with each user's largest.

    Returns
    -------
    array of shape (rows,), int64
    """
    sizes = np.zeros(users.max(initial=-1) + 1, dtype=np.int64)
    np.maximum.at(sizes, users, numbers + 1)
    places = (np.cumsum(sizes) - sizes)[users] + numbers
    is_used = np.zeros(sizes.sum(), dtype=np.bool_)
    is_used[places] = True
    return (np.cumsum(is_used) - 1)[places]


def number_words(keywords: pl.Series) -> tuple[pl.DataFrame, NDArray[np.int64]]:
    """The distinct keywords in order, column ``keyword``, and the row of each one's: users share many.

    Returns
    -------
    words : DataFrame
    codes : array of shape (keywords,), int64
    """
    words = keywords.unique().sort()
    return words.to_frame("keyword"), codes_of(keywords, words)


def whole_millionths(weights: pl.Series) -> NDArray[np.int64]:
    """Weights as numbers that add up to the same sum in any order."""
    return (weights * 1e6).round().cast(pl.Int64).to_numpy()


def journey_weight_units(keywords: pl.DataFrame, journeys: int) -> NDArray[np.int64]:
    """How heavy each journey's keywords are together, in whole millionths.

    Parameters
    ----------
    keywords : DataFrame
        Columns ``journey`` (int64) and ``weight``.
    """
    journey_weights = np.zeros(journeys, dtype=np.int64)
    np.add.at(journey_weights, keywords["journey"].to_numpy(), whole_millionths(keywords["weight"]))
    return journey_weights
