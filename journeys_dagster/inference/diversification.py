"""Pushing a journey down for every similar journey above it."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.inference.segments import segment_starts

ROWS_AT_ONCE = 512
"""Rows of 384 numbers that fit into a core's cache together; thousands at once take five times as long."""


def occurrences_above(
    vectors: NDArray[np.float32], starts: NDArray[np.int64], *, similarity_threshold: float
) -> NDArray[np.int32]:
    """How many similar journeys each journey has above it in its user's list.

    Parameters
    ----------
    vectors : array of shape (journeys, dimensions), float32
        Unit vectors, each user's journeys from the best down.
    starts : array of shape (users + 1,), int64
        First journey of each user, see `segment_starts`.
    similarity_threshold : float
        Cosine from which two journeys are similar.

    Returns
    -------
    array of shape (journeys,), int32
    """
    occurrences = np.zeros(len(vectors), dtype=np.int32)
    lengths = np.diff(starts)
    for length in np.unique(lengths[lengths > 1]):
        # Users with equally many journeys form one stack; matmul treats each of them by itself.
        rows = starts[:-1][lengths == length][:, None] + np.arange(length)
        users_at_once = max(1, ROWS_AT_ONCE // length)
        for begin in range(0, len(rows), users_at_once):
            block = rows[begin : begin + users_at_once]
            stack = vectors[block]
            similar = np.matmul(stack, stack.transpose(0, 2, 1)) >= similarity_threshold
            occurrences[block] = np.tril(similar, k=-1).sum(axis=2, dtype=np.int32)
    return occurrences


def diversify(
    ranked: pl.DataFrame, vectors: NDArray[np.float32], *, penalty: float, similarity_threshold: float
) -> pl.DataFrame:
    """Re-rank with ``score_i *= penalty ** occurrence_i``, one pass over the original order.

    From "Identify User Journeys at Pinterest" (Pinterest Engineering, 2025): ``occurrence_i`` is the number of
    similar journeys ranked above i before re-ranking.

    Parameters
    ----------
    ranked : DataFrame
        Columns ``user_id``, ``journey_id``, ``rank`` (int, 1 is best), ``score`` (float64), sorted by user and rank.
    vectors : array of shape (len(ranked), dimensions), float32
        Unit vector of each journey.
    penalty : float
        Factor per similar journey above, in (0, 1].

    Returns
    -------
    DataFrame
        Columns ``user_id``, ``journey_id``, ``rank`` (int32), ``score`` (float64) after; ``rank_before``,
        ``score_before``, ``occurrence`` (int32); sorted by user and rank. Equal scores keep their order.
    """
    occurrence = occurrences_above(
        vectors, segment_starts(ranked.select("user_id")), similarity_threshold=similarity_threshold
    )
    return (
        ranked.select(
            "user_id",
            "journey_id",
            rank_before=pl.col("rank").cast(pl.Int32),
            score_before="score",
            occurrence=pl.Series(occurrence),
        )
        .with_columns(score=pl.col("score_before") * pl.lit(penalty) ** pl.col("occurrence"))
        .sort("user_id", "score", "rank_before", descending=[False, True, False])
        .with_columns(rank=(pl.int_range(pl.len()).over("user_id") + 1).cast(pl.Int32))
        .select("user_id", "journey_id", "rank", "score", "rank_before", "score_before", "occurrence")
    )
