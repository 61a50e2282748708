"""Evaluation on the simulated world and on real purchases: the production path, and what its figures mean."""

from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from conftest import EMBEDDER, WORLD_LAST_DAY, Pipeline
from polars.testing import assert_frame_equal

from journeys_dagster.settings import Settings
from journeys_dagster.training.diversification import diversification_trade_off, recommend
from journeys_dagster.training.history import History, KeywordVectors
from lab.benchmark import BenchmarkError
from lab.evaluation.clusterers import Baselines, journeys
from lab.evaluation.corpora import Corpus, world_corpus
from lab.evaluation.identity import Step, identity_report, replay, steps_of
from lab.evaluation.intent import evaluate_intent
from lab.evaluation.metrics import agreement
from lab.evaluation.mixing import MixedUsers, mix_users, mixing_report
from lab.evaluation.naming import LIBRARY_AND_TREES, evaluate_naming, name_stability
from lab.evaluation.stages import against_returns, against_truth, days_to_stage
from lab.evaluation.staging import FIXED, RULE, TRAINED, lifecycles
from lab.importers import online_retail_frames
from lab.simulation.world import World, build_world

SETTINGS = Settings()
DAY = date(2025, 6, 30)


@pytest.fixture(scope="module")
def world() -> World:
    """The world of `finished`, in memory."""
    return build_world(users=50, days=21, seed=11, last_day=WORLD_LAST_DAY)


@pytest.fixture(scope="module")
def corpus(world: World) -> Corpus:
    return world_corpus(world, SETTINGS, KeywordVectors(EMBEDDER))


def frames(world: World) -> dict[str, pl.DataFrame]:
    return {
        "searches": world.searches,
        "engagements": world.engagements,
        "board_items": world.board_items,
        "items": world.items,
    }


def test_history_gives_the_keywords_of_the_warehouse(finished: Pipeline, world: World) -> None:
    for as_of, scope in finished.warehouse.query("select as_of, scope from users_in_scope group by all").iter_rows():
        stored = finished.warehouse.query("from keywords where as_of = $day order by user_id, keyword", {"day": as_of})
        users = None if scope == "all_users" else stored["user_id"].unique().to_list()
        computed = History(frames(world), SETTINGS).keywords(as_of, users)
        of_the_run = ("scope", "algorithm_version")
        assert_frame_equal(computed.drop(of_the_run), stored.select(computed.columns).drop(of_the_run))


def test_evaluated_clusters_are_those_of_the_warehouse(finished: Pipeline, world: World) -> None:
    stored = finished.warehouse.query(
        "select user_id, keyword, cluster from clusters where as_of = $day order by user_id, keyword",
        {"day": WORLD_LAST_DAY},
    )
    history = History(frames(world), SETTINGS)
    vectors = KeywordVectors(EMBEDDER)
    coded = vectors.code(history.keywords(WORLD_LAST_DAY, stored["user_id"].unique().to_list()))
    rows = coded.with_columns(truth=pl.lit(None, dtype=pl.String))
    found = journeys(Corpus(rows, vectors.vectors), SETTINGS.clusters)
    assert found.select(stored.columns).sort("user_id", "keyword").equals(stored)


def test_the_worlds_journeys_are_found(corpus: Corpus) -> None:
    ours = agreement(journeys(corpus, SETTINGS.clusters)).mean()
    assert ours.item(0, "b3_f") > 0.85
    assert ours.item(0, "pair_f") > 0.8
    for clusters in Baselines(corpus).at_fixed_thresholds().values():
        assert agreement(clusters).mean().item(0, "b3_f") < ours.item(0, "b3_f")


def test_keywords_of_noise_alone_have_no_truth(corpus: Corpus) -> None:
    unknown = corpus.keywords["truth"].null_count()
    assert 0 < unknown < len(corpus.keywords) / 2


def test_a_corpus_of_some_users(corpus: Corpus) -> None:
    some = corpus.users[3:5]
    assert corpus.of_users(some).users == some


# Diversification


@pytest.mark.slow
def test_diversity_is_bought_with_relevance() -> None:
    # Lists are short, and journeys on them differ: of fewer users or days, the mildest strategy changes none.
    world = build_world(users=100, days=70, seed=11, last_day=WORLD_LAST_DAY)
    settings = Settings.model_validate({"ranking": {"return_days": 3}})
    points = diversification_trade_off(History(frames(world), settings), settings, KeywordVectors(EMBEDDER))
    assert points["ndcg"].is_between(0.3, 1).all()
    for own in points.partition_by("strategy"):
        assert own["similarity"][-1] < own["similarity"][0]
    strategy, parameter = recommend(points)
    chosen = points.filter((pl.col("strategy") == strategy) & (pl.col("parameter") == parameter))
    assert chosen["ndcg"][0] >= 0.99 * points.filter(parameter=0.0)["ndcg"][0]


# Stages, names and intent


@pytest.fixture(scope="module")
def long_world() -> World:
    return build_world(users=60, days=110, seed=5, last_day=WORLD_LAST_DAY)


@pytest.mark.slow
def test_ends_are_seen_sooner_than_after_a_fixed_silence(long_world: World) -> None:
    found = against_truth(long_world, SETTINGS, KeywordVectors(EMBEDDER))
    rows = {row["method"]: row for row in found.iter_rows(named=True)}
    assert {RULE, FIXED} <= rows.keys() <= {RULE, TRAINED, FIXED}
    assert rows[RULE]["stage"] > rows[FIXED]["stage"]
    assert rows[RULE]["lifecycle"] == rows[FIXED]["lifecycle"]
    assert rows[RULE]["seen_14"] > rows[FIXED]["seen_14"]
    assert all(row["stage_low"] <= row["stage"] <= row["stage_high"] for row in rows.values())


@pytest.mark.slow
def test_stages_of_past_days_are_held_against_returns(long_world: World) -> None:
    history = History(frames(long_world), SETTINGS)
    days, horizon = days_to_stage(history)
    assert days[-1] + timedelta(days=horizon) == history.span[1]
    found = against_returns(history, SETTINGS, KeywordVectors(EMBEDDER), days[-1:], horizon)
    rows = {row["method"]: row for row in found.iter_rows(named=True)}
    assert rows[RULE]["agreement"] == 1.0
    assert rows[TRAINED]["ended"] >= rows[RULE]["ended"]
    # Of all journeys, as those that one of the two has ended are missing from its mean.
    ahead = {name: row["days_to_end"] * (1 - row["ended"] - row["evergreen"]) for name, row in rows.items()}
    assert ahead[TRAINED] <= ahead[RULE]
    for row in rows.values():
        assert row["returned_ended"] < row["returned_ongoing"]
        assert row["balanced_low"] <= row["balanced"] <= row["balanced_high"]


def test_lifecycles_by_name_and_topic(world: World) -> None:
    short = Settings.model_validate({"stages": {"evergreen_min_span_days": 7}})
    history = History(frames(world), short)
    names, topics = lifecycles(history, short, KeywordVectors(EMBEDDER), as_of=WORLD_LAST_DAY, topics=["no such topic"])
    assert names["journeys"].min() is None or names["journeys"].min() >= 30  # type: ignore[operator]
    assert topics["topic"].to_list() == ["all", "no such topic"]
    assert topics["journeys"][0] > 50
    assert topics["journeys"][1] == 0
    assert 0 < topics["evergreen_share"][0] < 1


@pytest.mark.slow
def test_methods_to_name_are_compared_on_the_same_journeys(world: World, corpus: Corpus) -> None:
    found = evaluate_naming(corpus, History(frames(world), SETTINGS), SETTINGS, KeywordVectors(EMBEDDER))
    report = found.report()
    assert report["journeys"].n_unique() == 1
    cosine = dict(report.select("namer", "cosine").iter_rows())
    assert max(cosine, key=lambda namer: cosine[namer]) == "best possible"
    assert cosine["shipped"] > cosine["most frequent"]
    parts = [found.report(covered=covered)["journeys"][0] for covered in (True, False)]
    assert sum(parts) == report["journeys"][0]
    rows = {row["namer"]: row for row in report.iter_rows(named=True)}
    for measure, gain in found.gains(LIBRARY_AND_TREES).items():
        assert gain.value == pytest.approx(rows[LIBRARY_AND_TREES][measure] - rows["shipped"][measure])
        assert gain.low <= gain.value <= gain.high
    assert report["exact"].is_between(0, 1).all()


@pytest.mark.slow
def test_names_rest_from_day_to_day(world: World) -> None:
    history = History(frames(world), SETTINGS)
    steps = steps_of(history, first=WORLD_LAST_DAY - timedelta(days=4), last=WORLD_LAST_DAY, days=1)
    found = name_stability(history, steps, SETTINGS, KeywordVectors(EMBEDDER))
    assert found["journeys"] > found["unchanged_journeys"] > 50
    assert found["unchanged_kept_share"] > 0.97
    assert found["kept_share"] > 0.8
    nothing = name_stability(history, [Step(date(2000, 1, 1), [])], SETTINGS, KeywordVectors(EMBEDDER))
    assert set(nothing.values()) == {0}


@pytest.mark.slow
def test_feedback_teaches_what_people_are_in_the_middle_of() -> None:
    world = build_world(users=120, days=110, seed=5, last_day=WORLD_LAST_DAY)
    settings = Settings.model_validate({"ranking": {"min_returns": 20}})
    found = evaluate_intent(world, settings, KeywordVectors(EMBEDDER))
    ndcg = dict(found.table.select("ranker", "ndcg").iter_rows())
    assert ndcg["model of feedback"] > ndcg["frequency × recency"] > ndcg["random"]
    assert found.labels.keys() == {"notification"}
    assert 0 < found.labels["notification"]["positive"] < found.labels["notification"]["labels"]


# Mixing


def purchases(people: dict[str, list[str]]) -> dict[str, pl.DataFrame]:
    """One purchase an hour by each person, of items that are called as given; each person on days of its own."""
    rows = [
        (person, title, hour - 48 * place)
        for place, (person, titles) in enumerate(people.items())
        for hour, title in enumerate(titles)
    ]
    start = datetime(2025, 6, 30, 8)
    engagements = pl.DataFrame(
        {
            "user_id": [person for person, _, _ in rows],
            "item_id": [title for _, title, _ in rows],
            "action": "save",
            "occurred_at": [start + timedelta(hours=hour) for _, _, hour in rows],
            "arrival_day": DAY,
        }
    )
    titles = sorted({title for _, title, _ in rows})
    items = pl.DataFrame({"item_id": titles, "title": titles, "arrival_day": DAY}).with_columns(
        annotations=pl.concat_list("title"), interests=pl.lit([], dtype=pl.List(pl.String))
    )
    return {"engagements": engagements, "items": items}


NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
PEOPLE = {
    "gardener": [f"tomato seeds {number}" for number in NUMBERS] + ["gift card"],
    "driver": [f"car engine oil {number}" for number in NUMBERS] + ["gift card"],
    "idler": ["sofa"],
}


@pytest.fixture(scope="module")
def mixed() -> MixedUsers:
    vectors = KeywordVectors(EMBEDDER)
    return mix_users(purchases(PEOPLE), SETTINGS, vectors, mixed_users=5, people_per_user=2, seed=0)


def test_people_with_enough_keywords_are_poured_together(mixed: MixedUsers) -> None:
    assert mixed.mixed.users == ["mixed 0000"]
    assert mixed.alone.users == ["driver", "gardener"]
    owner = dict(mixed.mixed.keywords.select("keyword", "truth").iter_rows())
    assert owner["tomato seeds one"] == "gardener"
    assert owner["car engine oil two"] == "driver"
    assert owner["gift card"] is None, "both have it"


def test_people_with_nothing_in_common_are_kept_apart(mixed: MixedUsers) -> None:
    report = {row["clusterer"]: row for row in mixing_report(mixed, SETTINGS).to_dicts()}
    ours = report["journeys"]
    assert ours["same_person"] == ours["purity"] == 1
    assert ours["kept_together"] > 0.9
    # Of the pairs of 10 and 10 keywords, 90 of 190 are one person's.
    assert ours["by_chance"] == pytest.approx(90 / 190)
    assert len(report) == 4


def test_too_few_people_to_mix_is_said() -> None:
    with pytest.raises(BenchmarkError, match="2 people have 10 to 133 keywords; 3 are needed"):
        mix_users(purchases(PEOPLE), SETTINGS, KeywordVectors(EMBEDDER), mixed_users=1, people_per_user=3, seed=0)


# Identity


def test_steps_take_in_who_was_active_since_the_last_one(world: World) -> None:
    history = History(frames(world), SETTINGS)
    first = WORLD_LAST_DAY - timedelta(days=9)
    steps = steps_of(history, first=first, last=WORLD_LAST_DAY, days=4)
    assert [step.as_of for step in steps] == [first + timedelta(days=days) for days in (0, 4, 8, 9)]
    assert list(steps[1].users) == history.active_users(first + timedelta(days=1), first + timedelta(days=4))
    assert set(steps[0].users) == set(history.active_users(date.min, first))


def test_replay_keeps_the_ids_that_the_assets_keep(finished: Pipeline, world: World, world_days: list[date]) -> None:
    history = History(frames(world), SETTINGS)
    steps = [Step(world_days[0], history.active_users(date.min, world_days[0]))]
    steps += [Step(day, history.active_users(day)) for day in world_days[1:]]
    followed = replay(history, steps, SETTINGS, KeywordVectors(EMBEDDER))
    stored = finished.warehouse.query(
        """
        select user_id, as_of, keyword, journey_id
        from clusters join journey_identities using (as_of, user_id, cluster)
        """
    )
    compared = followed.join(stored, on=["user_id", "as_of", "keyword"])
    assert len(compared) == len(followed) > 100
    assert compared.filter(pl.col("after") != pl.col("journey_id")).is_empty()


def followed(*rows: tuple[str, float, str, str]) -> pl.DataFrame:
    names = ["keyword", "weight", "before", "after"]
    found = pl.DataFrame(rows, schema=names, orient="row")
    return found.with_columns(user_id=pl.lit("u"), as_of=pl.lit(DAY))


def test_what_happened_to_journeys_by_hand() -> None:
    report = identity_report(
        followed(
            ("kept", 6.0, "a", "a"),
            ("split off", 2.0, "a", "new"),
            ("kept too", 7.0, "b", "b"),
            ("flipped", 1.0, "a", "b"),
            ("merged", 3.0, "c", "b"),
            ("renamed", 1.0, "d", "newer"),
        )
    )
    assert report == pytest.approx(
        {
            "users": 1,
            "snapshots": 1,
            "journeys": 4,
            "kept_share": 13 / 17,
            "keyword_kept_share": 13 / 20,
            "split_share": 2 / 20,
            "flip_share": 1 / 20,
            "merge_share": 3 / 20,
            "renamed_share": 1 / 20,
            "splits": 1,
            "merges": 1,
        }
    )


def test_nothing_followed_is_nothing_kept() -> None:
    assert set(identity_report(followed().cast({"weight": pl.Float64})).values()) == {0}


@pytest.mark.slow
def test_ids_of_real_customers_are_kept(data_path: Path) -> None:
    history = History(online_retail_frames(data_path / "online-retail" / "online_retail.parquet"), SETTINGS)
    last = date(2011, 12, 9)
    steps = steps_of(history, first=last - timedelta(days=5), last=last, days=1)
    report = identity_report(replay(history, steps, SETTINGS, KeywordVectors(EMBEDDER)))
    assert report["kept_share"] >= 0.97
    assert report["keyword_kept_share"] > 0.9
