"""Average linkage of every user's keywords at once: arrays in, labels out. The loops are in `linkage_kernel`."""

from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from journeys_dagster.inference.segments import check_codes, over_segments


@dataclass(frozen=True)
class PairModel:
    """What a pair of keywords gets beside its dot product.

    Attributes
    ----------
    offset : float
        In any case, in logits.
    item_weight : float
        For a shared item, in logits.
    kind_weight : float
        Taken off in place of that where the items of both are of different kinds, in logits.
    time_scale : float
        Hours at which closeness in time counts half.
    """

    offset: float
    item_weight: float
    kind_weight: float
    time_scale: float


@dataclass(frozen=True)
class KeywordRows:
    """One row per user and keyword, users one after the other.

    Attributes
    ----------
    starts : array of shape (users + 1,), int64
        First row of each user, and the number of rows.
    codes : array of shape (rows,), int64
        Row of the vectors.
    times : array of shape (rows, K), float64
        Hours, ascending, NaN behind the last one.
    time_weights : array of shape (rows,), float64
        Most that closeness in time adds, in logits; of two rows the lower.
    items : array of shape (rows, D), int64
        Ascending, -1 behind the last one.
    """

    starts: NDArray[np.int64]
    codes: NDArray[np.int64]
    times: NDArray[np.float64]
    time_weights: NDArray[np.float64]
    items: NDArray[np.int64]

    def __post_init__(self) -> None:
        """Compiled code does not look where it reads: shapes are checked here."""
        rows, users = len(self.codes), len(self.starts) - 1
        shapes = {
            "times": (rows, self.times.shape[-1]),
            "time_weights": (rows,),
            "items": (rows, self.items.shape[-1]),
        }
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} has shape {getattr(self, name).shape}; {shape} is needed")
        if users < 0 or self.starts[0] != 0 or self.starts[-1] != rows or (np.diff(self.starts) < 0).any():
            raise ValueError(f"starts must ascend from 0 to the number of rows, {rows}")


def average_linkage(
    vectors: NDArray[np.float32],
    rows: KeywordRows,
    model: PairModel,
    *,
    distance_threshold: float,
    threads: int | None = None,
) -> NDArray[np.int32]:
    """Cluster each user's rows.

    The distance of two rows is 1 / (1 + exp(z)), where z is the offset, plus the dot product of their vectors, plus the
    item weight if they share one, or less the kind weight if most items of each are of two kinds, plus weight /
    (1 + gap / scale) for the gap from a time of one row to the nearest time of the other: the mean over the times of
    each, and the mean of these two. Labels are those of SciPy's ``linkage(method="average")`` and
    ``fcluster(criterion="distance")`` on the same distances, ties included.

    Parameters
    ----------
    vectors : array of shape (distinct keywords, dimensions), float32
        In logits.
    distance_threshold : float
        Clusters farther apart than this, between 0 and 1, stay apart.
    threads : int, optional
        Default: one per core. The labels do not depend on it.

    Returns
    -------
    array of shape (rows,), int32
        0 for the cluster of the user's first row, and so on in order of appearance.

    Raises
    ------
    ValueError
        A vector is not finite, or a row names none.
    """
    from journeys_dagster.inference.linkage_kernel import link_users

    vectors = _checked(vectors, rows)
    labels = np.empty(len(rows.codes), dtype=np.int32)

    def link(chunk: slice) -> None:
        of_users = rows.starts[chunk.start : chunk.stop + 1]
        of_rows = slice(of_users[0], of_users[-1])
        link_users(
            vectors,
            of_users - of_users[0],
            rows.codes[of_rows],
            rows.times[of_rows],
            rows.time_weights[of_rows],
            rows.items[of_rows],
            astuple(model),
            distance_threshold,
            labels[of_rows],
        )

    pairs = np.concatenate([[0], np.cumsum(np.diff(rows.starts).astype(np.float64) ** 2)])
    over_segments(pairs, link, threads=threads)
    return labels


def pair_distances(
    vectors: NDArray[np.float32], rows: KeywordRows, model: PairModel, *, user: int
) -> NDArray[np.float64]:
    """The very distances that `average_linkage` compares for one user.

    Returns
    -------
    array of shape (n, n), float64
        Symmetric, 0 on the diagonal, else between 0 and 1.
    """
    from journeys_dagster.inference import linkage_kernel as kernel

    vectors = _checked(vectors, rows)
    of_rows = slice(rows.starts[user], rows.starts[user + 1])
    n = of_rows.stop - of_rows.start
    side = -(-n // kernel.TILE) * kernel.TILE
    block = np.empty((side, vectors.shape[1]), dtype=np.float32)
    products = np.empty((side, side), dtype=np.float32)
    distances = np.empty((n, n))
    kernel.gather(vectors, rows.codes[of_rows], block)
    kernel.dot_products(block, products)
    kernel.pair_distances(
        products,
        rows.times[of_rows],
        rows.time_weights[of_rows],
        rows.items[of_rows],
        astuple(model),
        distances,
    )
    np.fill_diagonal(distances, 0.0)
    return distances


def _checked(vectors: NDArray[np.float32], rows: KeywordRows) -> NDArray[np.float32]:
    if broken := int((~np.isfinite(vectors).all(axis=1)).sum()):
        raise ValueError(f"{broken} of {len(vectors)} vectors are not finite")
    check_codes(rows.codes, len(vectors))
    return np.ascontiguousarray(vectors, dtype=np.float32)
