"""Clusters of keywords: average linkage as scikit-learn has it, numbered by weight, deaf to order and neighbours."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from sklearn.cluster import AgglomerativeClustering

from journeys_dagster.inference.clustering import cluster_keywords, strongest_keywords

OUTPUT = {"user_id": pl.String, "keyword": pl.String, "cluster": pl.Int32, "centroid_similarity": pl.Float64}


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def keywords_of(users: list[str], codes: list[int], weights: list[float] | None = None) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "user_id": users,
            "keyword": [f"keyword {code:03}" for code in codes],
            "weight": weights or [1.0] * len(users),
            "code": codes,
        },
        schema_overrides={"user_id": pl.String, "keyword": pl.String, "weight": pl.Float64, "code": pl.Int64},
    )


def one_user(vectors: list[list[float]], weights: list[float] | None = None, *, distance_threshold: float = 0.6):
    keywords = keywords_of(["u"] * len(vectors), list(range(len(vectors))), weights)
    return cluster_keywords(keywords, np.array(vectors, dtype=np.float32), distance_threshold=distance_threshold)


def random_users(seed: int, sizes: list[int], *, dimensions: int) -> tuple[pl.DataFrame, np.ndarray]:
    """Users with some keywords in common, among vectors that have topics."""
    rng = np.random.default_rng(seed)
    distinct = max(sizes) + 10
    topics = rng.normal(size=(4, dimensions))
    vectors = unit(topics[rng.integers(4, size=distinct)] + rng.normal(size=(distinct, dimensions)))
    codes = [int(code) for size in sizes for code in rng.choice(distinct, size, replace=False)]
    users = [f"user {user}" for user, size in enumerate(sizes) for _ in range(size)]
    return keywords_of(users, codes, rng.integers(1, 5, len(codes)).astype(float).tolist()), vectors


def partition(labels: list[int], keywords: list[str]) -> set[frozenset[str]]:
    clusters: dict[int, set[str]] = {}
    for label, keyword in zip(labels, keywords, strict=True):
        clusters.setdefault(label, set()).add(keyword)
    return {frozenset(cluster) for cluster in clusters.values()}


SIZES = st.lists(st.integers(2, 25), min_size=1, max_size=4)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(seed=st.integers(0, 10**6), sizes=SIZES, dimensions=st.sampled_from([2, 5, 40]), threshold=st.floats(0.05, 1.2))
def test_each_user_is_partitioned_as_scikit_learn_does_it(
    seed: int, sizes: list[int], dimensions: int, threshold: float
):
    keywords, vectors = random_users(seed, sizes, dimensions=dimensions)
    found = cluster_keywords(keywords, vectors, distance_threshold=threshold)
    model = AgglomerativeClustering(
        n_clusters=None,  # type: ignore[arg-type]
        metric="precomputed",
        linkage="average",
        distance_threshold=threshold,
    )
    for (user,), rows in keywords.group_by("user_id"):
        own = vectors[rows["code"].to_numpy()].astype(np.float64)
        labels = model.fit_predict((1.0 - own @ own.T).clip(0.0))
        of_user = found.filter(pl.col("user_id") == user)
        assert partition(of_user["cluster"].to_list(), of_user["keyword"].to_list()) == partition(
            labels.tolist(), rows["keyword"].to_list()
        )


def test_neither_the_order_of_rows_nor_other_users_change_a_bit():
    keywords, vectors = random_users(3, [1, 45, 7, 2, 300, 45, 1, 20], dimensions=384)
    expected = cluster_keywords(keywords, vectors, distance_threshold=0.6)
    assert expected["cluster"].max() not in {None, 0}
    shuffled = cluster_keywords(keywords.sample(fraction=1.0, shuffle=True, seed=4), vectors, distance_threshold=0.6)
    assert_frame_equal(shuffled, expected, check_exact=True)
    for (user,), rows in keywords.group_by("user_id"):
        codes = rows["code"].unique().sort()
        recoded = rows.with_columns(code=codes.search_sorted(rows["code"]).cast(pl.Int64))
        alone = cluster_keywords(recoded, vectors[codes.to_numpy()], distance_threshold=0.6)
        assert_frame_equal(alone, expected.filter(pl.col("user_id") == user), check_exact=True)


@settings(deadline=None, derandomize=True, max_examples=30)
@given(seed=st.integers(0, 10**6), sizes=SIZES)
def test_clusters_are_numbered_by_their_heaviest_keyword(seed: int, sizes: list[int]):
    keywords, vectors = random_users(seed, sizes, dimensions=5)
    found = cluster_keywords(keywords, vectors, distance_threshold=0.6)
    assert dict(found.schema) == OUTPUT
    assert found.select("user_id", "keyword").equals(keywords.select("user_id", "keyword").sort("user_id", "keyword"))
    for _, rows in found.join(keywords, on=["user_id", "keyword"]).group_by("user_id"):
        best_first = sorted(rows.iter_rows(named=True), key=lambda row: (-row["weight"], row["keyword"]))
        in_order_of_appearance = list(dict.fromkeys(row["cluster"] for row in best_first))
        assert in_order_of_appearance == list(range(len(in_order_of_appearance)))


@settings(deadline=None, derandomize=True, max_examples=30)
@given(seed=st.integers(0, 10**6), sizes=SIZES, threshold=st.floats(0.1, 2.0))
def test_centroid_similarity_is_the_cosine_to_the_weighted_mean(seed: int, sizes: list[int], threshold: float):
    keywords, vectors = random_users(seed, sizes, dimensions=5)
    found = cluster_keywords(keywords, vectors, distance_threshold=threshold)
    assert found["centroid_similarity"].is_between(-1.0, 1.0).all()
    for _, rows in found.join(keywords, on=["user_id", "keyword"]).group_by("user_id", "cluster"):
        members = vectors[rows["code"].to_numpy()].astype(np.float64)
        mean = np.average(members, axis=0, weights=rows["weight"].to_numpy())
        cosines = members @ mean / np.linalg.norm(members, axis=1) / np.linalg.norm(mean)
        np.testing.assert_allclose(rows["centroid_similarity"].to_numpy(), cosines, atol=1e-6)


def test_opposite_keywords_lie_on_either_side_of_the_heavier_one():
    found = one_user([[1, 0], [-1, 0]], [3.0, 1.0], distance_threshold=2.0)
    assert found["cluster"].to_list() == [0, 0]
    assert found["centroid_similarity"].to_list() == [1.0, -1.0]


def test_opposite_keywords_of_equal_weight_have_no_centroid():
    found = one_user([[1, 0], [-1, 0]], distance_threshold=2.0)
    assert found["centroid_similarity"].to_list() == [0.0, 0.0]


def test_clusters_exactly_at_the_threshold_are_merged():
    right_angle = [[1.0, 0.0], [0.0, 1.0]]
    assert one_user(right_angle, distance_threshold=1.0)["cluster"].to_list() == [0, 0]
    assert one_user(right_angle, distance_threshold=0.999)["cluster"].to_list() == [0, 1]


def test_the_linkage_is_the_mean_over_all_pairs():
    # Cosine distances: a–b 0.2, b–c 0.04, a–c 0.4. Mean of a to {b, c}: 0.3; nearest 0.2, farthest 0.4.
    vectors = [[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]]
    assert one_user(vectors, distance_threshold=0.29)["cluster"].to_list() == [0, 1, 1]
    assert one_user(vectors, distance_threshold=0.31)["cluster"].to_list() == [0, 0, 0]


def test_one_keyword_is_one_cluster():
    found = one_user([[0.6, 0.8]])
    assert found["cluster"].to_list() == [0]
    assert found["centroid_similarity"][0] == pytest.approx(1.0)


@pytest.mark.parametrize("seed", range(8))
def test_equal_vectors_are_one_cluster_at_any_threshold(seed: int):
    # Half of such vectors are longer than 1 by a rounding error, which makes a distance below 0.
    vector = unit(np.random.default_rng(seed).normal(size=(1, 384)))[0].tolist()
    found = one_user([vector] * 20, distance_threshold=1e-5)
    assert found["cluster"].unique().to_list() == [0]
    np.testing.assert_allclose(found["centroid_similarity"].to_numpy(), 1.0, atol=1e-6)


def test_zero_vectors_resemble_nothing():
    found = one_user([[0, 0], [1, 0], [0, 0], [0.9950042, 0.0998334]], [1.0, 4.0, 3.0, 2.0])
    assert found["cluster"].to_list() == [2, 0, 1, 0]
    assert found["centroid_similarity"].to_list() == pytest.approx([0.0, 1.0, 0.0, 1.0], abs=0.01)
    assert one_user([[0, 0]])["centroid_similarity"].to_list() == [0.0]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_vectors_that_are_not_finite_are_refused(value: float):
    with pytest.raises(ValueError, match=r"vectors of 2 of 3 keywords are not finite"):
        one_user([[1, 0], [value, 0], [0, value]])


def test_no_keywords_are_no_clusters():
    found = cluster_keywords(keywords_of([], []), np.zeros((0, 1), dtype=np.float32), distance_threshold=0.6)
    assert found.is_empty()
    assert dict(found.schema) == OUTPUT


def test_the_strongest_keywords_are_kept_in_alphabetical_order_with_their_columns():
    keywords = keywords_of(["b", "a", "a", "a", "a"], [7, 4, 2, 9, 1], [1.0, 5.0, 2.0, 2.0, 1.0])
    kept = strongest_keywords(keywords, limit=2)
    assert kept.columns == keywords.columns
    assert kept.select("user_id", "code").rows() == [("a", 2), ("a", 4), ("b", 7)]


@given(
    rows=st.lists(
        st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 20), st.sampled_from([0.5, 1.0, 2.0])),
        unique_by=lambda row: row[:2],
    ),
    limit=st.integers(1, 6),
)
def test_of_equally_heavy_keywords_the_alphabetically_first_are_kept(rows: list[tuple[str, int, float]], limit: int):
    keywords = keywords_of([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])
    kept = strongest_keywords(keywords, limit=limit)
    expected = [
        (user, code)
        for user in ("a", "b")
        for code in sorted(
            code for _, code in sorted((-weight, code) for owner, code, weight in rows if owner == user)[:limit]
        )
    ]
    assert kept.select("user_id", "code").rows() == expected
