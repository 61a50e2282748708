"""Journey ids: they stay with what they name, one to one, and depend on the user's own history alone."""

from datetime import datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from journeys_dagster.inference.identity import continue_journeys

CURRENT = {
    "user_id": pl.String,
    "keyword": pl.String,
    "cluster": pl.Int32,
    "weight": pl.Float64,
    "first_seen": pl.Datetime("us"),
}
PREVIOUS = {"user_id": pl.String, "keyword": pl.String, "journey_id": pl.String}
OUTPUT = {
    "user_id": pl.String,
    "cluster": pl.Int32,
    "journey_id": pl.String,
    "continued": pl.Boolean,
    "overlap": pl.Float64,
}
START = datetime(2025, 6, 1)

Clusters = dict[int, dict[str, float]]


def today(user_id: str, clusters: Clusters, *, oldest: str | None = None) -> pl.DataFrame:
    """Clusters of one user, each with its keywords' weights; `oldest` was seen a day before all others."""
    rows = [
        (user_id, keyword, cluster, weight, START - timedelta(days=keyword == oldest))
        for cluster, keywords in clusters.items()
        for keyword, weight in keywords.items()
    ]
    return pl.DataFrame(rows, schema=CURRENT, orient="row")


def before(user_id: str, journeys: dict[str, list[str]]) -> pl.DataFrame:
    rows = [(user_id, keyword, journey_id) for journey_id, keywords in journeys.items() for keyword in keywords]
    return pl.DataFrame(rows, schema=PREVIOUS, orient="row")


def ids(found: pl.DataFrame) -> dict[int, str]:
    return dict(found.select("cluster", "journey_id").iter_rows())


NOTHING = before("u", {})


def test_unchanged_clusters_keep_their_ids_whatever_their_numbers():
    found = continue_journeys(
        today("u", {0: {"sofa": 2.0, "couch": 1.0}, 1: {"tent": 1.0}}),
        before("u", {"tents": ["tent"], "sofas": ["sofa", "couch"]}),
    )
    assert dict(found.schema) == OUTPUT
    assert found.rows() == [("u", 0, "sofas", True, 1.0), ("u", 1, "tents", True, 1.0)]


def test_when_a_journey_splits_its_id_follows_the_heavier_part():
    found = continue_journeys(
        today("u", {0: {"sofa": 1.0, "couch": 1.0}, 1: {"lamp": 3.0}}),
        before("u", {"furniture": ["sofa", "couch", "lamp"]}),
    )
    assert ids(found)[1] == "furniture"
    assert ids(found)[0] != "furniture"
    assert found["continued"].to_list() == [False, True]


def test_when_journeys_merge_the_heavier_ones_id_stays():
    found = continue_journeys(
        today("u", {0: {"sofa": 1.0, "couch": 1.0, "lamp": 3.0, "rug": 1.0}}),
        before("u", {"a sofas": ["sofa", "couch"], "lamps": ["lamp"]}),
    )
    assert found.rows() == [("u", 0, "lamps", True, 0.5)]


def test_weight_counts_as_it_is_today_and_new_keywords_count_for_nothing():
    found = continue_journeys(
        today("u", {0: {"a": 1.0, "new": 99.0}, 1: {"b": 2.0}}), before("u", {"journey": ["a", "b"]})
    )
    assert ids(found)[1] == "journey"


def test_the_loser_of_a_journey_continues_its_next_best():
    found = continue_journeys(
        today("u", {0: {"a": 5.0}, 1: {"b": 3.0, "c": 1.0}}), before("u", {"first": ["a", "b"], "second": ["c"]})
    )
    assert found.rows() == [("u", 0, "first", True, 1.0), ("u", 1, "second", True, 0.25)]


def test_equal_overlaps_go_to_the_smaller_id_then_to_the_smaller_cluster():
    merged = continue_journeys(today("u", {0: {"x": 1.0, "y": 1.0}}), before("u", {"b": ["x"], "a": ["y"]}))
    assert ids(merged) == {0: "a"}
    split = continue_journeys(today("u", {1: {"x": 1.0}, 0: {"y": 1.0}}), before("u", {"a": ["x", "y"]}))
    assert ids(split)[0] == "a"


def test_weights_that_add_up_to_the_same_are_equal_overlaps():
    # In floating point 0.1 + 0.2 is more than 0.3.
    found = continue_journeys(today("u", {0: {"a": 0.3}, 1: {"b": 0.1, "c": 0.2}}), before("u", {"j": ["a", "b", "c"]}))
    assert ids(found)[0] == "j"


def test_a_new_id_is_made_of_the_user_and_the_clusters_oldest_keyword_alone():
    def id_of(user: str, clusters: Clusters, cluster: int, oldest: str) -> str:
        return ids(continue_journeys(today(user, clusters, oldest=oldest), NOTHING))[cluster]

    sofa = id_of("u", {0: {"sofa": 1.0}}, 0, "sofa")
    assert id_of("u", {0: {"tent": 9.0}, 3: {"armchair": 5.0, "sofa": 2.0}}, 3, "sofa") == sofa
    assert id_of("u", {0: {"armchair": 5.0, "sofa": 2.0}}, 0, "armchair") != sofa
    assert id_of("v", {0: {"sofa": 1.0}}, 0, "sofa") != sofa


def test_of_equally_old_keywords_the_alphabetically_first_founds_the_journey():
    pair = continue_journeys(today("u", {0: {"sofa": 9.0, "armchair": 1.0}}), NOTHING)
    alone = continue_journeys(today("u", {0: {"armchair": 1.0}}), NOTHING)
    assert ids(pair) == ids(alone)


def test_ids_that_were_handed_out_once_are_made_the_same_way_for_ever():
    assert ids(continue_journeys(today("u", {0: {"sofa": 1.0}}), NOTHING)) == {0: "36926ff9fd58ad3b"}


def test_an_id_the_user_had_before_is_not_given_to_something_else():
    sofa = ids(continue_journeys(today("u", {0: {"sofa": 1.0}}), NOTHING))[0]
    had_it_go_elsewhere = continue_journeys(
        today("u", {0: {"couch": 2.0}, 1: {"sofa": 1.0}}), before("u", {sofa: ["couch", "sofa"]})
    )
    assert ids(had_it_go_elsewhere)[0] == sofa
    assert ids(had_it_go_elsewhere)[1] != sofa
    had_it_end = continue_journeys(today("u", {0: {"sofa": 1.0}}), before("u", {sofa: ["couch"]}))
    assert ids(had_it_end)[0] != sofa


def test_another_users_journeys_are_never_continued():
    found = continue_journeys(today("u", {0: {"sofa": 1.0}}), before("v", {"of v": ["sofa"]}))
    assert found["continued"].to_list() == [False]
    assert ids(found)[0] != "of v"


@pytest.mark.parametrize("previous", [NOTHING, before("u", {"old": ["sofa"]})])
def test_a_day_without_clusters_has_no_journeys(previous: pl.DataFrame):
    found = continue_journeys(today("u", {}), previous)
    assert found.is_empty()
    assert dict(found.schema) == OUTPUT


WEIGHTS = st.sampled_from([0.5, 1.0, 1.0, 2.0, 0.1, 0.2, 0.3])


@st.composite
def histories(draw: st.DrawFn) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Two days of a few users, with many equal overlaps."""
    frames_today, frames_before = [today("none", {})], [NOTHING]
    for user in draw(st.lists(st.sampled_from(["ann", "bob", "cyd"]), unique=True)):
        keywords = draw(st.lists(st.sampled_from("abcdefghijkl"), unique=True))
        clusters: Clusters = {}
        for keyword in keywords:
            clusters.setdefault(draw(st.integers(0, 4)), {})[keyword] = draw(WEIGHTS)
        journeys: dict[str, list[str]] = {}
        for keyword in draw(st.lists(st.sampled_from("abcdefghijkl"), unique=True)):
            journeys.setdefault(draw(st.sampled_from(["j1", "j2", "j3", "j4"])), []).append(keyword)
        frames_today.append(today(user, clusters))
        frames_before.append(before(user, journeys))
    return pl.concat(frames_today), pl.concat(frames_before)


def greedy(current: pl.DataFrame, previous: pl.DataFrame) -> dict[tuple[str, int], str]:
    """The rule in plain Python: pairs from the largest overlap down, each side used once."""
    journey_of = {(user, keyword): journey for user, keyword, journey in previous.iter_rows()}
    overlaps: dict[tuple[str, str, int], int] = {}
    for user, keyword, cluster, weight, _ in current.iter_rows():
        if journey := journey_of.get((user, keyword)):
            pair = (user, journey, cluster)
            overlaps[pair] = overlaps.get(pair, 0) + round(weight * 1e6)
    matched: dict[tuple[str, int], str] = {}
    taken: set[tuple[str, str]] = set()
    for user, journey, cluster in sorted(overlaps, key=lambda pair: (-overlaps[pair], *pair)):
        if (user, cluster) not in matched and (user, journey) not in taken:
            matched[user, cluster] = journey
            taken.add((user, journey))
    return matched


@given(histories())
def test_clusters_continue_journeys_from_the_largest_overlap_down(history: tuple[pl.DataFrame, pl.DataFrame]):
    current, previous = history
    found = continue_journeys(current, previous)
    expected = greedy(current, previous)
    continued = found.filter("continued")
    assert {(user, cluster): journey for user, cluster, journey, *_ in continued.iter_rows()} == expected
    assert found.select("user_id", "cluster").equals(
        current.select("user_id", "cluster").unique().sort("user_id", "cluster")
    )
    assert found.select("user_id", "journey_id").is_unique().all()
    assert found["overlap"].is_between(0.0, 1.0).all()
    assert (found.filter(~pl.col("continued"))["overlap"] == 0.0).all()


@given(histories(), st.integers(0, 99))
def test_neither_the_order_of_rows_nor_other_users_matter(history: tuple[pl.DataFrame, pl.DataFrame], seed: int):
    current, previous = history
    expected = continue_journeys(current, previous)
    shuffled = [frame.sample(fraction=1.0, shuffle=True, seed=seed) for frame in (current, previous)]
    assert_frame_equal(continue_journeys(*shuffled), expected, check_exact=True)
    for user in current["user_id"].unique():
        alone = continue_journeys(current.filter(user_id=user), previous.filter(user_id=user))
        assert_frame_equal(alone, expected.filter(user_id=user), check_exact=True)


@given(st.lists(histories(), min_size=2, max_size=5))
def test_ids_stay_distinct_within_a_user_over_many_days(days: list[tuple[pl.DataFrame, pl.DataFrame]]):
    previous = NOTHING
    for current, _ in days:
        found = continue_journeys(current, previous)
        assert found.select("user_id", "journey_id").is_unique().all()
        previous = current.join(found, on=["user_id", "cluster"]).select("user_id", "keyword", "journey_id")
        assert_frame_equal(
            continue_journeys(current, previous).select("cluster", "journey_id"), found.select("cluster", "journey_id")
        )


def test_matching_ends_where_all_overlaps_are_equal():
    size = 40
    clusters: Clusters = {cluster: {f"{cluster} {journey}": 1.0 for journey in range(size)} for cluster in range(size)}
    journeys = {f"{journey:02}": [f"{cluster} {journey}" for cluster in range(size)] for journey in range(size)}
    found = continue_journeys(today("u", clusters), before("u", journeys))
    assert ids(found) == {number: f"{number:02}" for number in range(size)}


def test_a_chain_in_which_each_match_waits_for_the_one_before_is_settled():
    size = 60
    # Cluster n shares a little more with journey n + 1 than with its own, which is taken only if its rival is.
    clusters: Clusters = {n: {f"{n} own": 2.0 * n + 1, f"{n} next": 2.0 * n + 2} for n in range(size)}
    journeys = {f"{n:02}": [f"{n} own", f"{n - 1} next"] for n in range(size + 1)}
    found = continue_journeys(today("u", clusters), before("u", journeys))
    assert ids(found) == {n: f"{n + 1:02}" for n in range(size)}
