"""Runs of rows and their weighted mean vectors."""

import itertools
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journeys_dagster.inference.segments import (
    centroid_similarity,
    centroids,
    neighbour_similarity,
    over_segments,
    pair_similarity,
    segment_starts,
    sort_rows,
)


def random_segments(seed: int, lengths: list[int], dimensions: int = 5):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(12, dimensions)).astype(np.float32)
    starts = np.cumsum([0, *lengths])
    codes = rng.integers(12, size=starts[-1])
    return vectors, codes, rng.gamma(1.0, 3.0, starts[-1]) + 0.01, starts


@given(st.lists(st.tuples(st.text(max_size=3), st.integers(-3, 3), st.text(max_size=2)), max_size=40, unique=True))
def test_rows_are_sorted_as_polars_sorts_them(rows):
    frame = pl.DataFrame(rows, schema={"user_id": pl.String, "rank": pl.Int32, "value": pl.String}, orient="row")
    for columns in (("user_id", "rank", "value"), ("value", "user_id", "rank")):
        assert sort_rows(frame, *columns).equals(frame.sort(*columns))


def test_segments_start_where_a_row_differs_from_the_one_before():
    rows = pl.DataFrame({"user_id": ["a", "a", "b", "b", "c", "a"], "cluster": [0, 0, 0, 1, 1, 0]})
    assert segment_starts(rows.select("user_id")).tolist() == [0, 2, 4, 5, 6]
    assert segment_starts(rows).tolist() == [0, 2, 3, 4, 5, 6]


def test_no_rows_are_no_segments():
    starts = segment_starts(pl.DataFrame({"user_id": []}, schema={"user_id": pl.String}))
    assert starts.tolist() == [0]
    assert starts.dtype == np.int64
    result = centroids(np.zeros((0, 4), dtype=np.float32), np.array([], dtype=np.int64), np.array([]), starts)
    assert result.shape == (0, 4)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 1)), min_size=1))
def test_segments_cover_all_rows_with_runs_of_equal_ones(rows: list[tuple[str, int]]):
    starts = segment_starts(pl.DataFrame(rows, schema=["user_id", "cluster"], orient="row")).tolist()
    changes = [row for row in range(1, len(rows)) if rows[row] != rows[row - 1]]
    assert starts == [0, *changes, len(rows)]


@settings(deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), lengths=st.lists(st.integers(1, 9), min_size=1, max_size=12))
def test_centroids_are_the_weighted_means_at_unit_length(seed: int, lengths: list[int]):
    vectors, codes, weights, starts = random_segments(seed, lengths)
    found = centroids(vectors, codes, weights, starts)
    assert found.dtype == np.float32
    for segment, (begin, end) in enumerate(itertools.pairwise(starts)):
        mean = np.average(vectors[codes[begin:end]].astype(np.float64), axis=0, weights=weights[begin:end])
        np.testing.assert_allclose(found[segment], mean / np.linalg.norm(mean), atol=1e-6)


def test_a_centroid_has_the_same_bits_without_the_other_segments():
    vectors, codes, weights, starts = random_segments(2, [3, 1, 50, 8], dimensions=384)
    together = centroids(vectors, codes, weights, starts)
    for segment, (begin, end) in enumerate(itertools.pairwise(starts)):
        alone = centroids(vectors, codes[begin:end], weights[begin:end], np.array([0, end - begin]))
        np.testing.assert_array_equal(alone[0], together[segment])


def test_the_centroid_of_a_mean_of_zero_is_zero():
    vectors = np.array([[1, 0], [-1, 0], [0, 0], [0, 2]], dtype=np.float32)
    found = centroids(vectors, np.array([0, 1, 2, 3, 3]), np.array([2.0, 2.0, 5.0, 1.0, 3.0]), np.array([0, 2, 3, 5]))
    np.testing.assert_array_equal(found, [[0, 0], [0, 0], [0, 1]])


@settings(deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), lengths=st.lists(st.integers(1, 9), min_size=1, max_size=12))
def test_centroid_similarity_is_the_cosine_to_the_centroid(seed: int, lengths: list[int]):
    vectors, codes, weights, starts = random_segments(seed, lengths)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    segments = np.repeat(np.arange(len(lengths)), lengths)
    expected = (centroids(vectors, codes, weights, starts)[segments] * vectors[codes]).sum(axis=1)
    found = centroid_similarity(vectors, codes, weights, starts)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.max() <= 1.0


@settings(deadline=None)
@given(st.integers(0, 2**32), st.lists(st.integers(1, 6), max_size=8))
def test_neighbour_similarity_is_the_largest_cosine_to_another_row_of_the_group(seed: int, lengths: list[int]):
    units = np.random.default_rng(seed).normal(size=(sum(lengths), 5))
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    groups = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)
    found = neighbour_similarity(units.astype(np.float32), groups)
    for first, last in itertools.pairwise(groups):
        cosines = units[first:last] @ units[first:last].T
        np.fill_diagonal(cosines, -2.0)
        expected = cosines.max(axis=1) if last - first > 1 else np.zeros(1)
        np.testing.assert_allclose(found[first:last], expected, atol=1e-6)


def test_centroid_similarity_without_a_direction_is_zero():
    vectors = np.array([[1, 0], [-1, 0], [0, 0], [0, 1]], dtype=np.float32)
    found = centroid_similarity(vectors, np.array([0, 1, 2, 3]), np.ones(4), np.array([0, 2, 4]))
    assert found.tolist() == [0.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize("compute", [centroids, centroid_similarity])
@pytest.mark.parametrize("code", [-1, 2])
def test_a_code_that_names_no_vector_is_refused(compute: Callable, code: int):
    with pytest.raises(ValueError, match="rows of the vectors, 0 to 1"):
        compute(np.zeros((2, 3), dtype=np.float32), np.array([0, code]), np.ones(2), np.array([0, 2]))


@given(lengths=st.lists(st.integers(0, 30), max_size=40), threads=st.integers(1, 5))
def test_every_segment_is_in_one_run(lengths: list[int], threads: int):
    runs: list[slice] = []
    over_segments(np.cumsum([0, *lengths]), runs.append, threads=threads)
    ordered = sorted((run.start, run.stop) for run in runs)
    assert [segment for first, last in ordered for segment in range(first, last)] == list(range(len(lengths)))


def test_what_goes_wrong_in_a_run_is_raised():
    def fail(run: slice) -> None:
        raise ArithmeticError(run.start)

    with pytest.raises(ArithmeticError):
        over_segments(np.arange(9), fail)


@given(seed=st.integers(0, 10**6), pairs=st.integers(0, 40))
def test_pair_similarity_is_the_dot_product_of_each_pair(seed: int, pairs: int):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(7, 5)).astype(np.float32)
    firsts, seconds = rng.integers(0, 7, (2, pairs))
    expected = (vectors[firsts].astype(np.float64) * vectors[seconds]).sum(axis=1)
    np.testing.assert_allclose(pair_similarity(vectors, firsts, seconds), expected, atol=1e-12)
    with pytest.raises(ValueError, match="codes must be rows"):
        pair_similarity(vectors, np.array([0]), np.array([7]))
