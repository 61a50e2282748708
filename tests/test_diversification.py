"""The penalty on similar journeys: the article's formula, one pass over the original order, user by user."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from journeys_dagster.inference import diversification
from journeys_dagster.inference.diversification import diversify, occurrences_above

OUTPUT = {
    "user_id": pl.String,
    "journey_id": pl.String,
    "rank": pl.Int32,
    "score": pl.Float64,
    "rank_before": pl.Int32,
    "score_before": pl.Float64,
    "occurrence": pl.Int32,
}


def ranked_of(scores: dict[str, float], user: str = "u") -> pl.DataFrame:
    return pl.DataFrame(
        {
            "user_id": [user] * len(scores),
            "journey_id": list(scores),
            "rank": list(range(1, len(scores) + 1)),
            "score": list(scores.values()),
        },
        schema={"user_id": pl.String, "journey_id": pl.String, "rank": pl.Int32, "score": pl.Float64},
    )


def random_users(seed: int, sizes: list[int]) -> tuple[pl.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    users = [
        ranked_of({f"j{n}": float(s) for n, s in enumerate(np.sort(rng.integers(1, 20, size))[::-1])}, f"user {user}")
        for user, size in enumerate(sizes)
    ]
    vectors = rng.normal(size=(sum(sizes), 4))
    return pl.concat([ranked_of({}), *users]), unit(vectors)


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_each_similar_journey_above_costs_one_penalty():
    # Cosines: a–b 0.8, a–c 0, a–d 0.6, b–c 0.6, b–d 0.96, c–d 0.8. From 0.7 two journeys are similar.
    vectors = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]], dtype=np.float32)
    ranked = ranked_of({"a": 1.0, "b": 0.9, "c": 0.88, "d": 0.87})
    found = diversify(ranked, vectors, penalty=0.95, similarity_threshold=0.7)
    assert dict(found.schema) == OUTPUT
    assert found["journey_id"].to_list() == ["a", "c", "b", "d"]
    assert found["rank"].to_list() == [1, 2, 3, 4]
    assert found["rank_before"].to_list() == [1, 3, 2, 4]
    assert found["occurrence"].to_list() == [0, 0, 1, 2]
    assert found["score_before"].to_list() == [1.0, 0.88, 0.9, 0.87]
    assert found["score"].to_list() == pytest.approx([1.0, 0.88, 0.9 * 0.95, 0.87 * 0.95 * 0.95], rel=1e-12)


def test_occurrences_count_over_the_original_order_though_the_rival_falls_behind():
    # c is similar to b alone. b pays twice and ends below c, yet c has paid for b.
    vectors = np.array([[1.0, 0.0], [1.0, 0.0], [0.8, 0.6], [0.0, 1.0]], dtype=np.float32)
    ranked = ranked_of({"a": 1.0, "a2": 0.95, "b": 0.9, "c": 0.88})
    found = diversify(ranked, vectors, penalty=0.95, similarity_threshold=0.5)
    assert found.select("journey_id", "occurrence").rows() == [("a", 0), ("a2", 1), ("c", 1), ("b", 2)]
    assert found["score"].to_list() == pytest.approx([1.0, 0.9025, 0.836, 0.81225], rel=1e-12)


def test_journeys_exactly_at_the_threshold_are_similar():
    vectors = np.array([[1.0, 0.0], [0.5, 0.8660254]], dtype=np.float32)
    assert occurrences_above(vectors, np.array([0, 2]), similarity_threshold=0.5).tolist() == [0, 1]
    assert occurrences_above(vectors, np.array([0, 2]), similarity_threshold=0.51).tolist() == [0, 0]


def test_a_penalty_of_one_changes_nothing():
    ranked, vectors = random_users(0, [5, 1, 9])
    found = diversify(ranked, vectors, penalty=1.0, similarity_threshold=-1.0)
    assert found["occurrence"].to_list() == [*range(5), 0, *range(9)]
    assert_frame_equal(found.select("user_id", "journey_id", "rank", "score"), ranked, check_column_order=False)


def test_journeys_that_resemble_none_keep_order_and_score():
    ranked = ranked_of({"a": 3.0, "b": 2.0, "c": 1.0})
    found = diversify(ranked, np.eye(3, dtype=np.float32), penalty=0.1, similarity_threshold=0.5)
    assert_frame_equal(found.select("user_id", "journey_id", "rank", "score"), ranked, check_column_order=False)


def test_equal_scores_keep_their_order():
    ranked = ranked_of(dict.fromkeys("dbca", 1.0))
    found = diversify(ranked, np.eye(4, dtype=np.float32), penalty=0.9, similarity_threshold=0.5)
    assert found["journey_id"].to_list() == list("dbca")


def test_no_journeys_are_diversified_as_none():
    found = diversify(ranked_of({}), np.zeros((0, 4), dtype=np.float32), penalty=0.9, similarity_threshold=0.5)
    assert found.is_empty()
    assert dict(found.schema) == OUTPUT


def by_double_loop(ranked: pl.DataFrame, vectors: np.ndarray, penalty: float, threshold: float) -> list[tuple]:
    """The formula in plain Python."""
    rows = list(ranked.iter_rows(named=True))
    result = []
    for i, row in enumerate(rows):
        occurrence = 0
        for j, other in enumerate(rows):
            above = other["user_id"] == row["user_id"] and other["rank"] < row["rank"]
            if above and float(vectors[i].astype(float) @ vectors[j].astype(float)) >= threshold:
                occurrence += 1
        score = row["score"] * penalty**occurrence
        result.append((row["user_id"], -score, row["rank"], row["journey_id"], occurrence))
    return sorted(result)


SIZES = st.lists(st.integers(1, 8), max_size=8)


@settings(deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6), sizes=SIZES, penalty=st.sampled_from([0.5, 0.95, 1.0]), threshold=st.floats(-0.9, 0.9)
)
def test_all_is_as_a_plain_double_loop_has_it(seed: int, sizes: list[int], penalty: float, threshold: float):
    ranked, vectors = random_users(seed, sizes)
    found = diversify(ranked, vectors, penalty=penalty, similarity_threshold=threshold)
    expected = by_double_loop(ranked, vectors, penalty, threshold)
    columns = ["user_id", pl.col("score").neg(), "rank_before", "journey_id", "occurrence"]
    assert found.select(columns).rows() == expected
    for _, of_user in found.group_by("user_id"):
        assert of_user["rank"].to_list() == list(range(1, len(of_user) + 1))


@pytest.mark.parametrize("rows_at_once", [1, 4, diversification.ROWS_AT_ONCE])
def test_a_user_gets_the_same_bits_without_the_others(monkeypatch: pytest.MonkeyPatch, rows_at_once: int):
    monkeypatch.setattr(diversification, "ROWS_AT_ONCE", rows_at_once)
    ranked, vectors = random_users(5, [2, 3, 2, 1, 7, 2, 30, 2, 3, 2, 7])
    together = diversify(ranked, vectors, penalty=0.95, similarity_threshold=0.3)
    assert together["occurrence"].max() not in {None, 0}
    for (user,), of_user in together.group_by("user_id", maintain_order=True):
        rows = ranked["user_id"] == user
        alone = diversify(ranked.filter(rows), vectors[rows.to_numpy()], penalty=0.95, similarity_threshold=0.3)
        assert_frame_equal(alone, of_user, check_exact=True)


# Other strategies


def lists(seed: int, lengths: list[int]) -> tuple[pl.DataFrame, np.ndarray]:
    """Ranked lists of users with random vectors."""
    rng = np.random.default_rng(seed)
    rows = [(f"u{user}", f"j{rank}", rank) for user, length in enumerate(lengths) for rank in range(1, length + 1)]
    ranked = pl.DataFrame(rows, schema=["user_id", "journey_id", "rank"], orient="row").with_columns(
        score=1.0 / pl.col("rank")
    )
    vectors = rng.normal(size=(len(rows), 8))
    return ranked, (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def choose(ranked: pl.DataFrame, vectors: np.ndarray, strategy: str, diversity: float = 0.5) -> pl.DataFrame:
    return diversification.select_diverse(
        ranked, vectors, strategy=strategy, diversity=diversity, list_length=5, similarity_threshold=0.5
    )


STRATEGIES = ["mmr", "dpp", "ssd"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_diversity_keeps_the_order(strategy: str):
    ranked, vectors = lists(0, [7, 1, 3])
    found = choose(ranked, vectors, strategy, 0.0)
    assert found["rank"].to_list() == found["rank_before"].to_list()
    assert found["score"].to_list() == ranked["score"].to_list()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_copy_of_the_first_is_pushed_down(strategy: str):
    ranked = lists(0, [3])[0].with_columns(score=pl.Series([1.0, 0.99, 0.9]))
    found = choose(ranked, np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32), strategy, 0.9)
    assert found["journey_id"].to_list() == ["j1", "j3", "j2"]
    assert found["score"].to_list() == [1.0, 0.9, 0.9]
    assert found["occurrence"].to_list() == [0, 0, 1]


@pytest.mark.parametrize("strategy", STRATEGIES)
@given(seed=st.integers(0, 1000), lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5))
def test_strategies_only_reorder_within_users(strategy: str, seed: int, lengths: list[int]):
    ranked, vectors = lists(seed, lengths)
    found = choose(ranked, vectors, strategy)
    assert found.sort("user_id", "rank_before")["journey_id"].to_list() == ranked["journey_id"].to_list()
    for of_user in found.partition_by("user_id"):
        assert of_user["rank"].to_list() == list(range(1, len(of_user) + 1))
        assert of_user["score"].is_sorted(descending=True)
        # Beyond the list, nobody is chosen: the order stays.
        assert of_user["rank_before"][5:].is_sorted()
    alone = choose(ranked.filter(user_id="u0"), vectors[: lengths[0]], strategy)
    assert alone.equals(found.filter(user_id="u0"))
