"""Training rankers: spans in time order, metrics against scikit-learn, calibration, promotion."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta

import dagster as dg
import numpy as np
import polars as pl
import pytest
from conftest import EMBEDDER, WORLD_LAST_DAY, DrawnVectors, Pipeline
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score
from test_stage_model import attempted

from journeys_dagster.inference.ranking_model import RankingModel, RankingModelError
from journeys_dagster.monitoring.bootstrap import Mean, bootstrap_gain
from journeys_dagster.resources.trained_models import keep_ranking_model, keep_stage_model, ranking_model_in_use
from journeys_dagster.settings import Settings
from journeys_dagster.sources.parameters import action_names
from journeys_dagster.sources.writer import write_days
from journeys_dagster.training.history import History, KeywordVectors
from journeys_dagster.training.ranker import (
    FEEDBACK,
    Attempt,
    attempt_ranker,
    choose_validation_label,
    decide,
    heuristic_scores,
)
from journeys_dagster.training.ranking_metrics import calibration_table, expected_calibration_error, order_quality
from journeys_dagster.training.replay import (
    RETURN,
    days_came_back,
    days_to_return,
    labelled_snapshots,
    replay_features,
)
from journeys_dagster.training.spans import Spans, TooFewReturnsError, snapshot_days, training_spans
from lab.evaluation.ranking import RankingEvaluation, ablations
from lab.simulation.world import World, build_world

QUICK = Settings.model_validate({"ranking": {"return_days": 3, "snapshot_every_days": 3, "min_returns": 5}})
DAY = date(2025, 6, 30)
WORLD_FRAMES = ("searches", "engagements", "board_items", "items")


@given(days=st.integers(1, 500), horizon=st.integers(1, 40), every=st.integers(1, 30), test=st.integers(1, 90))
def test_no_label_looks_into_the_next_span(days: int, horizon: int, every: int, test: int) -> None:
    first = DAY - timedelta(days=days)
    try:
        spans = spans_of(first, DAY, {"return_days": horizon, "snapshot_every_days": every, "test_days": test})
    except TooFewReturnsError:
        assert days < 3 * horizon + 4 * every + 11
        return
    closes = timedelta(days=horizon)
    assert all(spans.parts)
    assert spans.train[0] > first
    assert spans.train[-1] + closes <= spans.validation[0]
    assert spans.validation[-1] + closes <= spans.test[0]
    assert spans.test[0] >= spans.test[-1] - timedelta(days=test)
    assert spans.known_until == DAY


def spans_of(first: date, last: date, ranking: dict) -> Spans:
    chosen = Settings.model_validate({"ranking": ranking}).ranking
    days = snapshot_days(first, last, chosen)
    return training_spans(days, horizon_days=chosen.return_days, known_until=last, ranking=chosen)


def test_a_label_told_later_than_its_spans_returns_belongs_to_none() -> None:
    first, last = DAY - timedelta(days=40), DAY
    spans = spans_of(first, last, {"return_days": 3, "snapshot_every_days": 1})
    told = [spans.train[-1] + timedelta(days=days) for days in (1, 3, 4)]
    examples = pl.DataFrame({"as_of": [spans.train[-1]] * 3, "labelled_on": told})
    train, validation, test = spans.split(examples)
    assert train["labelled_on"].to_list() == told[:2]
    assert validation.is_empty()
    assert test.is_empty()


def rows(labels: list[bool], user: str = "u") -> pl.DataFrame:
    ids = [f"j{place:03}" for place in range(len(labels))]
    return pl.DataFrame({"as_of": DAY, "user_id": user, "journey_id": ids, "label": labels})


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 100)), min_size=2, max_size=12, unique_by=lambda pair: pair[1]))
def test_ndcg_is_scikit_learns_and_reciprocal_rank_its_definition(pairs: list[tuple[bool, int]]) -> None:
    labels, scores = [label for label, _ in pairs], np.array([score for _, score in pairs], dtype=float)
    quality = order_quality(rows(labels), scores)
    if not any(labels):
        assert quality.is_empty()
        return
    assert quality["ndcg"][0] == pytest.approx(ndcg_score([labels], [scores], k=5))
    ordered = [label for label, _ in sorted(pairs, key=lambda pair: -pair[1])]
    assert quality["reciprocal_rank"][0] == pytest.approx(1 / (1 + ordered.index(True)))


def test_a_user_with_many_snapshots_counts_once() -> None:
    twice = pl.concat([rows([True, False]), rows([True, False]).with_columns(as_of=pl.lit(DAY - timedelta(days=1)))])
    quality = order_quality(twice, np.array([2.0, 1.0, 1.0, 2.0]))
    assert quality["reciprocal_rank"].to_list() == [0.75]


def test_calibration_error_of_what_is_told_and_what_is() -> None:
    rng = np.random.default_rng(0)
    stated = rng.random(50_000)
    honest = rng.random(50_000) < stated
    assert expected_calibration_error(honest, stated) < 0.01
    assert expected_calibration_error(honest, np.full(50_000, 0.8)) == pytest.approx(0.3, abs=0.01)
    assert calibration_table(honest, stated)["rows"].sum() == 50_000


def test_a_gain_is_of_the_means_and_its_interval_holds_it() -> None:
    gain = bootstrap_gain(pl.Series([0.6, 0.9, 0.3]), pl.Series([0.5, 0.6, 0.4]))
    assert gain.value == pytest.approx(0.2)
    assert gain.low <= gain.value <= gain.high
    with pytest.raises(ValueError, match="equally many"):
        bootstrap_gain(pl.Series([1.0]), pl.Series([1.0, 2.0]))


# On a small world


@pytest.fixture(scope="module")
def world() -> World:
    """The world of `finished`, in memory."""
    return build_world(users=50, days=21, seed=11, last_day=WORLD_LAST_DAY)


def history_of(world: World, *, until: date | None = None) -> History:
    frames = {name: getattr(world, name) for name in WORLD_FRAMES}
    if until is not None:
        frames = {name: frame.filter(pl.col("arrival_day") <= until) for name, frame in frames.items()}
    return History(frames, QUICK)


@pytest.fixture(scope="module")
def larger_world() -> World:
    """Enough returns to learn from."""
    return build_world(users=80, days=24, seed=11, last_day=WORLD_LAST_DAY)


@pytest.fixture(scope="module")
def spans(larger_world: World) -> Spans:
    return spans_of(*history_of(larger_world).span, QUICK.ranking.model_dump())


@pytest.fixture(scope="module")
def examples(larger_world: World) -> pl.DataFrame:
    history = history_of(larger_world)
    days = snapshot_days(*history.span, QUICK.ranking)
    return pl.concat(labelled_snapshots(history, days, QUICK, KeywordVectors(DrawnVectors())))


@pytest.fixture(scope="module")
def attempt(examples: pl.DataFrame, spans: Spans) -> Attempt:
    return attempt_ranker(examples, spans, QUICK, current=None)


def test_replayed_features_are_those_of_the_warehouse(finished: Pipeline, world: World, world_days: list[date]) -> None:
    day = world_days[0]  # the full run
    of_run = ("scope", "algorithm_version", "journey_id")
    stored = finished.table("journey_features", f"as_of = date '{day}'").drop(of_run)
    replayed = replay_features(history_of(world), day, QUICK, KeywordVectors(EMBEDDER)).drop(of_run)
    order = [name for name in stored.columns if name != "action_counts"]
    assert replayed.sort(order).equals(stored.select(replayed.columns).sort(order))


def test_what_arrives_later_changes_no_feature(world: World, world_days: list[date]) -> None:
    """The leak test: a snapshot of a history that ends on the day is that of the whole history."""
    day = world_days[0]
    with_future = replay_features(history_of(world), day, QUICK, KeywordVectors(EMBEDDER))
    without = replay_features(history_of(world, until=day), day, QUICK, KeywordVectors(EMBEDDER))
    assert len(with_future) > 100
    assert with_future.equals(without)


def test_a_return_is_an_event_on_a_keyword_of_the_journey_within_the_horizon(world: World) -> None:
    history = history_of(world)
    day = WORLD_LAST_DAY - timedelta(days=5)
    features = replay_features(history, day, QUICK, KeywordVectors(EMBEDDER))
    returned = days_to_return(history, day, QUICK).filter(pl.col("days_to_return") <= 3).drop("days_to_return")
    assert 0 < len(returned) < len(features)
    events = history.query(
        "select distinct user_id, keyword from keyword_events "
        "where cast(occurred_at as date) between $first and $last and known_from <= $now and known_until > $now",
        {"first": day + timedelta(days=1), "last": day + timedelta(days=3), "now": WORLD_LAST_DAY},
    )
    members = history.query(
        "select user_id, keyword, journey_id from clusters join journey_identities using (user_id, cluster)", {}
    )
    expected = members.join(events, on=["user_id", "keyword"]).select("user_id", "journey_id")
    assert {*returned.iter_rows()} == {*expected.iter_rows()}


def test_new_words_for_a_journey_are_a_return_to_it() -> None:
    seen = datetime(2025, 6, 1)
    journeys = pl.DataFrame(
        [("u", "garden", "j"), ("u", "roses", "j"), ("u", "passport", "k"), ("v", "garden", "l")],
        schema=["user_id", "keyword", "journey_id"],
        orient="row",
    )
    later = pl.DataFrame(
        [
            *[("u", "garden", 0, 3.0, seen), ("u", "roses", 0, 1.0, seen), ("u", "pruning shears", 0, 2.0, seen)],
            *[("u", "passport", 1, 1.0, seen), ("u", "sourdough", 2, 9.0, seen), ("v", "garden", 0, 1.0, seen)],
        ],
        schema=["user_id", "keyword", "cluster", "weight", "first_seen"],
        orient="row",
    )
    used = pl.DataFrame(
        [
            *[("u", "pruning shears", DAY), ("u", "pruning shears", DAY + timedelta(days=2)), ("u", "roses", DAY)],
            *[("u", "sourdough", DAY), ("w", "garden", DAY)],
        ],
        schema=["user_id", "keyword", "day"],
        orient="row",
    )
    expected = {("u", "j", 2)}
    assert {*days_came_back(journeys, later, used).iter_rows()} == expected
    assert {*days_came_back(journeys[::-1], later[::-1], used[::-1]).iter_rows()} == expected
    assert days_came_back(journeys, later, used.clear()).is_empty()


def test_a_label_is_a_half_for_one_day_and_looks_no_further_than_the_horizon(
    larger_world: World, examples: pl.DataFrame
) -> None:
    assert {*examples["label"].unique().to_list()} <= {1 - 2.0**-days for days in range(4)}
    day: date = examples["as_of"][0]
    until = day + timedelta(days=QUICK.ranking.return_days)
    vectors = KeywordVectors(DrawnVectors())
    (known_then,) = labelled_snapshots(history_of(larger_world, until=until), [day], QUICK, vectors)
    assert known_then["label"].to_list() == examples.filter(as_of=day)["label"].to_list()
    assert known_then["label"].n_unique() > 2


def test_a_model_learns_and_its_card_tells_how(attempt: Attempt, examples: pl.DataFrame) -> None:
    auc = dict(attempt.comparison.table.select("ranker", "auc").iter_rows())
    assert auc["new model"] > 0.6 > auc["random"]
    spans = attempt.card["spans"]
    assert spans["train"]["last"] < spans["validation"]["first"] < spans["test"]["first"]
    for span in spans.values():
        days = pl.col("as_of").is_between(date.fromisoformat(span["first"]), date.fromisoformat(span["last"]))
        rows = examples.filter(days)
        positive = int((rows["label"] >= 0.5).sum())
        assert span["labels"] == {RETURN: {"labels": len(rows), "positive": positive}}
    assert attempt.card["judged_by"] == RETURN
    assert sum(attempt.trained.importance.values()) == pytest.approx(1.0)


def test_ablations_say_what_a_group_of_features_is_worth(
    attempt: Attempt, examples: pl.DataFrame, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "lab.evaluation.ranking.ABLATIONS", {"how often": ("days_active", "events_30", "decayed_events")}
    )
    whole, without = ablations(RankingEvaluation(examples, spans, attempt), QUICK).iter_rows(named=True)
    assert (whole["without"], whole["lost"]) == ("nothing", None)
    assert whole["ndcg"] == attempt.comparison.table["ndcg"][0]
    assert without["ndcg"] != whole["ndcg"]
    assert without["lost"] == pytest.approx(1 - without["ndcg"] / whole["ndcg"])
    assert without["lost_low"] <= without["lost"] <= without["lost_high"]


def test_a_stored_model_scores_the_same_bits(attempt: Attempt, examples: pl.DataFrame) -> None:
    model, actions = attempt.trained.model, action_names(QUICK)
    stored = RankingModel.stored(model.model_id, model.trees, attempt.card)
    scores = stored.scores(examples, actions)
    np.testing.assert_array_equal(scores, model.scores(examples, actions))
    np.testing.assert_array_equal(scores[7:9], model.scores(examples[7:9], actions))
    probabilities = stored.probabilities(scores)
    assert 0 <= probabilities.min() <= probabilities.max() <= 1
    assert (np.diff(probabilities[np.argsort(scores)]) >= 0).all()


def test_a_model_of_other_features_is_refused(attempt: Attempt, examples: pl.DataFrame) -> None:
    with pytest.raises(RankingModelError, match=r"\(cohesion\).*journeys train"):
        attempt.trained.model.scores(examples.drop("cohesion"), action_names(QUICK))


def labelled(source: str, good: int, bad: int) -> pl.DataFrame:
    return pl.DataFrame({"label_source": source, "label": [1.0] * good + [0.25] * bad})


def test_feedback_judges_where_validation_and_test_hold_enough_good_and_bad() -> None:
    returns, feedback = labelled(RETURN, 9, 9), labelled("human", 5, 5)
    both = pl.concat([returns, feedback])
    assert choose_validation_label({"train": both, "validation": both, "test": both}, min_returns=5) == FEEDBACK
    assert choose_validation_label({"train": returns, "validation": both, "test": both}, min_returns=5) == FEEDBACK
    assert choose_validation_label({"train": both, "validation": returns, "test": both}, min_returns=5) == RETURN
    assert choose_validation_label({"train": both, "validation": both, "test": both}, min_returns=6) == RETURN


@pytest.mark.parametrize(("good", "bad"), [(4, 9), (9, 0)])
def test_too_few_returns_are_told(good: int, bad: int) -> None:
    enough, few = labelled(RETURN, 9, 9), labelled(RETURN, good, bad)
    with pytest.raises(TooFewReturnsError, match=rf"validation snapshots hold {good} returns among {good + bad}"):
        choose_validation_label({"train": enough, "validation": few, "test": enough}, min_returns=5)


def test_feedback_outweighs_returns_that_say_otherwise(examples: pl.DataFrame, spans: Spans) -> None:
    """Users who thumb up only what they have few keywords of: the model learns it, from labels of both sources."""
    liked = (pl.col("user_keywords") <= examples["user_keywords"].median()).cast(pl.Float32)
    feedback = examples.with_columns(
        label_source=pl.lit("notification"), label=liked, label_weight=pl.lit(20.0, dtype=pl.Float32)
    )
    both = pl.concat([examples, feedback])
    attempt = attempt_ranker(both, spans, QUICK, current=None)
    assert attempt.card["judged_by"] == FEEDBACK
    assert attempt.comparison.table["auc"][0] > 0.95
    assert {"return", "notification"} == attempt.card["spans"]["train"]["labels"].keys()


def test_a_model_has_to_beat_what_ranks_without_it(examples: pl.DataFrame, attempt: Attempt) -> None:
    scores = heuristic_scores(examples)
    row = examples.row(0, named=True)
    assert scores["frequency × recency"][0] == pytest.approx(row["weight"] * np.exp(-row["days_since_last"] / 30))
    often = row["days_active"] / (row["days_since_first"] + 7)
    gap = (row["days_since_first"] - row["days_since_last"] + 7) / row["days_active"]
    assert scores["heuristic"][0] == pytest.approx(
        np.sqrt(row["weight"] * often) * np.exp(-row["days_since_last"] / (3 * gap))
    )
    assert {*scores} < {*attempt.comparison.table["ranker"]}


@pytest.mark.parametrize(
    ("gain", "current", "promoted", "words"),
    [
        (Mean(0.05, 0.01, 0.09), None, True, "promoted: NDCG@5 [+]5.0%"),
        (Mean(0.05, -0.01, 0.09), None, False, "may be chance"),
        (Mean(0.05, 0.01, 0.09), 0.5, True, "over the current model"),
        (Mean(0.05, 0.01, 0.09), 0.99, False, "refused: .* over the current model"),
    ],
)
def test_a_model_takes_over_only_when_it_wins(
    attempt: Attempt, gain: Mean, current: float | None, promoted: bool, words: str
) -> None:
    table = attempt.comparison.table.with_columns(ndcg=pl.lit(0.7))
    if current is not None:
        table = pl.concat([table, table[:1].with_columns(ranker=pl.lit("current model"), ndcg=pl.lit(current))])
    decided, decision = decide(replace(attempt.comparison, table=table, ndcg_gain=gain))
    assert decided is promoted
    assert re.search(words, decision)


# In Dagster


def test_rankings_are_the_models_once_it_is_promoted(
    copy_of_world: Callable[[str], Pipeline], attempt: Attempt, world_days: list[date]
) -> None:
    pipeline = copy_of_world("promoted")
    keep_ranking_model(pipeline.warehouse, world_days[2], replace(attempt, promoted=True))
    assert pipeline.materialize("rankings", days=(world_days[2], world_days[2])).success
    ranked = pipeline.table("rankings")
    by_model = ranked.filter(pl.col("as_of") == world_days[2])
    assert by_model["ranker"].unique().to_list() == [attempt.trained.model.model_id]
    for number in ("confidence", "return_probability"):
        assert by_model[number].is_between(0, 1).all()
    assert ranked.filter(pl.col("as_of") < world_days[2])["ranker"].unique().to_list() == ["heuristic"]
    assert ranking_model_in_use(pipeline.warehouse, pipeline.settings, world_days[1]) is None
    assert ranking_model_in_use(pipeline.warehouse, pipeline.settings, world_days[2], before_training_on=True) is None


@pytest.mark.slow
def test_rankings_by_a_model_are_those_of_a_full_run(
    copy_of_world: Callable[[str], Pipeline], attempt: Attempt, world_days: list[date]
) -> None:
    pipeline = copy_of_world("promoted")
    keep_ranking_model(pipeline.warehouse, world_days[2], replace(attempt, promoted=True))
    pipeline.run(world_days[3])
    incremental = pipeline.table("rankings", f"as_of = date '{world_days[3]}'")
    pipeline.run(world_days[3], "all_users")
    full = pipeline.table("rankings", f"as_of = date '{world_days[3]}'")
    same = full.join(incremental.select("user_id").unique(), on="user_id", how="semi")
    assert same.drop("scope").equals(incremental.drop("scope"))


@pytest.mark.slow
def test_a_model_of_other_features_leaves_the_heuristic_in_charge(
    copy_of_world: Callable[[str], Pipeline], attempt: Attempt, world_days: list[date]
) -> None:
    pipeline = copy_of_world("misfit")
    card = {**attempt.card, "features": ["another", *attempt.card["features"]]}
    keep_ranking_model(pipeline.warehouse, world_days[2], replace(attempt, promoted=True, card=card))
    pipeline.run(world_days[3])
    ranked = pipeline.table("rankings", f"as_of = date '{world_days[3]}'")
    assert ranked["ranker"].unique().to_list() == ["heuristic"]
    assert ranking_model_in_use(pipeline.warehouse, pipeline.settings, world_days[3]) is None
    done = pipeline.materialize("rankings", days=(world_days[3], world_days[3]))
    (check,) = [found for found in done.get_asset_check_evaluations() if found.check_name == "model_fits"]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "(another)" in str(check.description)


def test_the_assets_train_or_say_why_not(copy_of_world: Callable[[str], Pipeline]) -> None:
    pipeline = copy_of_world("trained")
    long = {"ranking": {"return_days": 60}}
    said = train(
        Pipeline(pipeline.home, Settings.model_validate(long)), "ranking_labels", "ranking_model", "stage_model"
    )
    assert {said[model]["decision"] for model in said} == {
        "not trained: ranking_labels is empty: there is too little history and no feedback yet"
    }
    assert not any(said[model]["check"].passed for model in said)
    assert not pipeline.warehouse.has_table("ranking_model")

    quick = Pipeline(
        pipeline.home,
        Settings.model_validate({"ranking": QUICK.ranking.model_dump(), "stages": {"return_days": 3}}),
    )
    misfit = attempted()
    misfit.card["weights"]["another"] = 0.1
    keep_stage_model(pipeline.warehouse, WORLD_LAST_DAY, misfit)
    said = train(quick)
    for model, kept in (("ranking_model", {"calibration", "importance"}), ("stage_model", {"weights"})):
        assert "not trained" not in said[model]["decision"]
        promoted = dict(quick.table(model).select("decision", "promoted").iter_rows())
        assert said[model]["check"].passed is promoted[said[model]["decision"]]
        assert said[model]["check"].description == said[model]["decision"]
        assert kept | {"card", "test"} <= said[model].keys()
    points = quick.table("diversification_trade_off")
    assert points["recommended"].sum() == 1
    labels = quick.table("ranking_labels")
    assert labels["label_source"].unique().to_list() == [RETURN]
    assert labels["label"].is_in([0.0, 0.5, 0.75, 0.875]).all()
    assert labels["as_of"].max() == labels["read_until"][0] - timedelta(days=3)


def train(pipeline: Pipeline, *assets: str) -> dict[str, dict]:
    result = pipeline.train(*assets)
    said = {}
    for model in ("ranking_model", "stage_model"):
        (event,) = result.asset_materializations_for_node(model)
        (check,) = [found for found in result.get_asset_check_evaluations() if found.asset_key == dg.AssetKey(model)]
        said[model] = {name: value.value for name, value in event.metadata.items()} | {"check": check}
    return said


@pytest.mark.slow
def test_feedback_becomes_labels_of_the_snapshot_before_it(
    copy_of_world: Callable[[str], Pipeline], world_days: list[date]
) -> None:
    pipeline = copy_of_world("feedback")
    as_of, day = world_days[2], world_days[3]
    of_day = pipeline.table("user_journeys", f"as_of = date '{as_of}'")
    journeys = of_day.select("user_id", "journey_id").sort("user_id", "journey_id").head(6)
    said = journeys.with_columns(occurred_at=pl.lit(datetime.combine(day, time(9), UTC)), arrival_day=pl.lit(day))
    sent = said.with_columns(channel=pl.lit("push"), event=pl.lit("sent"))
    clicked = sent.head(2).with_columns(event=pl.lit("clicked"))
    grades = said.head(1).with_columns(grade=pl.lit(5), annotator=pl.lit("a"))
    write_days(pipeline.home.landing, source="notification_feedback", frame=pl.concat([sent, clicked]))
    write_days(pipeline.home.landing, source="human_labels", frame=grades)
    pipeline.run(day)
    ranking = {**QUICK.ranking.model_dump(), "return_days": 2}
    train(Pipeline(pipeline.home, Settings.model_validate({"ranking": ranking})))
    labels = pipeline.table("ranking_labels", "label_source <> 'return'")
    assert labels.select("label_source", "label", "label_weight").sort("label_source", "label").rows() == [
        ("human", 1.0, 4.0),
        *[("notification", 0.0, 2.0)] * 4,
        *[("notification", 1.0, 2.0)] * 2,
    ]
    assert labels["labelled_on"].unique().to_list() == [day]
    features = pipeline.table("journey_features").join(labels, on=["as_of", "user_id", "journey_id"], how="semi")
    assert labels["as_of"].unique().to_list() == features["as_of"].unique().to_list() == [as_of]
    compared = labels.filter(label_source="notification").sort("user_id", "journey_id")
    assert compared["cohesion"].to_list() == pytest.approx(features.sort("user_id", "journey_id")["cohesion"].to_list())


@pytest.mark.slow
def test_names_are_central_for_everyone_once_models_are_trained(
    copy_of_world: Callable[[str], Pipeline], world_days: list[date]
) -> None:
    pipeline = copy_of_world("named")
    train(pipeline)
    assert pipeline.table("naming_model")["users"].min() >= 2  # type: ignore[operator]
    pipeline.run(world_days[3])
    names = pipeline.table("names")
    assert names.filter(pl.col("as_of") < world_days[2])["centrality"].max() == 0
    assert names.filter(pl.col("as_of") == world_days[3])["centrality"].min() > 0  # type: ignore[operator]
