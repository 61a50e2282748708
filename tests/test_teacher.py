"""The hand-written pairs of keywords and titles: their form, how many there are, and what a faulty file says."""

from pathlib import Path

import polars as pl
import pytest
from conftest import EMBEDDER

from journeys_dagster.inference.safety import check_texts
from journeys_dagster.inference.safety_classifier import safety_classifier
from journeys_dagster.inference.safety_policy import BUNDLED_POLICY, load_policy
from journeys_dagster.settings import Settings
from lab.simulation.journey_types import read_catalogue
from lab.teacher.pairs import PASSES, PairError, load_pairs

SIX = "a | b | c | d | e | f"


def test_pairs_are_many_and_of_all_passes() -> None:
    pairs = load_pairs()
    assert {*pairs["written"]} == {file.stem for file in PASSES.glob("*.tsv")}
    assert pairs["keywords"].list.len().is_between(6, 12).all()
    titles = pairs["title"].drop_nulls()
    assert titles.str.to_lowercase().n_unique() >= 4_000
    assert pairs["title"].null_count() >= 500
    within = pairs.drop_nulls("title").group_by("written").agg(twice=pl.col("title").str.to_lowercase().is_duplicated())
    assert not within["twice"].list.any().any()


def test_no_title_is_blocked_by_a_term_of_the_policy() -> None:
    titles = load_pairs()["title"].drop_nulls().unique().sort()
    policy = load_policy(BUNDLED_POLICY)
    by_terms = Settings().safety.model_copy(update={"quiet_probability": 1.0, "block_probability": 1.0})
    vectors = EMBEDDER.embed(["a"]).repeat(len(titles), axis=0)
    found = check_texts(titles, vectors, policy, safety_classifier(policy, EMBEDDER), by_terms)
    assert found.filter(outcome="block")["text"].to_list() == []


def test_titles_were_written_without_a_look_at_the_catalogue() -> None:
    """Blind to it, people meet some of its names; who copied it would have them all."""
    titles = {*load_pairs()["title"].drop_nulls().str.to_lowercase()}
    names = {kind.name.lower() for kind in read_catalogue().journeys}
    assert 0 < len(titles & names) < 0.35 * len(names)


def test_a_file_gives_its_pairs_in_order(tmp_path: Path) -> None:
    (tmp_path / "two.tsv").write_text(f"none\t-\t{SIX}\n", encoding="utf-8")
    (tmp_path / "one.tsv").write_text(f"journey\tWild swimming\t{SIX}\n", encoding="utf-8")
    pairs = load_pairs(tmp_path)
    assert pairs.rows() == [("one", "Wild swimming", SIX.split(" | ")), ("two", None, SIX.split(" | "))]
    assert load_pairs(tmp_path / "two.tsv").equals(pairs[1:])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (f"journey\t{SIX}", "2 fields in place of kind"),
        (f"trip\tRome\t{SIX}", "neither journey nor none"),
        ("journey\tRome\ta | b", "6 to 12 different keywords"),
        ("journey\tRome\ta | b | c | d | e | a", "6 to 12 different keywords"),
        ("journey\tRome\ta | b | c | d | e |  ", "6 to 12 different keywords"),
        (f"journey\t \t{SIX}", "one to 5 words"),
        (f"journey\tA trip to Rome in May\t{SIX}", "one to 5 words"),
    ],
)
def test_a_faulty_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "own.tsv"
    file.write_text(f"journey\tRome\t{SIX}\n{line}\n", encoding="utf-8")
    with pytest.raises(PairError, match=r"own\.tsv, line 2: ") as error:
        load_pairs(file)
    assert said in str(error.value)
