"""Tables of (user, …) rows in CSR form: rows sorted by user, and where each user starts."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

ROWS_AT_ONCE = 512
"""Rows of 384 numbers that fit into a core's cache together; thousands at once take five times as long."""


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


def centroids(
    vectors: NDArray[np.float32],
    codes: NDArray[np.int64],
    weights: NDArray[np.float64],
    starts: NDArray[np.int64],
    *,
    rows_at_once: int = ROWS_AT_ONCE,
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
    rows_at_once : int
        Bounds memory and keeps it in the cache; no effect on the result.

    Returns
    -------
    array of shape (segments, dimensions), float32
        Zero where the mean is zero.
    """
    result = np.zeros((len(starts) - 1, vectors.shape[1]), dtype=np.float32)
    first = 0
    while first < len(starts) - 1:
        last = max(first + 1, int(np.searchsorted(starts, starts[first] + rows_at_once, side="right")) - 1)
        rows = slice(starts[first], starts[last])
        weighted = vectors[codes[rows]].astype(np.float64) * weights[rows, None]
        sums = np.add.reduceat(weighted, starts[first:last] - starts[first], axis=0)
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        result[first:last] = np.divide(sums, norms, out=np.zeros_like(sums), where=norms > 0)
        first = last
    return result
