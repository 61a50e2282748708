"""Misspelt words: which are told from words of their own, and how names are shown."""

from datetime import date, datetime, timedelta
from random import Random

import polars as pl
import pytest
from conftest import EMBEDDER
from hypothesis import given, settings
from hypothesis import strategies as st

from journeys_dagster import infer_journeys, notebook
from journeys_dagster.inference.members import number_journeys
from journeys_dagster.inference.naming import name_journeys
from journeys_dagster.inference.safety import shown_spellings
from journeys_dagster.inference.spelling import dictionary, misspelt, respelt
from journeys_dagster.settings import Settings
from journeys_dagster.sources.parameters import query_parameters
from journeys_dagster.sql.connection import start_duckdb, used_params
from journeys_dagster.sql.macros import load_macros
from journeys_dagster.sql.models import load_models

AS_OF = date(2025, 6, 10)
MODELS = load_models()
SEARCH = {"user_id": pl.String, "query": pl.String}
Search = tuple[str, str]


def spellings(searches: list[Search]) -> pl.DataFrame:
    """What the model says of searches on one day."""
    events = pl.DataFrame(searches, schema=SEARCH, orient="row").with_columns(
        item_id=pl.lit(None, pl.String), action=pl.lit("search"), occurred_at=AS_OF - timedelta(1), arrival_day=AS_OF
    )
    params = query_parameters(Settings(), AS_OF)
    with start_duckdb({"threads": 1}) as connection:
        for macro in load_macros():
            connection.execute(macro)
        connection.register("stg_events", events)
        connection.execute(
            "create table item_keywords (item_id varchar, keyword varchar, valid_from date, valid_until date)"
        )
        for name in ("keyword_trends", "spellings"):
            sql = MODELS[name].sql
            connection.execute(f"create table {name} as {sql}", used_params(sql, params))
        return connection.sql("from spellings order by word").pl()


def corrected(searches: list[Search]) -> dict[str, str]:
    return misspelt(spellings(searches))


def users(first: int, last: int, *queries: str) -> list[Search]:
    return [(f"user-{number}", query) for number in range(first, last) for query in queries]


def respelling_of(text: str, words: dict[str, str]) -> str:
    return pl.select(respelt(pl.lit(text), words)).item()


OTHERS = users(50, 100, "hiking boots")


@pytest.mark.parametrize(
    ("rare", "usual"),
    [
        ("bathrom", "bathroom"),
        ("gutiar", "guitar"),
        ("tommato", "tomato"),
        ("calender", "calendar"),
        ("footbal", "football"),
        ("sourdogh", "sourdough"),
        ("keybaord", "keyboard"),
    ],
)
def test_a_word_whose_users_have_the_usual_one_too_is_a_mistake(rare: str, usual: str):
    searches = [*users(0, 3, f"{rare} large", f"{usual} small"), *users(3, 12, f"{usual} small"), *OTHERS]
    assert corrected(searches) == {rare: usual}


@pytest.mark.parametrize(
    ("rare", "usual"),
    [
        ("scones recipe", "scores today"),
        ("window sills", "soft skills"),
        ("lightroom preset", "birthday present"),
        ("quilt wadding", "wedding shoes"),
    ],
)
def test_a_word_of_its_own_has_users_of_its_own(rare: str, usual: str):
    assert corrected([*users(0, 6, rare), *users(6, 30, usual), *users(0, 1, usual), *OTHERS]) == {}


@pytest.mark.parametrize(
    ("rare", "usual"), [("model trains", "model train"), ("hotel rates", "hotel dates"), ("wool throws", "wool throw")]
)
def test_forms_and_words_of_the_dictionary_stay(rare: str, usual: str):
    assert corrected([*users(0, 3, rare, usual), *users(3, 12, usual), *OTHERS]) == {}


def test_where_everybody_has_a_word_it_says_nothing_that_its_users_do():
    everywhere = "kitchen ideas"
    assert corrected([*users(0, 3, "kitchin clock"), *users(0, 100, everywhere)]) == {}


def test_a_mistake_in_the_same_keyword_needs_no_user_who_wrote_both():
    assert corrected([*users(0, 1, "kitchen renovaton"), *users(1, 4, "kitchen renovation")]) == {
        "renovaton": "renovation"
    }
    # Two users are no spelling that most people use.
    assert corrected([*users(0, 1, "kitchen renovaton"), *users(1, 3, "kitchen renovation")]) == {}


WORDS = ["garden", "gardn", "gaden", "gardens", "pond", "bench", "benhc", "oak"]
SEARCHES = st.lists(
    st.tuples(
        st.integers(0, 8).map(str), st.lists(st.sampled_from(WORDS), min_size=1, max_size=2, unique=True).map(" ".join)
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=10)
@given(SEARCHES, st.randoms(use_true_random=False))
def test_more_users_have_what_is_shown_whatever_the_order_of_rows(searches: list[Search], random: Random):
    found = spellings(searches)
    for row in found.iter_rows(named=True):
        by_word = {
            word: {user for user, query in searches if word in query.split()} for word in (row["word"], row["shown"])
        }
        assert row["users"] == len(by_word[row["word"]])
        assert row["shown_users"] == len(by_word[row["shown"]]) >= max(3, 3 * row["users"])
        assert row["both_users"] == len(by_word[row["word"]] & by_word[row["shown"]])
    shuffled = searches * 2
    random.shuffle(shuffled)
    assert spellings(shuffled).equals(found)


def test_the_dictionary_has_common_words_and_no_pieces():
    assert {"kitchen", "wedding", "guitar"} <= dictionary()
    assert dictionary().isdisjoint({"weding", "gutiar", "##ing", "[UNK]", ""})


def test_only_whole_words_change_and_others_stay_to_the_letter():
    words = {"weding": "wedding"}
    assert respelling_of("weding cakes, weding", words) == "wedding cakes, wedding"
    assert respelling_of("wedings pre-weding", words) == "wedings pre-weding"
    assert respelling_of("weding", {}) == "weding"


def test_names_are_shown_in_the_usual_spelling_and_stay_distinct():
    rows = [
        ("ann", "j1", "weding cake", 3.0),
        ("ann", "j2", "wedding cake", 2.0),
        ("ann", "j2", "cake stand", 1.0),
        ("ben", "j3", "weding cake", 1.0),
    ]
    frame = pl.DataFrame(rows, schema=["user_id", "journey_id", "keyword", "weight"], orient="row").with_columns(
        events=pl.lit(1), is_searched=pl.lit(value=True), centroid_similarity=pl.lit(0.9)
    )
    usual = pl.DataFrame({"word": ["weding", "stand"], "shown": ["wedding", "strand"]})
    named = name_journeys(*number_journeys(frame), Settings().naming, spellings=usual)
    assert named.select("journey_id", "name", "keyword").rows() == [
        ("j1", "Wedding cake", "weding cake"),
        ("j2", "Cake stand", "cake stand"),
        ("j3", "Wedding cake", "weding cake"),
    ]


def test_from_end_to_end_what_is_shown_is_mended_and_the_keyword_is_as_it_was_typed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(notebook, "embedder_of_process", lambda *_: EMBEDDER)
    typed = ["loft conversion cost"] * 4 + ["loft convertion cost"]
    searches = pl.DataFrame(
        {
            "user_id": [f"user-{number}" for number in range(5)],
            "query": typed,
            "occurred_at": [datetime(2025, 3, 3, 20, minute) for minute in range(5)],
        }
    )
    journeys = infer_journeys(searches=searches).sort("user_id")
    assert journeys["name"].to_list() == ["Loft conversion cost"] * 5
    assert [keywords[0]["keyword"] for keywords in journeys["keywords"].to_list()] == typed
    assert [keywords[0]["shown"] for keywords in journeys["keywords"].to_list()] == ["loft conversion cost"] * 5


def test_only_a_spelling_that_was_judged_and_is_allowed_is_shown():
    spelt = pl.DataFrame(
        [
            ("ann", "j", "weding cake", "wedding cake"),
            ("ann", "j", "weding shoes", "wedding shoes"),
            ("ben", "k", "cocane", "cocaine"),
            ("ben", "k", "gutiar", "Guitar"),
        ],
        schema=["user_id", "journey_id", "keyword", "shown"],
        orient="row",
    )
    verdicts = pl.DataFrame(
        {"text": ["wedding cake", "cocaine", "guitar", "weding shoes"], "outcome": ["allow", "block", "quiet", "allow"]}
    )
    cake = {"keyword": "weding cake", "shown": "wedding cake"}
    assert shown_spellings(spelt, verdicts).rows() == [("ann", "j", [cake])]
    allowed = verdicts.with_columns(outcome=pl.lit("allow"))
    guitar = [{"keyword": "cocane", "shown": "cocaine"}, {"keyword": "gutiar", "shown": "Guitar"}]
    assert shown_spellings(spelt, allowed).rows() == [("ann", "j", [cake]), ("ben", "k", guitar)]
    assert shown_spellings(spelt.clear(), verdicts).is_empty()
