"""Related journeys: by who has both and by meaning; for each user, without what they have; on held-out time."""

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeys_dagster.inference.expansions import EXPANSION_SCHEMA, RELATED_SCHEMA, expand_users, related_journeys
from journeys_dagster.settings import ExpansionSettings, Settings

NAMES = ("tents", "stoves", "wigs", "sofas")
VECTORS = np.eye(4, dtype=np.float32)
CHOSEN = Settings().expansions.model_copy(update={"min_users": 2, "similarity_weight": 2.0})


def members(*lists: str, codes: dict[str, int] | None = None) -> pl.DataFrame:
    """Users by what their journeys are called, one keyword a journey."""
    places = codes or {name: place for place, name in enumerate(NAMES)}
    rows = [
        (f"u{number}", f"u{number}/{name}", name, True, places[name])
        for number, names in enumerate(lists)
        for name in names.split()
    ]
    schema = {
        "user_id": pl.String,
        "journey_id": pl.String,
        "keyword": pl.String,
        "is_name": pl.Boolean,
        "code": pl.Int64,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


EVERYONE = members("tents stoves", "tents stoves", "tents stoves", "wigs", "wigs sofas", "sofas", "sofas", "sofas")


def test_what_the_same_users_have_is_related() -> None:
    related = related_journeys(EVERYONE, VECTORS, CHOSEN)
    assert dict(related.schema) == RELATED_SCHEMA
    first = related.filter(journey="tents").row(0, named=True)
    assert (first["related"], first["rank"], first["together"], first["users"]) == ("stoves", 1, 3, 3)
    # Three of eight have each, and chance gives 9/8 of them both.
    assert first["lift"] == pytest.approx((3 + 1) / (9 / 8 + 1))
    assert first["share"] == pytest.approx(3 / 8)
    assert related.filter(journey="tents", related="wigs").is_empty()


def test_what_too_few_users_have_is_offered_to_nobody() -> None:
    strict = CHOSEN.model_copy(update={"min_users": 4})
    assert set(related_journeys(EVERYONE, VECTORS, strict)["related"]) <= {"sofas"}
    assert related_journeys(EVERYONE.clear(), VECTORS, CHOSEN).is_empty()


def test_a_journey_near_in_meaning_is_related_and_the_same_one_is_not() -> None:
    vectors = VECTORS.copy()
    vectors[NAMES.index("sofas")] = [0.6, 0, 0, 0.8]  # near to tents
    vectors[NAMES.index("wigs")] = [0.9, 0, np.sqrt(1 - 0.81), 0]  # so near that it is the same
    related = related_journeys(EVERYONE, vectors, CHOSEN).filter(journey="tents")
    found = related.filter(related="sofas").row(0, named=True)
    assert (found["together"], round(found["similarity"], 6)) == (0, 0.6)
    assert related.filter(related="wigs").is_empty()


def offered(
    lists: list[str],
    related: pl.DataFrame,
    held: pl.DataFrame,
    chosen: ExpansionSettings,
    *,
    unwanted: Sequence[str] = (),
) -> pl.DataFrame:
    rows = members(*lists).sort("user_id", "journey_id")
    chance = pl.when(~pl.col("keyword").is_in(unwanted)).then(0.5)
    journeys = rows.select("user_id", journey="keyword", return_probability=chance)
    codes = pl.DataFrame({"related": NAMES, "code": range(4)}, schema={"related": pl.String, "code": pl.Int64})
    return expand_users(
        journeys,
        VECTORS[rows["code"].to_numpy()],
        related.join(codes, on="related"),
        VECTORS,
        held=held,
        settings=chosen,
    )


def test_a_user_is_offered_what_is_related_and_not_what_they_have() -> None:
    related = related_journeys(EVERYONE, VECTORS, CHOSEN)
    nothing = pl.DataFrame(schema={"user_id": pl.String, "keyword": pl.String})
    found = offered(["tents", "tents stoves"], related, nothing, CHOSEN)
    assert dict(found.schema) == EXPANSION_SCHEMA
    assert found.select("user_id", "related", "because_of").rows() == [("u0", "stoves", "tents")]
    held = pl.DataFrame({"user_id": ["u0"], "keyword": ["stoves"]})
    assert offered(["tents"], related, held, CHOSEN).is_empty()


def test_a_journey_that_its_user_does_not_want_leads_to_nothing_and_nothing_near_it_is_offered() -> None:
    related = related_journeys(EVERYONE, VECTORS, CHOSEN)
    nothing = pl.DataFrame(schema={"user_id": pl.String, "keyword": pl.String})
    wanted = offered(["tents"], related, nothing, CHOSEN)
    assert "stoves" in wanted["related"]
    assert offered(["tents"], related, nothing, CHOSEN, unwanted=["tents"]).is_empty()
    assert "stoves" not in offered(["tents stoves"], related, nothing, CHOSEN, unwanted=["stoves"])["related"]


@given(st.lists(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True), min_size=2, max_size=12))
def test_users_are_offered_alone_what_they_are_offered_among_others(lists: list[list[str]]) -> None:
    everyone = [" ".join(names) for names in lists]
    related = related_journeys(members(*everyone), VECTORS, CHOSEN)
    shuffled = related_journeys(members(*everyone).sample(fraction=1.0, shuffle=True, seed=3), VECTORS, CHOSEN)
    assert shuffled.equals(related)
    held = members(*everyone).select("user_id", "keyword")
    together = offered(everyone, related, held, CHOSEN)
    first = held.filter(user_id="u0")
    alone = offered(everyone[:1], related, first, CHOSEN)
    assert alone.equals(together.filter(user_id="u0"))
    assert together.join(held, left_on=["user_id", "related"], right_on=["user_id", "keyword"], how="semi").is_empty()
    ranks = together.group_by("user_id").agg(pl.col("rank"))
    assert all(of_user == list(range(1, len(of_user) + 1)) for of_user in ranks["rank"].to_list())
