"""What journeys are called: no title claims more than the keywords say; shared phrases; the same for one as for all."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from journeys_dagster.inference.embedding import BUNDLED_MODEL, embedder_of_process
from journeys_dagster.settings import Settings
from lab.naming.name_candidates import FEATURES, Members, name_candidates
from lab.naming.name_chooser import choose_names, chosen_titles
from lab.naming.phrases import shared_phrases
from lab.naming.title_library import (
    GRID,
    TitleLibrary,
    bundled_library,
    is_grounded,
    library_of,
    make_library,
    texts_to_embed,
)
from lab.naming.word_forms import plural, singular
from lab.naming.word_stems import stem, stems

TRAPS = [
    line.split("\t") for line in Path(__file__).with_name("name_traps.tsv").read_text(encoding="utf-8").splitlines()
]
# A trial of the lab: nothing that ships names journeys so.
pytestmark = pytest.mark.slow
DIMENSIONS = 24


def phrases(*keywords: str, searched: bool = False) -> dict[str, list[int]]:
    words = pl.Series(sorted(keywords))
    numbers = np.arange(len(words))
    of = np.zeros(len(words), dtype=np.int64)
    found = shared_phrases(words, numbers, of, np.full(len(words), searched), plurals={"fobs"})
    return dict(found.group_by("phrase", maintain_order=True).agg("row").iter_rows())


def library(titles: dict[str, int]) -> TitleLibrary:
    """Titles, each as its vector the axis of a number, and as its key too."""
    ordered = tuple(sorted(titles))
    vectors = np.eye(DIMENSIONS, dtype=np.float32)[[titles[title] for title in ordered]]
    return make_library(ordered, vectors, vectors, np.arange(len(ordered)))


def members(*journeys: list[tuple[str, float]], axis: int = 0) -> Members:
    """Journeys of keywords with weights, all near one axis."""
    words = pl.Series(sorted({word for journey in journeys for word, _ in journey}))
    vectors = np.full((len(words), DIMENSIONS), 0.05, dtype=np.float32)
    vectors[:, axis] = 1.0
    vectors[np.arange(len(words)), 1 + np.arange(len(words)) % (DIMENSIONS - 1)] += 0.3
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = [
        (number, int(words.search_sorted(word)), weight)
        for number, journey in enumerate(journeys)
        for word, weight in sorted(journey)
    ]
    frame = pl.DataFrame(rows, schema={"journey": pl.Int64, "word": pl.Int64, "weight": pl.Float64}, orient="row")
    known = {"closeness": 0.8, "centrality": 0.6, "frequency": 1.0, "share": 1.0, "search": 1.0, "rule": 0.7}
    return Members(frame.with_columns(**{name: pl.lit(value) for name, value in known.items()}), words, vectors)


def test_there_are_two_hundred_traps():
    assert len(TRAPS) == 200
    assert len({tuple(trap) for trap in TRAPS}) == 200


@pytest.mark.parametrize("kind", sorted({kind for kind, _, _ in TRAPS}))
def test_a_title_that_claims_more_than_the_keywords_say_is_no_candidate(kind: str):
    traps = [(title, keywords.split(" | ")) for of, title, keywords in TRAPS if of == kind]
    assert [title for title, keywords in traps if is_grounded(title, keywords)] == []
    # Nor where it is in the library, and as near as can be.
    titles = library({title: 0 for title, _ in traps})
    asked = members(*([(word, 1.0) for word in keywords] for _, keywords in traps))
    candidates = name_candidates(asked, titles)
    own = {number: title.lower() for number, (title, _) in enumerate(traps)}
    assert [row for row in candidates.select("journey", "name").iter_rows() if own[row[0]] == row[1]] == []


def test_a_title_may_say_that_somebody_makes_learns_or_plans_what_the_keywords_name():
    assert is_grounded("Learning Italian", ["italian verbs", "italian for beginners"])
    assert is_grounded("Kitchen renovation", ["kitchen cabinets", "worktops"])
    assert is_grounded("Baking", ["how to bake bread", "banneton"])
    assert not is_grounded("Learning Italian", ["tuscany villa", "rome hotels"])
    assert not is_grounded("Planning", ["italian verbs"])


def test_every_title_of_the_library_is_one_name_and_has_a_vector():
    found = bundled_library()
    assert len(found.titles) > 4000
    assert len({*found.texts}) == len(found.titles) == len(found.vectors)
    assert found.title_of_key.max() < len(found.titles)
    lengths = np.linalg.norm(found.vectors, axis=1) / GRID
    assert lengths == pytest.approx(1.0, abs=0.03)
    # A product is exact in float32 only while it stays below 2 ** 24.
    assert np.abs(found.keys).max() * np.abs(found.keys).max() * found.keys.shape[1] < 2**31
    assert (found.keys == np.rint(found.keys)).all()
    assert (np.linalg.norm(found.keys, axis=1) ** 2 < 2**24).all()


def test_another_embedding_model_has_the_titles_embedded_by_it():
    assert texts_to_embed(BUNDLED_MODEL) == []
    texts = texts_to_embed("another/model")
    assert tuple(texts) == bundled_library().texts
    axes = np.zeros((len(texts), 3), dtype=np.float32)
    axes[:, 0], axes[5] = 1.0, [0.0, 1.0, 0.0]
    given = pl.DataFrame({"keyword": texts, "embedding": axes.tolist()}).reverse()
    other = library_of(given)
    assert other.vectors[5].tolist() == [0.0, GRID, 0.0]
    assert library_of(given.clear()) is bundled_library()


def test_things_of_one_kind_are_called_by_what_they_share():
    assert list(phrases("metal sign take it or leave it", "you're confusing me metal sign", "bathroom metal sign")) == [
        "metal signs"
    ]
    assert list(phrases("key fob , shed", "key fob , back door", "key fob , garage")) == ["key fobs"]
    assert list(phrases("ivory kitchen scales", "red kitchen scales", "mint kitchen scales")) == ["kitchen scales"]
    assert list(phrases("herb marker basil", "herb marker mint", "herb marker thyme")) == ["herb markers"]


def test_what_two_share_or_what_says_only_of_what_kind_is_no_phrase():
    assert phrases("jam jar with green lid", "jam jar with pink lid") == {}
    assert "jam" not in phrases("jam jar green lid", "jam making set", "jam spoon")
    assert phrases("vintage red mug", "vintage red teapot", "vintage red tray") == {}
    assert "for" not in phrases("games for four", "games for two", "books for kids")


def test_a_phrase_that_is_a_keyword_is_no_other_candidate_and_searches_keep_their_number():
    assert "dinner party" not in phrases("dinner party", "dinner party menu", "dinner party food", searched=True)
    assert "film camera" in phrases("old film camera", "film camera shop", "best film camera", searched=True)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        *[("bake", "baking", True), ("swim", "swimming", True), ("garden", "gardener", True)],
        *[("decorating", "decoration", True), ("photography", "photographer", True)],
        *[("christmas", "christening", False), ("party", "part", False), ("care", "career", False)],
        *[("bus", "business", False), ("spring", "spa", False)],
    ],
)
def test_forms_of_a_word_have_one_stem(one: str, other: str, same: bool):
    assert (stem(one) == stem(other)) is same


@settings(max_examples=50)
@given(st.text(max_size=30))
def test_any_text_has_stems(text: str):
    assert all(stems(text))
    assert singular(text.lower()) is not None
    assert plural(text.lower()) is not None


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_the_nearest_are_the_largest_and_of_equal_ones_the_first(count: int, seed: int):
    from lab.naming.name_candidates_kernel import fill_nearest

    values = np.random.default_rng(seed).integers(-4, 4, (5, 12)).astype(np.float32)
    nearest = np.zeros((5, count), dtype=np.int64)
    fill_nearest(values, nearest)
    assert (nearest == np.argsort(-values, axis=1, kind="stable")[:, :count]).all()


WORDS = ["camera film", "film camera", "film developing kit", "35mm film", "darkroom", "old lens", "film scanner"]


@settings(deadline=None, max_examples=25)
@given(st.lists(st.lists(st.sampled_from(WORDS), min_size=3, unique=True), min_size=1, max_size=4), st.integers(0, 3))
def test_a_journey_has_the_same_candidates_and_bits_without_the_others(journeys: list[list[str]], which: int):
    titles = library({"Film photography": 0, "Film scanning": 3, "Darkroom kit": 5})
    weighted = [[(word, 1.0 + len(word)) for word in journey] for journey in journeys]
    together = members(*weighted)
    found = name_candidates(together, titles)
    number = which % len(journeys)
    rows = together.rows.filter(journey=number).with_columns(journey=pl.lit(0, pl.Int64))
    alone = name_candidates(Members(rows, together.words, together.vectors), titles)
    assert_frame_equal(alone, found.filter(journey=number).with_columns(journey=pl.lit(0, pl.Int64)), check_exact=True)
    assert found["name"].len() >= sum(map(len, journeys))
    assert found.select("journey", "name").is_unique().all()
    assert not found.select(pl.col(FEATURES).is_nan().any()).to_numpy().any()


def test_the_best_keyword_stays_unless_another_candidate_is_clearly_better_and_a_name_rests():
    titles = library({"Film photography": 0, "Film scanning": 9})
    asked = members([(word, 1.0) for word in WORDS])
    best, before = pl.Series(["darkroom"]), pl.Series([None], dtype=pl.String)
    chosen = choose_names(asked, titles, best, former=before)
    again = choose_names(asked, titles, best, former=chosen["title"] if len(chosen) else before)
    assert_frame_equal(again, chosen)
    assert len(chosen) <= 1
    assert {*chosen["namer"]} <= {"keyword", "phrase", "library"}


def test_journeys_of_items_alone_are_called_by_what_half_of_them_share():
    words = ["bathroom metal sign", "kitchen metal sign", "metal sign keep out", "garden gnome"]
    asked = members([(word, 1.0) for word in words])
    of_items = Members(asked.rows.with_columns(search=pl.lit(0.0)), asked.words, asked.vectors)
    chosen = choose_names(
        of_items, library({"Garden gnomes": 0}), pl.Series(["garden gnome"]), former=pl.Series([None], dtype=pl.String)
    )
    assert chosen.select("title", "namer").rows() == [("Metal signs", "phrase")]


def test_a_journey_of_two_keywords_gets_no_title():
    journeys = pl.DataFrame({"user_id": ["u"], "journey_id": ["j"]})
    keywords = pl.DataFrame(
        {
            **{"journey": [0, 0], "keyword": ["sofa", "couch"], "weight": [1.0, 1.0], "events": [1, 1]},
            **{"is_searched": [True, True], "centroid_similarity": [0.9, 0.8], "code": [0, 1]},
        }
    )
    named = journeys.with_columns(keyword=pl.lit("sofa"))
    found = chosen_titles(
        *(journeys, keywords, np.eye(2, dtype=np.float32), named, Settings().naming), library=bundled_library()
    )
    assert found.is_empty()


def test_a_title_in_other_words_names_a_journey_end_to_end():
    texts = [
        "italian verbs conjugation",
        "learn italian app",
        "italian for beginners",
        "duolingo italian",
        "italian grammar book",
    ]
    vectors = embedder_of_process(BUNDLED_MODEL).embed(texts)
    centre = vectors.mean(axis=0) / np.linalg.norm(vectors.mean(axis=0))
    keywords = pl.DataFrame({"keyword": texts, "code": range(5)}).with_columns(
        journey=pl.lit(0, pl.Int64),
        weight=pl.lit(1.0),
        events=pl.lit(1),
        is_searched=pl.lit(value=True),
        centroid_similarity=pl.Series((vectors @ centre).astype(np.float64)),
    )
    journeys = pl.DataFrame({"user_id": ["u"], "journey_id": ["j"]})
    named = journeys.with_columns(keyword=pl.lit("italian verbs conjugation"))
    chosen = chosen_titles(*(journeys, keywords, vectors, named, Settings().naming), library=bundled_library())
    assert chosen.select("title", "namer").rows() == [("Learning Italian", "library")]
