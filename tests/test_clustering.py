"""Clusters of keywords: average linkage as SciPy has it, numbered by weight, deaf to order and neighbours."""

import itertools
from collections import Counter
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.feature_extraction.text import HashingVectorizer

from journeys_dagster.inference.clustering import cluster_keywords, strongest_keywords
from journeys_dagster.inference.item_kinds_kernel import NO_KIND, kinds_of
from journeys_dagster.settings import ClusterSettings

ADDED = {
    "cluster": pl.Int32,
    "keyword_rank": pl.Int32,
    "centroid_similarity": pl.Float64,
    "neighbour_similarity": pl.Float64,
}
DEFAULT = ClusterSettings()  # type: ignore[call-arg]
BEGINNING = datetime(2025, 6, 1, 9)
pytestmark = pytest.mark.usefixtures("kernels")


def only(**parts: object) -> ClusterSettings:
    """Settings that compare by the embedding, and by what is given."""
    plain = {"lexical_weight": 0.0, "time_weight": 0.0, "shared_item_weight": 0.0, "other_kind_weight": 0.0}
    return ClusterSettings.model_validate(plain | parts)


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def keywords_of(
    users: list[str],
    codes: list[int],
    weights: list[float] | None = None,
    *,
    sources: list[list[str]] | None = None,
    hours: list[list[float]] | None = None,
    items: list[list[str]] | None = None,
) -> pl.DataFrame:
    times = [[BEGINNING + timedelta(hours=hour) for hour in row] for row in hours or [[0.0]] * len(users)]
    return pl.DataFrame(
        {
            "user_id": users,
            "keyword": [f"keyword {code:03}" for code in codes],
            "weight": weights or [1.0] * len(users),
            "code": codes,
            "sources": sources or [["search"]] * len(users),
            "recent_times": times,
            "recent_items": items or [[]] * len(users),
        },
        schema={
            "user_id": pl.String,
            "keyword": pl.String,
            "weight": pl.Float64,
            "code": pl.Int64,
            "sources": pl.List(pl.String),
            "recent_times": pl.List(pl.Datetime("us")),
            "recent_items": pl.List(pl.String),
        },
    )


def one_user(
    vectors: list[list[float]], weights: list[float] | None = None, chosen: ClusterSettings | None = None, **rows: list
) -> pl.DataFrame:
    keywords = keywords_of(["u"] * len(vectors), list(range(len(vectors))), weights, **rows)
    return cluster_keywords(keywords, np.array(vectors, dtype=np.float32), chosen or only())


def random_users(seed: int, sizes: list[int], *, dimensions: int) -> tuple[pl.DataFrame, np.ndarray]:
    """Users with some keywords in common, among vectors that have topics; from all sources, at all times."""
    rng = np.random.default_rng(seed)
    distinct = max(sizes) + 10
    topics = rng.normal(size=(4, dimensions))
    vectors = unit(topics[rng.integers(4, size=distinct)] + rng.normal(size=(distinct, dimensions)))
    codes = [int(code) for size in sizes for code in rng.choice(distinct, size, replace=False)]
    users = [f"user {user}" for user, size in enumerate(sizes) for _ in range(size)]
    names = ["board", "engagement", "search"]
    sources = [sorted(rng.choice(names, rng.integers(1, 4), replace=False).tolist()) for _ in codes]
    hours = [sorted({*rng.exponential(30, rng.integers(1, 9)).round().tolist()}) for _ in codes]
    items = [sorted(f"item {item}" for item in {*rng.integers(0, 40, rng.integers(0, 4)).tolist()}) for _ in codes]
    weights = rng.integers(1, 5, len(codes)).astype(float).tolist()
    return keywords_of(users, codes, weights, sources=sources, hours=hours, items=items), vectors


def reference_distances(rows: pl.DataFrame, vectors: np.ndarray, chosen: ClusterSettings) -> np.ndarray:
    """The distances of one user's keywords as the settings describe them, pair by pair."""
    own = vectors[rows["code"].to_numpy()].astype(np.float64)
    ngrams = HashingVectorizer(analyzer="char_wb", ngram_range=(2, 4), n_features=128, norm="l2")
    letters = ngrams.transform(rows["keyword"].to_list()).toarray()  # type: ignore[union-attr]
    similarity = own @ own.T + chosen.lexical_weight * letters @ letters.T
    moments = Counter(time for times in rows["recent_times"] for time in times)
    crowds = [np.mean([moments[time] for time in times]) for times in rows["recent_times"]]
    kinds = item_kinds(rows["recent_items"].list.eval(pl.element().hash(seed=0) // 2).list.sort().to_list())
    for i, one in enumerate(rows.iter_rows(named=True)):
        for j, other in enumerate(rows.iter_rows(named=True)):
            weight = chosen.time_weight * min(min(chosen.crowded_moment / crowds[k], 1) for k in (i, j))
            there, back = (closeness(a, b, chosen) for a, b in ((one, other), (other, one)))
            similarity[i, j] += weight * (there + back) / 2
            if None not in (kinds[i], kinds[j]) and kinds[i] != kinds[j]:
                similarity[i, j] -= chosen.other_kind_weight
            else:
                similarity[i, j] += chosen.shared_item_weight * bool({*one["recent_items"]} & {*other["recent_items"]})
    return 1 / (1 + np.exp(chosen.sharpness * (similarity - chosen.saturation)))


def item_kinds(items: list[list[int]]) -> list[frozenset[int] | None]:
    """Of each keyword, the kind that most of its items are of; of as many of each the larger, then the first one."""
    kinds = {item: {item} for of_keyword in items for item in of_keyword}
    for one, other in itertools.combinations(kinds, 2):
        if sum({one, other} <= {*of_keyword} for of_keyword in items) >= 2 and kinds[one] is not kinds[other]:
            kinds[one] |= kinds[other]
            for item in kinds[one]:
                kinds[item] = kinds[one]
    counts = [Counter(frozenset(kinds[item]) for item in of_keyword if len(kinds[item]) >= 3) for of_keyword in items]
    return [max(of_kinds, key=lambda kind: (of_kinds[kind], len(kind)), default=None) for of_kinds in counts]


def closeness(one: dict, other: dict, chosen: ClusterSettings) -> float:
    """How near the times of a keyword lie to the nearest time of another one: the mean over its times, 0 to 1."""
    gaps = [min(abs(a - b) / timedelta(hours=1) for b in other["recent_times"]) for a in one["recent_times"]]
    return float(np.mean([1 / (1 + gap / chosen.time_scale_hours) for gap in gaps]))


def partition(labels: list[int], keywords: list[str]) -> set[frozenset[str]]:
    clusters: dict[int, set[str]] = {}
    for label, keyword in zip(labels, keywords, strict=True):
        clusters.setdefault(label, set()).add(keyword)
    return {frozenset(cluster) for cluster in clusters.values()}


SIZES = st.lists(st.integers(2, 25), min_size=1, max_size=4)


@settings(deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    sizes=SIZES,
    dimensions=st.sampled_from([2, 5, 40]),
    threshold=st.floats(0.2, 0.9),
    sharpness=st.sampled_from([2.0, 10.0]),
)
def test_each_user_is_partitioned_by_average_linkage_on_the_described_distances(
    seed: int, sizes: list[int], dimensions: int, threshold: float, sharpness: float
):
    keywords, vectors = random_users(seed, sizes, dimensions=dimensions)
    chosen = ClusterSettings.model_validate({"distance_threshold": threshold, "sharpness": sharpness})
    found = cluster_keywords(keywords, vectors, chosen)
    cut = 1 / (1 + np.exp(sharpness * (1 - threshold - chosen.saturation)))
    for (user,), rows in keywords.group_by("user_id"):
        distances = reference_distances(rows, vectors, chosen)
        tree = linkage(distances[np.triu_indices(len(rows), 1)], "average")
        if np.abs(tree[:, 2] - cut).min() < 1e-5:
            continue  # float32 decides
        of_user = found.filter(pl.col("user_id") == user)
        assert partition(of_user["cluster"].to_list(), of_user["keyword"].to_list()) == partition(
            fcluster(tree, cut, "distance").tolist(), rows["keyword"].to_list()
        )


def test_neither_the_order_of_rows_nor_other_users_change_a_bit():
    keywords, vectors = random_users(3, [1, 45, 7, 2, 300, 45, 1, 20], dimensions=384)
    expected = cluster_keywords(keywords, vectors, DEFAULT)
    assert expected["cluster"].max() not in {None, 0}
    shuffled = cluster_keywords(keywords.sample(fraction=1.0, shuffle=True, seed=4), vectors, DEFAULT)
    assert_frame_equal(shuffled, expected, check_exact=True)
    for (user,), rows in keywords.group_by("user_id"):
        codes = rows["code"].unique().sort()
        recoded = rows.with_columns(code=codes.search_sorted(rows["code"]).cast(pl.Int64))
        alone = cluster_keywords(recoded, vectors[codes.to_numpy()], DEFAULT)
        assert_frame_equal(alone.drop("code"), expected.filter(user_id=user).drop("code"), check_exact=True)


@settings(deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), sizes=SIZES)
def test_clusters_are_numbered_by_their_heaviest_keyword(seed: int, sizes: list[int]):
    keywords, vectors = random_users(seed, sizes, dimensions=5)
    found = cluster_keywords(keywords, vectors, DEFAULT)
    assert dict(found.schema) == {**keywords.schema, **ADDED}
    assert found.select(keywords.columns).equals(keywords.sort("user_id", "keyword"))
    for _, rows in found.group_by("user_id"):
        best_first = sorted(rows.iter_rows(named=True), key=lambda row: (-row["weight"], row["keyword"]))
        in_order_of_appearance = list(dict.fromkeys(row["cluster"] for row in best_first))
        assert in_order_of_appearance == list(range(len(in_order_of_appearance)))
        for cluster in in_order_of_appearance:
            assert [row["keyword_rank"] for row in best_first if row["cluster"] == cluster] == list(
                range(1, 1 + sum(row["cluster"] == cluster for row in best_first))
            )


def test_neighbour_similarity_is_the_cosine_of_the_centroids_of_the_nearest_two():
    wide = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.6, 0.8]]
    found = one_user(wide, chosen=only(distance_threshold=0.1))
    assert found["cluster"].n_unique() == 3
    assert found["neighbour_similarity"].to_list() == pytest.approx([0.0, 0.6, 0.6])
    assert one_user(wide[:1])["neighbour_similarity"].to_list() == [0.0]


@settings(deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), sizes=SIZES, threshold=st.floats(0.1, 2.0))
def test_centroid_similarity_is_the_cosine_to_the_weighted_mean(seed: int, sizes: list[int], threshold: float):
    keywords, vectors = random_users(seed, sizes, dimensions=5)
    found = cluster_keywords(keywords, vectors, only(distance_threshold=threshold))
    assert found["centroid_similarity"].is_between(-1.0, 1.0).all()
    for _, rows in found.group_by("user_id", "cluster"):
        members = vectors[rows["code"].to_numpy()].astype(np.float64)
        mean = np.average(members, axis=0, weights=rows["weight"].to_numpy())
        cosines = members @ mean / np.linalg.norm(members, axis=1) / np.linalg.norm(mean)
        np.testing.assert_allclose(rows["centroid_similarity"].to_numpy(), cosines, atol=1e-6)


def test_opposite_keywords_lie_on_either_side_of_the_heavier_one():
    chosen = only(distance_threshold=2.0, shared_item_weight=0.1)
    found = one_user([[1, 0], [-1, 0]], [3.0, 1.0], chosen, items=[["a"], ["a"]])
    assert found["cluster"].to_list() == [0, 0]
    assert found["centroid_similarity"].to_list() == [1.0, -1.0]


def test_opposite_keywords_of_equal_weight_have_no_centroid():
    chosen = only(distance_threshold=2.0, shared_item_weight=0.1)
    found = one_user([[1, 0], [-1, 0]], chosen=chosen, items=[["a"], ["a"]])
    assert found["centroid_similarity"].to_list() == [0.0, 0.0]


def test_with_little_sharpness_the_linkage_is_the_mean_similarity_of_all_pairs():
    # Cosine distances: a–b 0.2, b–c 0.04, a–c 0.4. Mean of a to {b, c}: 0.3; nearest 0.2, farthest 0.4.
    vectors = [[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]]
    for threshold, expected in ((0.29, [0, 1, 1]), (0.31, [0, 0, 0])):
        chosen = only(sharpness=0.01, distance_threshold=threshold)
        assert one_user(vectors, chosen=chosen)["cluster"].to_list() == expected


def test_with_much_sharpness_the_nearest_pair_decides():
    vectors = [[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]]
    for threshold, expected in ((0.19, [0, 1, 1]), (0.25, [0, 0, 0])):
        chosen = only(sharpness=50.0, saturation=1.0, distance_threshold=threshold)
        assert one_user(vectors, chosen=chosen)["cluster"].to_list() == expected


def test_what_is_near_in_time_belongs_together():
    right_angle = [[1.0, 0.0], [0.0, 1.0]]
    chosen = only(time_weight=0.6, distance_threshold=0.5)
    for hours, expected in (([[0.0], [0.05]], [0, 0]), ([[0.0], [0.5]], [0, 1]), ([[0.0], [50.0]], [0, 1])):
        assert one_user(right_angle, chosen=chosen, hours=hours)["cluster"].to_list() == expected, hours


def test_what_is_often_used_is_near_by_chance_and_needs_to_be_near_often():
    right_angle = [[1.0, 0.0], [0.0, 1.0]]
    chosen = only(time_weight=0.6, distance_threshold=0.5)
    week = [24.0 * day for day in range(7)]
    for hours, expected in (([week, [24.0]], [0, 1]), ([week, week], [0, 0]), ([week, week[:6]], [0, 0])):
        assert one_user(right_angle, chosen=chosen, hours=hours)["cluster"].to_list() == expected, hours


def test_a_crowded_moment_says_little():
    rng = np.random.default_rng(5)
    vectors = unit(rng.normal(size=(20, 384))).tolist()  # all cosines about zero
    for crowded_moment, expected in ((20, 1), (5, 20)):
        chosen = only(time_weight=0.6, crowded_moment=crowded_moment, distance_threshold=0.5)
        assert one_user(vectors, chosen=chosen)["cluster"].n_unique() == expected


def test_keywords_of_one_item_and_of_one_spelling_belong_together():
    right_angle = [[1.0, 0.0], [0.0, 1.0]]
    chosen = only(shared_item_weight=0.6, distance_threshold=0.5)
    assert one_user(right_angle, chosen=chosen, items=[["a", "b"], ["b"]])["cluster"].to_list() == [0, 0]
    assert one_user(right_angle, chosen=chosen, items=[["a"], ["b"]])["cluster"].to_list() == [0, 1]
    # "keyword 000" and "keyword 001" share most of their letters.
    found = one_user(right_angle, chosen=only(lexical_weight=0.8, distance_threshold=0.5))
    assert found["cluster"].to_list() == [0, 0]


@pytest.mark.parametrize("brand_on", [["kettle 1", "pump 1"], ["kettle 2", "pump 1", "pump 2"]])
def test_a_brand_on_things_of_two_kinds_connects_neither(brand_on: list[str]):
    kettles, pumps = [f"kettle {n}" for n in range(3)], [f"pump {n}" for n in range(3)]
    chosen = only(shared_item_weight=0.9, other_kind_weight=0.2, distance_threshold=0.5)
    items = [kettles, kettles, pumps, pumps, brand_on]
    labels = one_user(np.eye(5).tolist(), chosen=chosen, items=items)["cluster"].to_list()
    assert labels[:4] == [0, 0, 1, 1]
    assert labels[4] in labels[:4]
    # Two things are no kind.
    few = [[thing for thing in of_keyword if thing[-1] != "0"] for of_keyword in items]
    assert one_user(np.eye(5).tolist(), chosen=chosen, items=few)["cluster"].unique().to_list() == [0]


def test_things_of_two_kinds_are_less_alike():
    kettles, pumps = [f"kettle {n}" for n in range(3)], [f"pump {n}" for n in range(3)]
    vectors = [[1.0, 0.0], [1.0, 0.0], [0.6, 0.8], [0.6, 0.8]]
    for weight, expected in ((0.0, [0, 0, 0, 0]), (0.2, [0, 0, 1, 1])):
        chosen = only(other_kind_weight=weight, distance_threshold=0.5)
        found = one_user(vectors, chosen=chosen, items=[kettles, kettles, pumps, pumps])
        assert found["cluster"].to_list() == expected


@pytest.mark.parametrize("seed", range(20))
def test_kinds_are_what_pairs_of_shared_keywords_connect(seed: int):
    rng = np.random.default_rng(seed)
    lists = [sorted({*rng.integers(0, 14, rng.integers(0, 6)).tolist()}) for _ in range(14)]
    table = np.full((14, 6), -1)
    for row, of_keyword in zip(table, lists, strict=True):
        row[: len(of_keyword)] = of_keyword
    places = {item: place for place, item in enumerate(sorted({*itertools.chain(*lists)}))}
    expected = [NO_KIND if kind is None else places[min(kind)] for kind in item_kinds(lists)]
    assert kinds_of(table, np.array([len(of_keyword) for of_keyword in lists])).tolist() == expected


def test_one_keyword_is_one_cluster():
    found = one_user([[0.6, 0.8]])
    assert found["cluster"].to_list() == [0]
    assert found["centroid_similarity"][0] == pytest.approx(1.0)


@pytest.mark.parametrize("seed", range(8))
def test_equal_vectors_are_one_cluster_at_any_threshold(seed: int):
    # Half of such vectors are longer than 1 by a rounding error, which makes a distance below 0.
    vector = unit(np.random.default_rng(seed).normal(size=(1, 384)))[0].tolist()
    found = one_user([vector] * 20, chosen=only(distance_threshold=1e-3))
    assert found["cluster"].unique().to_list() == [0]
    np.testing.assert_allclose(found["centroid_similarity"].to_numpy(), 1.0, atol=1e-6)


def spelled(texts: list[str], vectors: list[list[float]], weights: list[float] | None = None) -> dict[str, int]:
    """The cluster of each text, by vectors and spelling alone."""
    keywords = keywords_of(["u"] * len(texts), list(range(len(texts))), weights)
    keywords = keywords.with_columns(keyword=pl.Series(texts))
    found = cluster_keywords(keywords, np.array(vectors, dtype=np.float32), only(lexical_weight=0.2))
    assert found["centroid_similarity"].is_finite().all()
    assert found["neighbour_similarity"].is_finite().all()
    return dict(found.select("keyword", "cluster").iter_rows())


def test_zero_vectors_resemble_nothing_but_by_spelling():
    texts = ["떡볶이", "oak table", "紅茶", "oak tables"]
    found = spelled(texts, [[0, 0], [1, 0], [0, 0], [0.9950042, 0.0998334]], [1.0, 4.0, 3.0, 2.0])
    assert found == {"떡볶이": 2, "oak table": 0, "紅茶": 1, "oak tables": 0}
    assert one_user([[0, 0]])["centroid_similarity"].to_list() == [0.0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["자전거 수리", "자전거 헬멧", "자전거 여행"], ["재즈 기타", "기타 줄", "기타 코드"]),
        (["велосипед детский", "велосипед горный"], ["рассада томатов", "томаты черри рассада"]),
        (["ποδήλατο πόλης", "ποδήλατο βουνού"], ["σπόροι ντομάτας", "ντομάτας φυτά"]),
        (["🪁🪁", "🪁"], ["🧶", "🧶🧶"]),
        (["ｶﾒﾗ", "カメラ"], ["靴", "長靴"]),
    ],
    ids=["Korean", "Russian", "Greek", "emoji", "Japanese"],
)
def test_spelling_stands_in_for_a_meaning_that_cannot_be_read(one: list[str], other: list[str]):
    texts = one + other
    found = spelled(texts, [[0, 0]] * len(texts))
    assert not {found[text] for text in one} & {found[text] for text in other}
    assert len(set(found.values())) < len(texts)


def test_spelling_counts_for_more_the_less_of_a_text_was_read():
    half = [0.5**0.5, 0.0]
    assert len(set(spelled(["oak 떡볶이집", "elm 떡볶이집"], [[0.5, 0], [0, 0.5]]).values())) == 1
    assert len(set(spelled(["oak table legs", "elm table legs"], [[1, 0], [0, 1]]).values())) == 2
    assert len(set(spelled(["oak 떡볶이", "oak 紅茶"], [half, half]).values())) == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_vectors_that_are_not_finite_are_refused(value: float):
    with pytest.raises(ValueError, match=r"vectors of 2 of 3 keywords are not finite"):
        one_user([[1, 0], [value, 0], [0, value]])


def test_no_keywords_are_no_clusters():
    keywords = keywords_of([], [])
    found = cluster_keywords(keywords, np.zeros((0, 1), dtype=np.float32), DEFAULT)
    assert found.is_empty()
    assert dict(found.schema) == {**keywords.schema, **ADDED}


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
