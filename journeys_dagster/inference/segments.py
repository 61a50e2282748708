"""Tables of (user, …) rows in CSR form: rows sorted by user, and where each user starts."""

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl
from numpy.typing import NDArray

_CHUNKS_PER_THREAD = 16


def sort_rows(rows: pl.DataFrame, *columns: str) -> pl.DataFrame:
    """Sort by columns that have few distinct values, such as users and keywords, in half of the time.

    One number for the ranks of all columns is compared in place of texts. The products of how many distinct values
    there are must stay below 2 ** 63. Nulls are not allowed; equal rows keep no order.
    """
    if is_in_order(rows, *columns):
        return rows.rechunk()
    key = pl.zeros(len(rows), dtype=pl.Int64, eager=True)
    for column in columns:
        ranks = _ranks(rows[column])
        key = key * (int(ranks.max() or 0) + 1) + ranks  # type: ignore[arg-type]
    return rows.rechunk()[key.arg_sort()]


def is_in_order(rows: pl.DataFrame, *columns: str) -> bool:
    """Whether rows are sorted by columns; to look takes a tenth of the time of sorting."""
    first, *others = columns
    runs = rows[first].rle()
    if not runs.struct.field("value").is_sorted():
        return False
    # The start of a segment is found by number, so that few texts are compared.
    is_same = np.ones(len(rows), dtype=np.bool_)
    is_same[np.cumsum(runs.struct.field("len").to_numpy(), dtype=np.int64)[:-1]] = False
    for column in others:
        follows = rows.select(
            before=pl.col(column) < pl.col(column).shift(), same=pl.col(column).eq_missing(pl.col(column).shift())
        )
        if (follows["before"].fill_null(value=False).to_numpy() & is_same).any():
            return False
        is_same &= follows["same"].to_numpy()
    return True


def _ranks(values: pl.Series) -> pl.Series:
    """Whole numbers in the order of the values."""
    if values.dtype.is_integer():
        return (values - values.min()).cast(pl.Int64)
    if values.is_sorted():
        return values.rle_id().cast(pl.Int64)
    frame = values.to_frame("value")
    ranks = frame.unique().sort("value").with_row_index("rank")
    return frame.join(ranks, on="value", how="left", maintain_order="left")["rank"].cast(pl.Int64)


def segment_starts(columns: pl.DataFrame) -> NDArray[np.int64]:
    """First row of each run of equal rows, with the number of rows at the end.

    Parameters
    ----------
    columns : DataFrame
        The columns that identify a segment; equal rows must lie together.

    Returns
    -------
    array of shape (segments + 1,), int64
    """
    if columns.is_empty():
        return np.zeros(1, dtype=np.int64)
    lengths = columns.select(pl.struct(pl.all()).rle().struct.field("len")).to_series().to_numpy()
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def over_segments(
    costs: NDArray[np.int64] | NDArray[np.float64], work: Callable[[slice], None], *, threads: int | None = None
) -> None:
    """Call compiled code that releases the GIL on runs of segments, side by side.

    Parameters
    ----------
    costs : array of shape (segments + 1,)
        From 0, what all segments up to each one cost; runs cost about the same.
    work : callable
        Takes a run as a slice of segments.
    threads : int, optional
        Default: ``NUMBA_NUM_THREADS``, else one per core.
    """
    # Numba's own variable: a worker of a cluster has a part of its machine.
    threads = threads or int(os.environ.get("NUMBA_NUM_THREADS") or os.cpu_count() or 1)
    cuts = np.searchsorted(costs, np.linspace(0, costs[-1], threads * _CHUNKS_PER_THREAD + 1)[1:-1])
    edges = np.unique(np.concatenate([[0], cuts, [len(costs) - 1]]))
    runs = [slice(int(first), int(last)) for first, last in itertools.pairwise(edges)]
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, runs):
            pass


def centroids(
    vectors: NDArray[np.float32],
    codes: NDArray[np.int64],
    weights: NDArray[np.float64],
    starts: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Unit-length weighted mean vector of each segment.

    Parameters
    ----------
    vectors : array of shape (distinct, dimensions), float32
    codes : array of shape (rows,), int64
        Row of `vectors` for each row.
    weights : array of shape (rows,), float64
    starts : array of shape (segments + 1,), int64
        See `segment_starts`.

    Returns
    -------
    array of shape (segments, dimensions), float32
        Zero where the mean is zero.

    Raises
    ------
    ValueError
        A code names no row of the vectors.
    """
    from journeys_dagster.inference.segments_kernel import fill_centroids

    check_codes(codes, len(vectors))
    means = np.empty((len(starts) - 1, vectors.shape[1]), dtype=np.float32)
    over_segments(
        starts, lambda run: fill_centroids(vectors, codes, weights, starts[run.start : run.stop + 1], means[run])
    )
    return means


def centroid_similarity(
    vectors: NDArray[np.float32],
    codes: NDArray[np.int64],
    weights: NDArray[np.float64],
    starts: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Cosine of each row's vector to the weighted mean of its segment.

    Parameters
    ----------
    vectors, codes, weights, starts
        As for `centroids`; vectors are of unit length or zero.

    Returns
    -------
    array of shape (rows,), float64
        0 where the vector or the mean is zero.

    Raises
    ------
    ValueError
        A code names no row of the vectors.
    """
    from journeys_dagster.inference.segments_kernel import fill_centroid_similarity

    check_codes(codes, len(vectors))
    similarity = np.empty(len(codes))
    over_segments(
        starts,
        lambda run: fill_centroid_similarity(vectors, codes, weights, starts[run.start : run.stop + 1], similarity),
    )
    return similarity


def neighbour_similarity(units: NDArray[np.float32], groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """Cosine of each row to the nearest other row of its group.

    Parameters
    ----------
    units : array of shape (rows, dimensions), float32
        Of unit length or zero.
    groups : array of shape (groups + 1,), int64
        See `segment_starts`.

    Returns
    -------
    array of shape (rows,), float64
        0 for a row that is alone.
    """
    from journeys_dagster.inference.segments_kernel import fill_neighbour_similarity

    similarity = np.empty(len(units))
    pairs = np.concatenate([[0], np.cumsum(np.diff(groups) ** 2)])
    over_segments(pairs, lambda run: fill_neighbour_similarity(units, groups[run.start : run.stop + 1], similarity))
    return similarity


def pair_similarity(
    vectors: NDArray[np.float32], firsts: NDArray[np.int64], seconds: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Cosine of each pair of vectors, without a copy of the vectors for each pair.

    Parameters
    ----------
    vectors : array of shape (distinct, dimensions), float32
        Of unit length or zero.
    firsts, seconds : array of shape (pairs,), int64
        Rows of `vectors`.

    Returns
    -------
    array of shape (pairs,), float64

    Raises
    ------
    ValueError
        A number names no row of the vectors.
    """
    from journeys_dagster.inference.segments_kernel import fill_pair_similarity

    check_codes(firsts, len(vectors))
    check_codes(seconds, len(vectors))
    similarity = np.empty(len(firsts))
    over_segments(
        np.arange(len(firsts) + 1),
        lambda run: fill_pair_similarity(vectors, firsts[run], seconds[run], similarity[run]),
    )
    return similarity


def check_codes(codes: NDArray[np.int64], vectors: int) -> None:
    """Compiled code does not look where it reads: raise unless all codes are rows of the vectors."""
    if len(codes) and not 0 <= codes.min() <= codes.max() < vectors:
        raise ValueError(f"codes must be rows of the vectors, 0 to {vectors - 1}")
