"""Pushing a journey down for every similar journey above it."""

import itertools

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.inference.segments import centroids, segment_starts
from journeys_dagster.settings import DiversificationSettings

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
    starts = segment_starts(ranked.select("user_id"))
    occurrence = occurrences_above(vectors, starts, similarity_threshold=similarity_threshold)
    rank = np.arange(1, len(ranked) + 1, dtype=np.int64) - np.repeat(starts[:-1], np.diff(starts))
    return (
        ranked.select(
            "user_id",
            "journey_id",
            rank_before=pl.col("rank").cast(pl.Int32),
            score_before="score",
            occurrence=pl.Series(occurrence),
            user=pl.col("user_id").rle_id(),
        )
        .with_columns(score=pl.col("score_before") * pl.lit(penalty) ** pl.col("occurrence"))
        .sort("user", "score", "rank_before", descending=[False, True, False])
        .with_columns(rank=pl.Series(rank, dtype=pl.Int32))
        .select("user_id", "journey_id", "rank", "score", "rank_before", "score_before", "occurrence")
    )


def select_diverse(
    ranked: pl.DataFrame,
    vectors: NDArray[np.float32],
    *,
    strategy: str,
    diversity: float,
    list_length: int,
    similarity_threshold: float,
) -> pl.DataFrame:
    """Re-rank by maximal marginal relevance, a determinantal point process or sliding spectrum decomposition.

    MMR: Carbonell and Goldstein 1998. DPP: Chen et al. 2018. SSD: Huang et al. 2021. All as in pyversity. A user's
    scores are divided by the highest, so that they compare with cosines. Beyond the list the order stays.

    Parameters
    ----------
    ranked, vectors
        As for `diversify`.
    strategy : {'mmr', 'dpp', 'ssd'}
    diversity : float
        0 keeps the order, 1 looks at diversity only.
    list_length : int
        Places of a user's list that are chosen.
    similarity_threshold : float
        For ``occurrence`` only.

    Returns
    -------
    DataFrame
        As from `diversify`. ``score`` is the score before, lowered to that of the journeys above, so that it still
        falls with the rank.
    """
    import pyversity

    starts = segment_starts(ranked.select("user_id"))
    scores = ranked["score"].to_numpy()
    places = np.arange(len(ranked))
    if diversity > 0:
        for begin, end in itertools.pairwise(starts.tolist()):
            own = scores[begin:end]
            if end - begin > 1 and own[0] > 0:
                chosen = pyversity.diversify(
                    vectors[begin:end], own / own[0], min(list_length, end - begin), strategy, diversity
                ).indices
                rest = np.setdiff1d(np.arange(end - begin), chosen)
                places[begin:end] = begin + np.concatenate([chosen, rest])
    return (
        ranked.select(
            "user_id",
            "journey_id",
            rank_before=pl.col("rank").cast(pl.Int32),
            score_before="score",
            occurrence=pl.Series(occurrences_above(vectors, starts, similarity_threshold=similarity_threshold)),
        )[places]
        .with_columns(
            score=pl.col("score_before").cum_min().over("user_id"),
            rank=(pl.int_range(pl.len()).over("user_id") + 1).cast(pl.Int32),
        )
        .select("user_id", "journey_id", "rank", "score", "rank_before", "score_before", "occurrence")
    )


def ranked_centroids(
    journeys: pl.DataFrame, members: pl.DataFrame, vectors: NDArray[np.float32]
) -> tuple[pl.DataFrame, NDArray[np.float32]]:
    """Users' ranked journeys from the best down, with their centroids.

    Parameters
    ----------
    journeys : DataFrame
        Columns ``user_id``, ``journey_id``, ``rank`` and ``score``, by user; those without a rank are left out.
    members : DataFrame
        Keywords by user and keyword: ``journey`` (row of `journeys`), ``code`` (row of `vectors`), ``weight``.
    vectors : array of shape (keywords, dimensions), float32

    Returns
    -------
    ranked : DataFrame
        ``user_id``, ``rank``, ``journey_id``, ``score``.
    centroids : array of shape (len(ranked), dimensions), float32
    """
    # Those without a rank come last of all, and are cut off.
    ranked = (
        journeys.with_columns(user=pl.col("user_id").rle_id())
        .with_row_index("row")
        .sort(pl.col("rank").is_null(), "user", "rank")
    )
    place_of = np.empty(len(ranked), dtype=np.int64)
    place_of[ranked["row"].to_numpy()] = np.arange(len(ranked))
    places = place_of[members["journey"].to_numpy()]
    # Members come by keyword, and still do within their journey, so that sums have the same bits.
    order = np.argsort(places, kind="stable")
    ranked = ranked.head(ranked["rank"].count()).select("user_id", "rank", "journey_id", "score")
    starts = np.searchsorted(places[order], np.arange(len(ranked) + 1))
    codes, weights = members["code"].to_numpy()[order], members["weight"].to_numpy()[order]
    return ranked, centroids(vectors, codes, weights, starts)


def rerank(
    ranked: pl.DataFrame, vectors: NDArray[np.float32], settings: DiversificationSettings, *, list_length: int
) -> pl.DataFrame:
    """`diversify` or `select_diverse`, whichever the settings say."""
    threshold = settings.similarity_threshold
    if settings.strategy == "penalty":
        return diversify(ranked, vectors, penalty=settings.penalty, similarity_threshold=threshold)
    return select_diverse(
        ranked,
        vectors,
        strategy=settings.strategy,
        diversity=settings.diversity,
        list_length=list_length,
        similarity_threshold=threshold,
    )
