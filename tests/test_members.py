"""Which journey each keyword of a user is in: the same as joining texts, and an error where tables do not fit."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from journeys_dagster.inference.members import (
    journey_of_members,
    number_groups,
    number_journeys,
    number_words,
    with_journeys,
)

JOURNEYS = pl.DataFrame(
    {
        "user_id": ["ann", "ann", "ann", "bob"],
        "cluster": [0, 1, 2, 0],
        "journey_id": ["sofas", "tents", "wigs", "sofas"],
    }
)
MEMBERS = pl.DataFrame(
    {"user_id": ["ann", "ann", "ann", "ann", "bob"], "cluster": [1, 0, 2, 1, 0], "keyword": list("abcda")}
)


@st.composite
def users_with_clusters(draw: st.DrawFn) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Users in order, with clusters from 0 on, each of which has one keyword or more."""
    rows = []
    for user in sorted(draw(st.sets(st.text("abcé0", max_size=3), max_size=5))):
        sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
        clusters = draw(st.permutations([cluster for cluster, size in enumerate(sizes) for _ in range(size)]))
        rows += [(user, cluster, f"keyword {number}") for number, cluster in enumerate(clusters)]
    members = pl.DataFrame(rows, schema={"user_id": pl.String, "cluster": pl.Int32, "keyword": pl.String}, orient="row")
    journeys = members.select("user_id", "cluster").unique().sort("user_id", "cluster")
    return members, journeys.with_columns(journey_id=pl.format("{}/{}", "user_id", "cluster"))


@given(users_with_clusters())
def test_a_member_is_in_the_journey_that_a_join_finds(frames: tuple[pl.DataFrame, pl.DataFrame]):
    members, journeys = frames
    found = members.with_columns(journey_id=journeys["journey_id"].gather(journey_of_members(members, journeys)))
    joined = members.join(journeys, on=["user_id", "cluster"], how="left", maintain_order="left")
    assert_frame_equal(found, joined)
    assert with_journeys(members, journeys).columns == ["keyword", "journey"]


@pytest.mark.parametrize(
    ("members", "journeys"),
    [
        (MEMBERS, JOURNEYS.head(3)),  # a user without journeys
        (MEMBERS.head(4), JOURNEYS),  # a user without members
        (MEMBERS, JOURNEYS.filter(pl.col("journey_id") != "tents")),  # a cluster that is no journey
        (MEMBERS, JOURNEYS.filter(pl.col("journey_id") != "wigs")),  # the last one of a user
    ],
)
def test_clusters_and_journeys_of_different_runs_are_told(members: pl.DataFrame, journeys: pl.DataFrame):
    with pytest.raises(ValueError, match="materialise journey_identities again"):
        journey_of_members(members, journeys)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40))))
def test_pairs_are_numbered_in_order_without_gaps(pairs: list[tuple[int, int]]):
    # Users are numbered without gaps.
    distinct = {user: number for number, user in enumerate(sorted({user for user, _ in pairs}))}
    numbered = [(distinct[user], number) for user, number in pairs]
    expected = [sorted(set(numbered)).index(pair) for pair in numbered]
    users, numbers = (np.array([pair[place] for pair in numbered], dtype=np.int64) for place in (0, 1))
    assert number_groups(users, numbers).tolist() == expected


def test_journeys_and_words_are_numbered_in_order():
    rows = pl.DataFrame({"user_id": ["bob", "ann", "bob"], "journey_id": ["b", "c", "a"], "keyword": ["x", "y", "x"]})
    journeys, members = number_journeys(rows)
    assert journeys.rows() == [("ann", "c"), ("bob", "a"), ("bob", "b")]
    assert members["journey"].to_list() == [2, 0, 1]
    words, codes = number_words(rows["keyword"])
    assert words["keyword"].to_list() == ["x", "y"]
    assert codes.tolist() == [0, 1, 0]
