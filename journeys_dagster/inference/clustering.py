"""Grouping a user's keywords into journey candidates: average linkage on cosine distance."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.inference.segments import centroids, segment_starts


def strongest_keywords(keywords: pl.DataFrame, *, limit: int) -> pl.DataFrame:
    """The `limit` heaviest keywords of each user, sorted by user and keyword; ties by keyword.

    Parameters
    ----------
    keywords : DataFrame
        Columns ``user_id``, ``keyword``, ``weight``; others are kept.
    """
    return (
        keywords.sort("user_id", "weight", "keyword", descending=[False, True, False])
        .filter(pl.int_range(pl.len()).over("user_id") < limit)
        .sort("user_id", "keyword")
    )


def cluster_keywords(
    keywords: pl.DataFrame, vectors: NDArray[np.float32], *, distance_threshold: float
) -> pl.DataFrame:
    """Cluster each user's keywords.

    Parameters
    ----------
    keywords : DataFrame
        Columns ``user_id``, ``keyword``, ``weight`` (float64 > 0) and ``code`` (row of `vectors`), sorted by user
        and keyword, each keyword once per user.
    vectors : array of shape (distinct keywords, dimensions), float32
        Unit vectors. A zero vector resembles nothing.
    distance_threshold : float
        Cosine distance at which merging stops.

    Returns
    -------
    DataFrame
        Columns ``user_id``, ``keyword``, ``cluster`` (int32, 0 for the cluster of the user's heaviest keyword, and
        so on), ``centroid_similarity`` (float64, cosine to the cluster's weighted mean), sorted as the input.
    """
    starts = segment_starts(keywords.select("user_id"))
    codes = keywords["code"].to_numpy()
    labels = np.empty(len(keywords), dtype=np.int32)
    for begin, end in zip(starts[:-1], starts[1:], strict=True):
        labels[begin:end] = _average_linkage(vectors[codes[begin:end]], distance_threshold)
    clustered = _numbered(keywords.with_columns(label=pl.Series(labels)))
    return clustered.with_columns(centroid_similarity=_centroid_similarity(clustered, vectors)).select(
        "user_id", "keyword", "cluster", "centroid_similarity"
    )


def _average_linkage(vectors: NDArray[np.float32], distance_threshold: float) -> NDArray[np.int32]:
    if len(vectors) == 1:
        return np.ones(1, dtype=np.int32)
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    distances = 1.0 - (vectors @ vectors.T).astype(np.float64)
    # Cosines of equal vectors miss 1 by a rounding error, and either half of the matrix may round differently.
    distances = np.maximum((distances + distances.T) / 2, 0.0)
    np.fill_diagonal(distances, 0.0)
    return fcluster(
        linkage(squareform(distances, checks=False), method="average"), distance_threshold, "distance"
    )


def _numbered(labelled: pl.DataFrame) -> pl.DataFrame:
    """Clusters numbered by their heaviest keyword, so that the numbers do not depend on the order of rows."""
    numbers = (
        labelled.sort("user_id", "weight", "keyword", descending=[False, True, False])
        .unique(["user_id", "label"], keep="first", maintain_order=True)
        .select("user_id", "label", cluster=pl.int_range(pl.len()).over("user_id").cast(pl.Int32))
    )
    return labelled.join(numbers, on=["user_id", "label"], how="left", maintain_order="left")


def _centroid_similarity(clustered: pl.DataFrame, vectors: NDArray[np.float32]) -> pl.Series:
    ordered = clustered.with_row_index("row").sort("user_id", "cluster", "keyword")
    starts = segment_starts(ordered.select("user_id", "cluster"))
    codes, weights = ordered["code"].to_numpy(), ordered["weight"].to_numpy()
    means = centroids(vectors, codes, weights, starts)
    segments = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    similarity = np.empty(len(ordered))
    for begin in range(0, len(ordered), 50_000):
        rows = slice(begin, begin + 50_000)
        similarity[rows] = np.einsum("ij,ij->i", vectors[codes[rows]], means[segments[rows]])
    return ordered.select("row", similarity=pl.Series(similarity)).sort("row")["similarity"]
