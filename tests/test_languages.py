"""People who write in scripts that the model has no words of: from their log to their list."""

from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from conftest import Pipeline

from assets.keyword_embeddings import READS_THE_LANGUAGE
from journeys_dagster.inference.diversification import rerank
from journeys_dagster.inference.judge import measure
from journeys_dagster.resources.home import Home
from journeys_dagster.settings import DiversificationSettings
from journeys_dagster.sources.writer import write_day

DAYS = [date(2025, 6, 1) + timedelta(days=past) for past in range(6)]
TOPICS = {
    "한별": (["자전거 수리", "자전거 헬멧", "자전거 여행"], ["재즈 기타", "기타 줄", "기타 코드"]),
    "dalia": (["دراجة هوائية", "خوذة دراجة", "دراجة جبلية"], ["زراعة طماطم", "بذور طماطم", "طماطم كرزية"]),
    "kit": (["🛹", "🛹🧢", "🛹🏁"], ["🍅", "🍅🌱", "🍅🥗"]),
    "ann": (["bike repair", "bike helmet", "bicycle tour"], ["tomato seeds", "growing tomatoes", "cherry tomatoes"]),
}


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """Each person looks for one topic on a day, for the other on the next."""
    home = Home(tmp_path_factory.mktemp("languages") / "home")
    for number, day in enumerate(DAYS):
        at = datetime(day.year, day.month, day.day, 9 + 6 * (number % 2))
        rows = [(user, topics[number % 2][number // 2], at) for user, topics in TOPICS.items()]
        frame = pl.DataFrame(rows * 2, schema=["user_id", "query", "occurred_at"], orient="row")
        again = frame.with_columns(pl.col("occurred_at") + pl.duration(minutes=pl.int_range(pl.len())))
        write_day(home.landing, source="searches", day=day, frame=again)
    pipeline = Pipeline(home)
    pipeline.run(DAYS[-1], "all_users", up_to=["user_journeys", "judge_scores"])
    return pipeline


def test_no_two_topics_become_one_journey(searched: Pipeline):
    found = searched.table("user_journeys")
    assert set(found["user_id"]) == set(TOPICS)
    for user, keywords in found.select("user_id", "keywords").iter_rows():
        words = {keyword["keyword"] for keyword in keywords}
        assert any(words <= set(topic) for topic in TOPICS[user])


def test_names_are_whole_keywords_of_ones_own(searched: Pipeline):
    for user, name in searched.table("user_journeys").select("user_id", "name").iter_rows():
        assert name.lower() in {word for topic in TOPICS[user] for word in topic}


def test_only_what_the_policy_covers_is_notified(searched: Pipeline):
    listed = searched.table("user_journeys").group_by("user_id").agg(pl.col("may_notify").unique())
    assert dict(listed.iter_rows()) == {"한별": [False], "dalia": [False], "kit": [False], "ann": [True]}
    assert set(searched.table("safety", "user_id <> 'ann'")["outcome"]) == {"unknown"}


def test_every_number_is_one(searched: Pipeline):
    for table in ("clusters", "names", "rankings", "diversified_journeys", "judge_scores"):
        numbers = searched.table(table).select(pl.selectors.float())
        assert numbers.select(pl.all().is_finite().fill_null(value=True).all()).row(0) == (True,) * numbers.width
    faults = searched.table("judge_scores").explode("faults", empty_as_null=True)["faults"]
    assert "wrong name" not in faults


def test_the_run_says_what_the_model_cannot_read(searched: Pipeline):
    result = searched.materialize("keyword_embeddings", days=(DAYS[-1], DAYS[-1]))
    (check,) = [each for each in result.get_asset_check_evaluations() if each.check_name == READS_THE_LANGUAGE]
    assert not check.passed
    assert not check.blocking
    assert "cannot read 18 of 24 keywords (75.0%), at least half of what 3 of 4 users have" in str(check.description)
    assert "bundled:multilingual-e5-small" in str(check.description)
    (shown,) = result.get_asset_materialization_events()
    assert shown.materialization.metadata["unreadable_keywords"].value == 18
    assert not any(word in str(check.description) for topics in TOPICS.values() for topic in topics for word in topic)


@pytest.mark.parametrize("strategy", ["penalty", "mmr", "dpp", "ssd"])
def test_journeys_without_meaning_are_like_no_other(strategy: str):
    ranked = pl.DataFrame(
        {"user_id": ["u"] * 4, "journey_id": list("abcd"), "rank": [1, 2, 3, 4], "score": [4.0, 3.0, 2.0, 1.0]}
    )
    settings = DiversificationSettings.model_validate({"strategy": strategy})
    vectors = np.array([[0, 0], [0, 0], [1, 0], [0, 0]], dtype=np.float32)
    found = rerank(ranked, vectors, settings, list_length=4)
    assert sorted(found["journey_id"]) == list("abcd")
    assert found["score"].is_finite().all()
    assert found["occurrence"].to_list() == [0, 0, 0, 0]


def test_a_name_without_meaning_is_not_called_wrong():
    journeys = pl.DataFrame(
        {
            "user_id": ["u", "u"],
            "journey_id": ["a", "b"],
            "rank": [1, 2],
            "coverage": [0.5, 0.5],
            "days_since": [1.0, 1.0],
            "cohesion": [0.0, 0.9],
            "name_similarity": [0.0, 0.1],
            "stage": ["ongoing", "ongoing"],
        }
    )
    found = measure(journeys, np.array([[0, 0], [1, 0]], dtype=np.float32))
    assert found["faults"].to_list() == [[], ["wrong name"]]
