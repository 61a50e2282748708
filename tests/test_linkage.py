"""Average linkage of all users at once: SciPy's labels, ties included; each user alone decides on its own."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from journeys_dagster.inference import linkage_kernel as kernel
from journeys_dagster.inference.item_kinds_kernel import NO_KIND, kinds_of
from journeys_dagster.inference.linkage import KeywordRows, PairModel, average_linkage, pair_distances

MODEL = PairModel(offset=-9.0, item_weight=2.0, kind_weight=1.5, time_scale=6.0)


def numbered(labels: np.ndarray) -> list[int]:
    """Labels in the order of their first members."""
    numbers: dict[int, int] = {}
    return [numbers.setdefault(int(label), len(numbers)) for label in labels]


def scipy_labels(distances: np.ndarray, threshold: float) -> list[int]:
    if len(distances) < 2:
        return [0] * len(distances)
    tree = linkage(squareform(distances, checks=False), "average")
    return numbered(fcluster(tree, threshold, "distance"))


def infinite_diagonal(distances: np.ndarray) -> np.ndarray:
    copy = distances.copy()
    np.fill_diagonal(copy, np.inf)
    return copy


def chain_labels(distances: np.ndarray, threshold: float) -> list[int] | None:
    parents = np.arange(len(distances))
    labels = np.empty(len(distances), np.int32)
    if not kernel.cut_chains(infinite_diagonal(distances), threshold, parents):
        return None
    kernel.number(parents, labels)
    return labels.tolist()


def tree_labels(distances: np.ndarray, threshold: float) -> list[int]:
    parents = np.arange(len(distances))
    labels = np.empty(len(distances), np.int32)
    kernel.cut_tree(infinite_diagonal(distances), threshold, parents)
    kernel.number(parents, labels)
    return labels.tolist()


def random_distances(seed: int, n: int, steps: int) -> np.ndarray:
    """Symmetric distances from 0 to 1; with `steps`, multiples of 1 / steps only."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(n, 2))
    distances = np.linalg.norm(points[:, None] - points[None], axis=2) / 4
    distances = (distances + distances.T) / 2
    if steps:
        distances = np.round(distances * steps) / steps
    np.fill_diagonal(distances, 0.0)
    return distances


def random_rows(seed: int, sizes: list[int], *, distinct: int = 60, dimensions: int = 24) -> tuple:
    rng = np.random.default_rng(seed)
    topics = rng.normal(size=(6, dimensions))
    vectors = topics[rng.integers(6, size=distinct)] + rng.normal(size=(distinct, dimensions))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True) * np.sqrt(10)).astype(np.float32)
    n = sum(sizes)
    times = np.sort(rng.exponential(20, (n, 5)).round(1), axis=1)
    times[np.arange(5) >= rng.integers(0, 6, n)[:, None]] = np.nan
    items = np.sort(rng.integers(0, 12, (n, 3)), axis=1)
    items[np.arange(3) >= rng.integers(0, 4, n)[:, None]] = -1
    rows = KeywordRows(
        starts=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        codes=np.concatenate([np.zeros(0, int), *(rng.permutation(distinct)[:size] for size in sizes)]).astype(
            np.int64
        ),
        times=times,
        time_weights=rng.choice([0.0, 1.0, 3.5], n),
        items=items,
    )
    return vectors, rows


def one_user(vectors: list[list[float]]) -> tuple[np.ndarray, KeywordRows]:
    n = len(vectors)
    nothing = np.zeros((n, 0))
    return np.array(vectors, dtype=np.float32), KeywordRows(
        starts=np.array([0, n]),
        codes=np.arange(n),
        times=nothing,
        time_weights=np.zeros(n),
        items=nothing.astype(np.int64),
    )


PLAIN = PairModel(offset=0.0, item_weight=0.0, kind_weight=0.0, time_scale=1.0)


@settings(deadline=None, derandomize=True, max_examples=400)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 60),
    steps=st.sampled_from([0, 0, 2, 8, 10, 64]),
    threshold=st.floats(0.01, 1.0) | st.integers(1, 8).map(lambda k: k / 8),
)
def test_labels_are_those_of_scipy_ties_included(seed: int, n: int, steps: int, threshold: float):
    distances = random_distances(seed, n, steps)
    expected = scipy_labels(distances, threshold)
    assert tree_labels(distances, threshold) == expected
    assert chain_labels(distances, threshold) in (expected, None)


@settings(deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 60), threshold=st.floats(0.05, 1.0))
def test_without_ties_the_chains_decide(seed: int, n: int, threshold: float):
    assert chain_labels(random_distances(seed, n, 0), threshold) is not None


def test_chains_leave_ties_and_what_lies_on_the_threshold_to_the_tree():
    tie = np.array([[0.0, 0.25, 0.25], [0.25, 0.0, 0.5], [0.25, 0.5, 0.0]])
    assert chain_labels(tie, 0.3) is None
    assert chain_labels(tie, 0.2) == [0, 1, 2]
    assert chain_labels(tie[:2, :2], 0.25) is None
    assert tree_labels(tie[:2, :2], 0.25) == [0, 0]
    assert tree_labels(tie[:2, :2], np.nextafter(0.25, 0)) == [0, 1]


def test_equal_distances_everywhere_are_settled_as_scipy_settles_them():
    for n in (2, 3, 7, 20):
        distances = np.full((n, n), 0.5)
        np.fill_diagonal(distances, 0.0)
        for threshold in (0.4, 0.5, 0.6):
            assert tree_labels(distances, threshold) == scipy_labels(distances, threshold)


@settings(deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    sizes=st.lists(st.integers(0, 40), max_size=5),
    threshold=st.floats(0.05, 0.99),
)
def test_every_user_is_linked_as_scipy_does_it_on_the_same_distances(seed: int, sizes: list[int], threshold: float):
    vectors, rows = random_rows(seed, sizes)
    labels = average_linkage(vectors, rows, MODEL, distance_threshold=threshold)
    assert labels.dtype == np.int32
    for user, size in enumerate(sizes):
        distances = pair_distances(vectors, rows, MODEL, user=user)
        of_user = labels[rows.starts[user] : rows.starts[user + 1]].tolist()
        assert of_user == (scipy_labels(distances, threshold) if size else [])


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 33])
def test_distances_are_the_described_ones(size: int):
    vectors, rows = random_rows(size, [7, size])
    found = pair_distances(vectors, rows, MODEL, user=1)
    of_user = slice(7, None)
    own = vectors[rows.codes[of_user]].astype(np.float64)
    products = own @ own.T
    kinds = kinds_of(rows.items[of_user], (rows.items[of_user] >= 0).sum(axis=1))
    for i in range(size):
        for j in range(size):
            a, b = 7 + i, 7 + j
            logit = products[i, j] - 9.0
            ours, theirs = (times[np.isfinite(times)] for times in (rows.times[a], rows.times[b]))
            if len(ours) and len(theirs):
                gaps = np.abs(ours[:, None] - theirs[None])
                near = [np.mean(1 / (1 + gaps.min(axis=axis) / 6.0)) for axis in (0, 1)]
                logit += min(rows.time_weights[a], rows.time_weights[b]) * np.mean(near)
            if NO_KIND not in (kinds[i], kinds[j]) and kinds[i] != kinds[j]:
                logit -= 1.5
            else:
                logit += 2.0 * bool({*rows.items[a].tolist()} & {*rows.items[b].tolist()} - {-1})
            expected = 0.0 if i == j else 1 / (1 + np.exp(logit))
            assert found[i, j] == pytest.approx(expected, rel=1e-4)
    np.testing.assert_array_equal(found, found.T)


def test_neither_threads_nor_other_users_nor_their_order_change_a_label():
    sizes = [1, 45, 0, 7, 60, 2, 30, 45, 12]
    vectors, rows = random_rows(4, sizes)
    expected = average_linkage(vectors, rows, MODEL, distance_threshold=0.9, threads=1)
    assert expected.max() > 3
    for threads in (2, 5):
        found = average_linkage(vectors, rows, MODEL, distance_threshold=0.9, threads=threads)
        np.testing.assert_array_equal(found, expected)
    for user, size in enumerate(sizes):
        own = slice(rows.starts[user], rows.starts[user + 1])
        alone = KeywordRows(
            starts=np.array([0, size]),
            **{name: getattr(rows, name)[own] for name in ("codes", "times", "time_weights", "items")},
        )
        found = average_linkage(vectors, alone, MODEL, distance_threshold=0.9)
        np.testing.assert_array_equal(found, expected[own])


def test_one_row_and_no_rows():
    assert average_linkage(*one_user([[1.0, 0.0]]), PLAIN, distance_threshold=0.5).tolist() == [0]
    vectors, rows = one_user([])
    assert average_linkage(vectors.reshape(0, 2), rows, PLAIN, distance_threshold=0.5).tolist() == []
    empty = replace(rows, starts=np.zeros(1, np.int64))
    assert average_linkage(vectors.reshape(0, 2), empty, PLAIN, distance_threshold=0.5).tolist() == []


def test_equal_rows_are_one_cluster_and_zero_vectors_have_distance_one_half():
    equal = one_user([[1.0, 2.0]] * 9)
    assert average_linkage(*equal, PLAIN, distance_threshold=0.01).tolist() == [0] * 9
    zero = one_user([[0.0, 0.0], [3.0, 0.0], [0.0, 0.0], [3.0, 0.0]])
    assert pair_distances(*zero, PLAIN, user=0)[0].tolist() == [0.0, 0.5, 0.5, 0.5]
    assert average_linkage(*zero, PLAIN, distance_threshold=0.4).tolist() == [0, 1, 2, 1]


@pytest.mark.parametrize("logits", [[0.0, 1.0, -1.0, 1e-9], [-699.0, 699.0, 36.0, -36.0], [-1e9, 1e9, 5.5, -5.5]])
def test_the_logistic_curve_is_exact_to_rounding(logits: list[float]):
    found = np.array(logits)
    kernel.logistic(found, np.empty(len(logits), np.int64))
    expected = 1 / (1 + np.exp(np.clip(logits, -700, 700)))
    np.testing.assert_allclose(found, expected, rtol=1e-13)


@given(st.lists(st.floats(-700, 700), min_size=1, max_size=40))
def test_the_logistic_curve_is_exact_to_rounding_everywhere(logits: list[float]):
    found = np.array(logits)
    kernel.logistic(found, np.empty(len(logits), np.int64))
    np.testing.assert_allclose(found, 1 / (1 + np.exp(logits)), rtol=1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_vectors_that_are_not_finite_are_refused(value: float):
    with pytest.raises(ValueError, match="2 of 3 vectors are not finite"):
        average_linkage(*one_user([[value, 0.0], [0.0, value], [1.0, 1.0]]), PLAIN, distance_threshold=0.5)


def test_rows_that_do_not_fit_are_refused():
    vectors, rows = one_user([[1.0, 0.0], [0.0, 1.0]])
    with pytest.raises(ValueError, match=r"time_weights has shape \(3,\); \(2,\) is needed"):
        replace(rows, time_weights=np.ones(3))
    with pytest.raises(ValueError, match="starts must ascend from 0 to the number of rows, 2"):
        replace(rows, starts=np.array([0, 3]))
    with pytest.raises(ValueError, match="codes must be rows of the vectors, 0 to 1"):
        average_linkage(vectors, replace(rows, codes=np.array([0, 2])), PLAIN, distance_threshold=0.5)
