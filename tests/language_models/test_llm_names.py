"""Names by a language model: one title per distinct journey, the keyword's name where there is none."""

import shutil
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from conftest import Pipeline
from loopback import Loopback, running
from pydantic import ValidationError

from journeys_dagster.definitions import algorithm_in_use
from journeys_dagster.inference.titles import (
    STRONGEST,
    NameAnswer,
    apply_titles,
    is_grounded,
    kept_titles,
    signature_of,
    title_keywords,
)
from journeys_dagster.llm.prompts import Prompt
from journeys_dagster.resources.home import Home
from journeys_dagster.settings import Settings

Naming = tuple[dg.ExecuteInProcessResult, pl.DataFrame]


@pytest.fixture(scope="module")
def server() -> Iterator[Loopback]:
    with running() as loopback:
        yield loopback


@pytest.fixture(scope="module")
def titled_home(
    server: Loopback, finished_home: Path, world_days: list[date], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The world, its last day named by the model."""
    server.behave(faults={"500": 0.05, "not_json": 0.05})
    path = tmp_path_factory.mktemp("titled") / "home"
    shutil.copytree(finished_home, path)
    named = Pipeline(Home(path), server.settings(names=True))
    leading = ("names", "safety_verdicts", "safety", "diversified_journeys", "user_journeys")
    assert named.materialize(*leading, days=(world_days[-1], world_days[-1])).success
    return path


@pytest.fixture
def titled(server: Loopback, titled_home: Path) -> Pipeline:
    return Pipeline(Home(titled_home), server.settings(names=True))


def test_journeys_have_titles_that_are_distinct_within_a_user(titled: Pipeline, world_days: list[date]):
    names = titled.table("names", f"as_of = '{world_days[-1]}'")
    by_model = names.filter(pl.col("namer") == "rules")
    assert len(by_model) > 0.5 * len(names)
    assert names.select(pl.col("name").str.to_lowercase(), "user_id").is_unique().all()
    assert by_model["title_keywords"].null_count() == 0
    by_keyword = names.filter(pl.col("namer") == "keyword")
    assert (by_keyword["name"] == by_keyword["keyword_name"]).all()
    shown = titled.table("user_journeys", f"as_of = '{world_days[-1]}'")
    assert shown["namer"].is_in(["rules", "keyword"]).all()
    assert "rules" in shown["namer"]


def test_equal_journeys_are_asked_about_once_and_again_never(
    titled: Pipeline, server: Loopback, world_days: list[date]
):
    answers = titled.table("llm_answers")
    names = titled.table("names", f"as_of = '{world_days[-1]}'")
    signatures = names.drop_nulls("title_keywords")["title_keywords"].list.join("|").n_unique()
    assert signatures <= len(answers) <= len(names)
    before = server.figures()["calls"]
    assert before > 0
    assert titled.materialize("names", days=(world_days[-1], world_days[-1])).success
    assert server.figures()["calls"] == before
    assert titled.table("names", f"as_of = '{world_days[-1]}'").equals(names)


@pytest.mark.slow
def test_incremental_equals_full_given_the_cache(
    titled: Pipeline, titled_home: Path, server: Loopback, world_days: list[date], tmp_path: Path
):
    """A full inference asks about the others, and gives who was inferred before the same names."""
    shutil.copytree(titled_home, tmp_path / "full")
    full = Pipeline(Home(tmp_path / "full"), titled.settings)
    full.run(world_days[-1], "all_users")
    columns = pl.all().exclude("scope")
    one, other = (each.table("names", f"as_of = '{world_days[-1]}'").select(columns) for each in (titled, full))
    assert len(other) > len(one) > 0
    assert other.join(one.select("user_id").unique(), on="user_id", how="semi").equals(one)


@pytest.fixture
def name_again(finished_home: Path, world_days: list[date], tmp_path: Path) -> Callable[[Settings], Naming]:
    """Name the last day of a copy of the finished world again, with other settings."""
    shutil.copytree(finished_home, tmp_path / "again")

    def run(settings: Settings) -> Naming:
        pipeline = Pipeline(Home(tmp_path / "again"), settings)
        result = pipeline.materialize("names", days=(world_days[-1], world_days[-1]))
        assert result.success
        return result, pipeline.table("names", f"as_of = '{world_days[-1]}'")

    return run


def test_without_a_reply_journeys_keep_the_keyword_and_the_check_says_so(
    server: Loopback, name_again: Callable[[Settings], Naming]
):
    server.behave(faults={"500": 1.0}, attempts=1_000_000)
    result, names = name_again(server.settings(names=True, retries=1, give_up_after=5, concurrency=2))
    assert set(names["namer"]) == {"keyword"}
    check = next(each for each in result.get_asset_check_evaluations() if each.check_name == "llm_answered")
    assert not check.passed
    assert "are left, as 5 inputs in a row got no usable answer" in (check.description or "")
    assert server.figures()["calls"] <= 2 * 7
    server.behave()
    result, names = name_again(server.settings(names=True))
    assert "rules" in set(names["namer"])
    assert next(each for each in result.get_asset_check_evaluations() if each.check_name == "llm_answered").passed


def test_what_it_took_is_shown_with_the_asset(server: Loopback, name_again: Callable[[Settings], Naming]):
    server.behave()
    result, _ = name_again(server.settings(names=True, input_price=1.0, output_price=2.0))
    (names,) = result.asset_materializations_for_node("names")
    shown: dict[str, Any] = {name: value.value for name, value in names.metadata.items()}
    seen = server.figures()
    assert shown["llm_calls"] == seen["calls"] == shown["llm_inputs"] > 0
    assert shown["llm_prompt_tokens"] == seen["prompt_tokens"]
    assert shown["llm_cost"] == pytest.approx((seen["prompt_tokens"] + 2 * seen["completion_tokens"]) / 1e6)
    assert shown["llm_failed"] == shown["llm_left"] == 0
    assert shown["titles_new"] >= shown["llm_answered"]


def test_a_budget_stop_names_what_it_can_and_the_next_run_goes_on(
    server: Loopback, name_again: Callable[[Settings], Naming], figures: Callable[..., None]
):
    server.behave()
    budget = {"names": True, "max_tokens_per_run": 20_000, "max_output_tokens": 100}
    result, names = name_again(server.settings(**budget))
    check = next(each for each in result.get_asset_check_evaluations() if each.check_name == "llm_answered")
    assert "the budget of 20,000 tokens (llm.max_tokens_per_run) is reached" in (check.description or "")
    assert {*names["namer"]} == {"keyword", "rules"}
    titles, calls = [int((names["namer"] == "rules").sum())], [server.figures()["calls"]]
    while titles[-1] > (titles[-2] if len(titles) > 1 else 0):
        _, names = name_again(server.settings(**budget))
        titles.append(int((names["namer"] == "rules").sum()))
        calls.append(server.figures()["calls"])
    assert len(titles) > 2
    assert server.figures()["answered_twice"] == 0
    assert calls[-1] == calls[-2] == server.figures()["inputs"]
    figures(titles_by_run=str(titles), calls_by_run=str(calls))


def test_whole_lists_are_inferred_too_and_hold_the_users_own_keywords(
    server: Loopback, finished_home: Path, world_days: list[date], tmp_path: Path
):
    server.behave(faults={"500": 0.1})
    shutil.copytree(finished_home, tmp_path / "lists")
    pipeline = Pipeline(Home(tmp_path / "lists"), server.settings(journeys=True))
    day = world_days[-1]
    result = pipeline.materialize("llm_journeys", days=(day, day))
    assert result.success
    lists = pipeline.table("llm_journeys", f"as_of = '{day}'")
    users = set(pipeline.table("users_in_scope", f"as_of = '{day}'")["user_id"])
    assert set(lists["user_id"]) == users
    own = pipeline.table("keywords", f"as_of = '{day}'").select("user_id", "keyword")
    given = lists.select("user_id", keyword="keywords").explode("keyword")
    assert given.join(own, on=["user_id", "keyword"], how="anti").is_empty()
    assert given.is_unique().all()
    assert lists.select("user_id", pl.col("name").str.to_lowercase()).is_unique().all()
    assert set(lists["model"]) == {"rules"}
    (made,) = result.asset_materializations_for_node("llm_journeys")
    assert made.metadata["keywords_invented"].value == 0
    assert made.metadata["keywords_given"].value == len(given)
    before = server.figures()["calls"]
    assert pipeline.materialize("llm_journeys", days=(day, day)).success
    assert server.figures()["calls"] == before
    assert pipeline.table("llm_journeys", f"as_of = '{day}'").equals(lists)


def test_without_a_model_nothing_is_there(empty_pipeline: Pipeline, server: Loopback):
    def assets(pipeline: Pipeline) -> set[str]:
        return {spec.key.to_user_string() for spec in pipeline.defs.resolve_all_asset_specs()}

    def version(settings: Settings) -> str:
        return algorithm_in_use(settings).version

    with_lists = Pipeline(empty_pipeline.home, server.settings(journeys=True))
    assert assets(with_lists) - assets(empty_pipeline) == {"llm_journeys"}
    # Only what reaches user_journeys is part of the algorithm.
    assert version(server.settings()) == version(Settings()) == version(server.settings(journeys=True))
    named = server.settings(names=True)
    assert version(named) != version(Settings())
    assert version(server.settings(names=True, model="other")) != version(named)
    assert version(server.settings(names=True, concurrency=3, retries=9, max_tokens_per_run=5)) == version(named)


def test_a_changed_prompt_is_another_algorithm(server: Loopback, monkeypatch: pytest.MonkeyPatch):
    settings = server.settings(names=True)
    before = algorithm_in_use(settings).version
    off = algorithm_in_use(Settings()).version
    monkeypatch.setattr("journeys_dagster.llm.parts.load_prompt", lambda name: Prompt(name, "Another."))
    assert algorithm_in_use(settings).version != before
    assert algorithm_in_use(Settings()).version == off


@pytest.mark.parametrize(
    ("title", "keywords"),
    [
        ("Planning a small garden wedding", ["backyard wedding ideas", "garden party lights"]),
        ("Gardening for beginners", ["garden tools"]),
        ("Brot backen", ["brot rezept", "sauerteig"]),
        ("Hochzeit im Grünen", ["hochzeit deko", "grune wiese"]),
        ("京都旅行", ["京都 紅葉", "旅館"]),
        ("Café & crêpes: Paris", ["cafe paris"]),
    ],
)
def test_a_title_says_what_the_keywords_say(title: str, keywords: list[str]):
    assert NameAnswer.model_validate({"name": title}, context={"keywords": keywords}).name


@pytest.mark.parametrize(
    "title",
    [
        "",
        "x",
        "Winter holidays",
        "wedding " * 9,
        "Wedding <b>now</b>",
        "Wedding at https://wedding.example",
        "Wedding wedding.com",
        "Wedding, call 0171 2345678",
        "Wedding, mail me@wedding.org",
        'Wedding "party"',
        "Wedding {name}",
        "[Wedding](x)",
        "Wedding 💒",
        "!!!",
        "Visit our new casino and see the wedding",
    ],
)
def test_what_is_no_title_is_refused(title: str):
    with pytest.raises(ValidationError):
        NameAnswer.model_validate({"name": title}, context={"keywords": ["wedding", "garden"]})


def test_a_title_is_written_with_a_capital_and_without_a_full_stop():
    assert NameAnswer.model_validate({"name": " garden   wedding. "}).name == "Garden wedding"


def test_words_are_alike_whatever_their_endings():
    assert is_grounded("Baking", ["bake bread"])
    assert not is_grounded("Backing", ["sofa"])


def keywords(rows: list[tuple[str, str, str, float]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=["user_id", "journey_id", "keyword", "weight"], orient="row")


def test_the_signature_is_of_the_strongest_readable_keywords_whatever_their_order():
    many = [("ann", "j", f"thing {letter}", 1.0 + number) for number, letter in enumerate("abcdefghijk")]
    rows = [*many, ("ann", "j", "0123-99/A", 99.0), ("ann", "j", "how " * 20, 99.0), ("bob", "k", "1 2 3 4", 1.0)]
    found = title_keywords(keywords(rows))
    assert found["journey_id"].to_list() == ["j"]
    expected = [f"thing {letter}" for letter in "defghijk"]
    assert len(expected) == STRONGEST
    assert found["title_keywords"][0].to_list() == expected
    assert found["signature"][0] == signature_of(expected)
    other = title_keywords(keywords([("cat", "x", word, 5.0) for word in reversed(expected)]))
    assert other["signature"][0] == found["signature"][0]


def test_addresses_are_masked_before_anything_is_made_of_them():
    found = title_keywords(keywords([("ann", "j", "letters to ann.b@mail.example", 1.0)]))
    assert found["title_keywords"][0].to_list() == ["letters to [email]"]


@pytest.mark.parametrize(("now", "kept"), [("ab", True), ("ax", True), ("xy", False)])
def test_a_title_stays_while_half_of_its_keywords_do(now: str, kept: bool):
    signatures = pl.DataFrame({"user_id": ["ann"], "journey_id": ["j"], "title_keywords": [list(now)]})
    former = pl.DataFrame({"user_id": ["ann"], "journey_id": ["j"], "title": ["T"], "title_keywords": [["a", "b"]]})
    found = kept_titles(signatures, former)
    assert found["title"].to_list() == (["T"] if kept else [])
    assert found["title_keywords"].to_list() == ([["a", "b"]] if kept else [])


def test_of_equal_titles_the_heavier_journey_has_it_and_none_is_another_journeys_name():
    ids = ["light", "heavy", "sofa", "other"]
    names = pl.DataFrame({"user_id": "ann", "journey_id": ids, "name": ["Lamp", "Desk", "Sofa", "Rug"]})
    titles = pl.DataFrame(
        {
            "user_id": "ann",
            "journey_id": ids,
            "title": ["New room", "new Room", "RUG", "Rugs"],
            "title_keywords": [["a"]] * 4,
        }
    )
    journey_weights = pl.DataFrame({"user_id": "ann", "journey_id": ids, "weight_units": [1, 5, 3, 2]})
    found = {row["journey_id"]: row for row in apply_titles(names, titles, journey_weights, namer="m").to_dicts()}
    assert {key: row["name"] for key, row in found.items()} == {
        "light": "Lamp",
        "heavy": "new Room",
        "sofa": "Sofa",
        "other": "Rugs",
    }
    assert {key for key, row in found.items() if row["namer"] == "m"} == {"heavy", "other"}
    assert found["light"]["title_keywords"] is None
    assert found["heavy"]["keyword_name"] == "Desk"
