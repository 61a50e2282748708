"""Grouping a user's keywords into journey candidates: average linkage on their similarity."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.inference.linkage import average_linkage, pair_distances
from journeys_dagster.inference.segments import (
    centroid_similarity,
    centroids,
    neighbour_similarity,
    segment_starts,
    sort_rows,
)
from journeys_dagster.inference.similarity import keyword_similarity
from journeys_dagster.settings import ClusterSettings


def strongest_keywords(keywords: pl.DataFrame, *, limit: int) -> pl.DataFrame:
    """The `limit` heaviest keywords of each user, sorted by user and keyword; ties by keyword.

    Parameters
    ----------
    keywords : DataFrame
        Columns ``user_id``, ``keyword``, ``weight``; others are kept.
    """
    rows = sort_rows(keywords, "user_id", "keyword").with_row_index("row")
    # Few users have more than the limit, and to sort lists takes long.
    surplus = (
        rows.filter(pl.len().over("user_id") > limit)
        .select("user_id", "weight", "row")
        .sort("user_id", "weight", "row", descending=[False, True, False])
        .filter(pl.int_range(pl.len()).over("user_id") >= limit)
    )
    return rows.join(surplus, on="row", how="anti", maintain_order="left").drop("row")


def telling_keywords(keywords: pl.DataFrame, common: pl.Series) -> pl.DataFrame:
    """The keywords that tell users apart, in the same order; all of a user's who has no other than common ones.

    Parameters
    ----------
    keywords : DataFrame
        Columns ``user_id``, ``keyword``; others are kept.
    common : Series of str
        Keywords that so many users share that they tell nobody apart, as from the model `common_keywords`.
    """
    if common.is_empty():
        return keywords
    is_common = pl.col("keyword").is_in(common.implode())
    return keywords.filter(~is_common | is_common.all().over("user_id"))


def cluster_keywords(keywords: pl.DataFrame, vectors: NDArray[np.float32], settings: ClusterSettings) -> pl.DataFrame:
    """Cluster each user's keywords.

    Parameters
    ----------
    keywords : DataFrame
        Columns ``user_id``, ``keyword``, ``weight`` (float64 > 0), ``code`` (row of `vectors`), ``sources`` (list of
        str), ``recent_times`` (list of datetime, ascending) and ``recent_items`` (list of str), in any order, each
        keyword once per user; others are kept.
    vectors : array of shape (distinct keywords, dimensions), float32
        Unit vectors. A zero vector's cosine with every vector is 0.

    Returns
    -------
    DataFrame
        Columns of `keywords`, and ``cluster`` (int32, 0 for the cluster of the user's heaviest keyword, and so on),
        ``keyword_rank`` (int32, 1 for the cluster's heaviest keyword, ties by keyword), ``centroid_similarity``
        (float64, cosine to the cluster's weighted mean; 0 where either is zero) and ``neighbour_similarity`` (float64,
        cosine of that mean to the nearest one of the user's other clusters; 0 where there is no other), sorted by
        user and keyword.

    Raises
    ------
    ValueError
        A vector is not finite.
    """
    if broken := int((~np.isfinite(vectors).all(axis=1)).sum()):
        raise ValueError(f"the vectors of {broken} of {len(vectors)} keywords are not finite: embed them again")
    keywords = keywords.sort("user_id", "keyword")
    similarity = keyword_similarity(keywords, vectors, settings)
    labels = average_linkage(
        similarity.vectors, similarity.rows, similarity.model, distance_threshold=similarity.distance_threshold
    )
    labelled = keywords.select("weight", "code", user=pl.col("user_id").rle_id(), label=pl.Series(labels))
    clustered = _numbered(labelled.with_row_index("row"))
    return keywords.with_columns(clustered["cluster"], clustered["keyword_rank"], *_similarities(clustered, vectors))


def cluster_tree(
    keywords: pl.DataFrame, vectors: NDArray[np.float32], settings: ClusterSettings
) -> NDArray[np.float64]:
    """The whole tree of merges of one user's keywords, also above the threshold.

    Parameters
    ----------
    keywords : DataFrame
        As for `cluster_keywords`, of one user; leaf i is row i.

    Returns
    -------
    array of shape (keywords - 1, 4), float64
        As `scipy.cluster.hierarchy.linkage` gives it, with heights in the unit of ``distance_threshold``: 0 and less,
        for a similarity above 1, is given as 0. Without merges where there is one keyword or none.
    """
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    if len(keywords) < 2:
        return np.zeros((0, 4))
    similarity = keyword_similarity(keywords, vectors, settings)
    distances = pair_distances(similarity.vectors, similarity.rows, similarity.model, user=0)
    merges = linkage(squareform(distances, checks=False), "average")
    merges[:, 2] = similarity.as_distance(merges[:, 2])
    return merges


def _numbered(labelled: pl.DataFrame) -> pl.DataFrame:
    """Clusters numbered by their heaviest keyword, so that the numbers do not depend on how labels are given."""
    ranked = (
        labelled.select("user", "label", "weight", "row")
        .sort("user", "weight", "row", descending=[False, True, False])
        .with_columns(keyword_rank=(pl.int_range(pl.len()).over("user", "label") + 1).cast(pl.Int32))
    )
    numbers = ranked.filter(keyword_rank=1).select(
        "user", "label", cluster=pl.int_range(pl.len()).over("user").cast(pl.Int32)
    )
    return labelled.join(numbers, on=["user", "label"], how="left", maintain_order="left").with_columns(
        ranked.sort("row")["keyword_rank"]
    )


def _similarities(clustered: pl.DataFrame, vectors: NDArray[np.float32]) -> list[pl.Series]:
    """Of each row, the similarity to its cluster's centroid, and of that to the user's nearest other one."""
    ordered = clustered.select("user", "cluster", "row", "code", "weight").sort("user", "cluster", "row")
    starts = segment_starts(ordered.select("user", "cluster"))
    codes, weights = ordered["code"].to_numpy(), ordered["weight"].to_numpy()
    users = segment_starts(ordered[starts[:-1]].select("user"))
    nearest = neighbour_similarity(centroids(vectors, codes, weights, starts), users)
    found = ordered.select(
        "row",
        centroid_similarity=pl.Series(centroid_similarity(vectors, codes, weights, starts), dtype=pl.Float64),
        neighbour_similarity=pl.Series(np.repeat(nearest, np.diff(starts)), dtype=pl.Float64),
    ).sort("row")
    return [found["centroid_similarity"], found["neighbour_similarity"]]
