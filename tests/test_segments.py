"""Runs of rows and their weighted mean vectors."""

import itertools

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journeys_dagster.inference.segments import ROWS_AT_ONCE, centroids, segment_starts


def random_segments(seed: int, lengths: list[int], dimensions: int = 5):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(12, dimensions)).astype(np.float32)
    starts = np.cumsum([0, *lengths])
    codes = rng.integers(12, size=starts[-1])
    return vectors, codes, rng.gamma(1.0, 3.0, starts[-1]) + 0.01, starts


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


@pytest.mark.parametrize("rows_at_once", [1, 2, 7, 64, 10**6])
def test_the_number_of_rows_at_once_changes_no_bit(rows_at_once: int):
    lengths = [1, 300, 2, 1, 9, ROWS_AT_ONCE + 1, 3, 40, 1]
    vectors, codes, weights, starts = random_segments(1, lengths, dimensions=384)
    expected = centroids(vectors, codes, weights, starts)
    found = centroids(vectors, codes, weights, starts, rows_at_once=rows_at_once)
    np.testing.assert_array_equal(found, expected)


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
