"""What nearly everyone has: it takes part in journeys only of those who have nothing else."""

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from journeys_dagster.inference.clustering import telling_keywords

KEYWORDS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["all", "food", "figs", "rye"])), unique=True)


def rows(pairs: list[tuple[str, str]]) -> pl.DataFrame:
    return pl.DataFrame(pairs, schema={"user_id": pl.String, "keyword": pl.String}, orient="row")


def test_common_keywords_of_a_user_with_others_are_left_out():
    held = rows([("ada", "all"), ("ada", "figs"), ("ben", "all"), ("ben", "food")])
    telling = telling_keywords(held, pl.Series(["all", "food"]))
    assert telling.rows() == [("ada", "figs"), ("ben", "all"), ("ben", "food")]


@given(KEYWORDS, st.lists(st.sampled_from(["all", "food", "figs"]), unique=True))
def test_every_user_keeps_keywords_and_depends_on_their_own_alone(pairs: list[tuple[str, str]], common: list[str]):
    named = pl.Series(common, dtype=pl.String)
    telling = telling_keywords(rows(pairs), named)
    assert set(telling["user_id"]) == {user for user, _ in pairs}
    for user in telling["user_id"].unique():
        own = rows([pair for pair in pairs if pair[0] == user])
        assert telling.filter(user_id=user).rows() == telling_keywords(own, named).rows()
        kept = set(telling.filter(user_id=user)["keyword"])
        assert kept.isdisjoint(common) or kept == set(own["keyword"]) <= set(common)
