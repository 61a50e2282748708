"""The model of returns: fitted to known truths, falling in silence, promoted by its stages; and the phase."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from conftest import Pipeline
from dagster import AssetCheckSeverity
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score

from journeys_dagster.inference.stage_model import (
    AGEING_TERMS,
    FEATURES,
    FOREVER_DAYS,
    TERMS,
    StageModel,
    return_terms,
)
from journeys_dagster.inference.stages import (
    ACTION,
    INSPIRATION,
    RULE,
    SOONEST_PART,
    UNKNOWN,
    outlived_silence,
    phase_journeys,
    stage_journeys,
)
from journeys_dagster.monitoring.bootstrap import Mean
from journeys_dagster.resources.trained_models import keep_stage_model
from journeys_dagster.settings import Settings
from journeys_dagster.training.spans import Spans, TooFewReturnsError
from journeys_dagster.training.stager import (
    CURRENT,
    NEW,
    StageAttempt,
    StageComparison,
    attempt_stage_model,
    compare_stages,
    decide,
    train_stage_model,
)

DAY = date(2025, 6, 30)
STAGES = Settings().stages


def features_of(rows: int, seed: int = 0) -> pl.DataFrame:
    """Journeys of many kinds."""
    rng = np.random.default_rng(seed)
    tenure = rng.integers(1, 400, rows)
    age = rng.integers(0, tenure + 1)
    idle = rng.integers(0, age + 1)
    shares = {name: rng.random(rows) * 0.02 for name in ("share_7", "share_28", "share_84")}
    frame = pl.DataFrame(
        {
            "as_of": DAY,
            "user_id": [f"u{row % 40:02}" for row in range(rows)],
            "journey_id": [f"j{row:05}" for row in range(rows)],
            "days_since_last": idle,
            "days_since_first": age,
            "user_days_since_last": rng.integers(0, idle + 1),
            "user_active_days": rng.integers(1, tenure + 2),
            "user_tenure_days": tenure,
            "days_active": rng.integers(1, 20, rows),
            "most_days_of_keyword": rng.integers(1, 5, rows),
            **shares,
        }
    )
    return frame.cast(dict.fromkeys(FEATURES, pl.Float64)).sort("user_id", "journey_id")


def model_of(ended_below: float = 0.05, **weights: float) -> StageModel:
    return StageModel("m", 30, -1.0, {**dict.fromkeys(TERMS, 0.0), **weights}, ended_below)


def with_returns(features: pl.DataFrame, probabilities: np.ndarray, seed: int = 1) -> pl.DataFrame:
    """Examples whose users come back within 30 days with the given probabilities."""
    rng = np.random.default_rng(seed)
    days = rng.integers(1, 31, len(features))
    returned = rng.random(len(features)) < probabilities
    return features.with_columns(
        days_to_return=pl.Series(np.where(returned, days, 99), dtype=pl.Int32),
        label_source=pl.lit("return"),
        labelled_on=pl.col("as_of") + pl.duration(days=14),
    )


def test_it_finds_the_weights_that_made_the_returns() -> None:
    truth = model_of(idle=0.9, active_days=0.7, user_regularity=0.3)
    features = features_of(60_000)
    found = train_stage_model(with_returns(features, truth.probabilities(features)), return_days=30, model_id="new")
    for name, weight in truth.weights.items():
        assert found.weights[name] == pytest.approx(weight, abs=0.06)
    assert found.probabilities(features) == pytest.approx(truth.probabilities(features), abs=0.06)


def test_without_bounds_at_work_it_is_scikit_learns_ridge() -> None:
    truth = model_of(idle=0.9, age=0.3, user_idle=0.4, user_regularity=0.3, active_days=0.7, season=-0.2)
    features = features_of(5_000)
    examples = with_returns(features, truth.probabilities(features))
    found = train_stage_model(examples, return_days=30, model_id="new")
    columns = np.column_stack([*return_terms(features).values()])
    scaled = (columns - columns.mean(axis=0)) / columns.std(axis=0)
    returned = examples["days_to_return"].to_numpy() <= 30
    ridge = LogisticRegression(C=0.1, tol=1e-8, max_iter=1000).fit(scaled, returned)
    assert found.probabilities(features) == pytest.approx(ridge.predict_proba(scaled)[:, 1], abs=1e-3)


def test_what_falls_in_silence_gets_no_negative_weight() -> None:
    upside_down = model_of(idle=-0.8)
    features = features_of(5_000)
    found = train_stage_model(with_returns(features, upside_down.probabilities(features)), return_days=30, model_id="n")
    assert all(found.weights[name] >= 0 for name in AGEING_TERMS)
    assert found.misfit() == ""
    assert "rise in silence" in upside_down.misfit()
    assert (
        "without learning when"
        in StageModel.stored(
            {"model_id": "m", "return_days": 30, "intercept": 0.0, "weights": dict.fromkeys(TERMS, 0.1)}
        ).misfit()
    )
    assert "(another)" in replace(found, weights={**found.weights, "another": 0.1}).misfit()
    assert "(idle)" in replace(found, weights={name: 0.1 for name in TERMS if name != "idle"}).misfit()


@given(
    st.lists(st.floats(0, 2), min_size=len(AGEING_TERMS), max_size=len(AGEING_TERMS)),
    st.floats(0.001, 0.6),
    st.integers(0, 1000),
)
def test_a_journey_ends_on_the_first_day_its_probability_lies_below(
    weights: list[float], threshold: float, seed: int
) -> None:
    model = model_of(threshold, **dict(zip(AGEING_TERMS, weights, strict=True)))
    features = features_of(5, seed)
    days_left = model.days_left(features)
    at, before = (model.probabilities(features, silent_days=np.maximum(days_left - back, 0)) for back in (0, 1))
    assert ((at < threshold) | (days_left == FOREVER_DAYS)).all()
    assert ((before >= threshold) | (days_left == 0)).all()


def test_a_journey_gets_the_same_bits_without_the_others() -> None:
    model = model_of(idle=0.31, age=0.17, user_regularity=0.5, active_days=0.7, popularity=0.9, season=0.1)
    features = features_of(300)
    together = model.probabilities(features)
    alone = np.concatenate([model.probabilities(row) for row in features.iter_slices(1)])
    np.testing.assert_array_equal(together, alone)


def staged(features: pl.DataFrame, model: StageModel | None = None) -> pl.DataFrame:
    """Stages of journeys none of which is evergreen."""
    day = pl.lit(DAY).cast(pl.Datetime("us"))
    moments = features.with_columns(
        first_seen=day - pl.duration(days=pl.col("days_since_first").cast(pl.Int64)),
        last_seen=day - pl.duration(days=pl.col("days_since_last").cast(pl.Int64)),
        active_months=pl.lit(0, dtype=pl.Int32),
    )
    return stage_journeys(moments, as_of=DAY, settings=STAGES, model=model)


def test_a_model_may_see_an_end_sooner_and_never_later() -> None:
    features = features_of(400)
    by_rule = outlived_silence(features, STAGES)
    everything_lives, nothing_lives = model_of(0.0), model_of(1.0)
    assert outlived_silence(features, STAGES, everything_lives).equals(by_rule)
    soonest = outlived_silence(features, STAGES, nothing_lives)
    asked = pl.max_horizontal(by_rule // SOONEST_PART, pl.lit(STAGES.ended_min_days), features["days_since_last"] - 1)
    assert soonest.to_list() == pl.select(pl.min_horizontal(asked.cast(pl.Int64), by_rule)).to_series().to_list()
    between = outlived_silence(features, STAGES, model_of(0.1, idle=0.4))
    assert ((between >= soonest) & (between <= by_rule)).all()
    assert 0 < (between < by_rule).sum() < len(features)


def test_stages_by_a_model_are_those_of_what_it_outlives() -> None:
    features, model = features_of(400), model_of(0.1, idle=0.4)
    by_model, by_rule = staged(features, model), staged(features)
    ended = features["days_since_last"] > outlived_silence(features, STAGES, model)
    assert (by_model["stage"] == "ended").equals(ended.rename("stage"))
    assert ((by_model["ends_on"] <= DAY) == ended).all()
    assert (by_model["ends_on"] <= by_rule["ends_on"]).all()
    assert (by_model["ends_on"] < by_rule["ends_on"]).any()
    assert by_model["stage_model"].unique().to_list() == ["m"]
    assert by_rule["stage_model"].unique().to_list() == [RULE]


def test_long_silence_has_ended_however_likely_a_return() -> None:
    silent = features_of(200).with_columns(days_since_last=pl.lit(300.0), days_since_first=pl.lit(330.0))
    assert set(staged(silent, model_of(0.05))["stage"]) == {"ended"}


def test_stages_are_compared_by_balanced_accuracy() -> None:
    features = features_of(500)
    examples = with_returns(features, np.full(500, 0.3))
    returned = examples["days_to_return"].to_numpy() <= 30
    model = model_of(0.1, idle=0.4)
    found = compare_stages(examples, Settings(), {NEW: model}, return_days=30)
    for row, by in zip(found.table.iter_rows(named=True), (None, model), strict=True):
        ended = (features["days_since_last"] > outlived_silence(features, STAGES, by)).to_numpy()
        assert row["balanced"] == pytest.approx(balanced_accuracy_score(~returned, ended))
        assert row["ended"] == pytest.approx(ended.mean())
        assert row["flips"] == pytest.approx(returned[ended].mean())
    rule, new = found.table["balanced"]
    assert found.gains[RULE].value == pytest.approx(new / rule - 1)
    assert found.table["agreement"][0] == 1.0 > found.table["agreement"][1]


def test_what_has_ended_is_learnt_where_it_tells_returns_best() -> None:
    features = features_of(20_000)
    truth = model_of(idle=1.2, active_days=0.8)
    examples = with_returns(features, truth.probabilities(features))
    returned = examples["days_to_return"].to_numpy() <= 30
    model = train_stage_model(examples, return_days=30, model_id="m")
    stated = model.probabilities(features)
    best = max(balanced_accuracy_score(returned, stated >= below) for below in np.linspace(0.01, 0.9, 90))
    assert balanced_accuracy_score(returned, stated >= model.ended_below) == pytest.approx(best, abs=0.005)


SPANS = Spans([DAY - timedelta(days=90)], [DAY - timedelta(days=60)], [DAY - timedelta(days=30)], 30)


def attempted(current: StageModel | None = None) -> StageAttempt:
    truth = model_of(idle=1.2, active_days=0.8, user_regularity=0.5)
    features = pl.concat(
        features_of(4_000, seed).with_columns(as_of=pl.lit(day)) for seed, (day,) in enumerate(SPANS.parts)
    )
    examples = with_returns(features, truth.probabilities(features))
    return attempt_stage_model(examples, SPANS, Settings(), current=current)


def test_a_model_that_wins_is_promoted_and_the_next_must_beat_it() -> None:
    first = attempted()
    assert first.promoted, first.decision
    assert first.card["spans"]["train"]["journeys"] == 8_000
    assert StageModel.stored(first.card) == first.model
    again = attempted(first.model)
    assert again.promoted, again.decision
    table = attempted(first.model).comparison.table
    assert CURRENT in table["stages_by"].to_list()


@pytest.mark.parametrize(
    ("low", "agreement", "current", "promoted", "words"),
    [
        (0.01, 0.95, None, True, "promoted"),
        (-0.01, 0.95, None, False, "may be chance"),
        (0.01, 0.7, None, False, "70.0% of the stages are the rule's"),
        (0.01, 0.95, 0.8, False, "the current model has 0.800"),
        (0.01, 0.95, 0.7, True, "promoted"),
        (0.01, 0.95, 0.7505, True, "promoted"),
        (0.01, 0.95, 0.7515, False, "the current model has 0.75"),
    ],
)
def test_decisions(low: float, agreement: float, current: float | None, promoted: bool, words: str) -> None:
    rows = [(RULE, 0.7, 0.5, 0.1, 1.0), (NEW, 0.75, 0.55, 0.1, agreement)]
    rows += [(CURRENT, current, 0.5, 0.1, 0.9)] if current else []
    table = pl.DataFrame(rows, schema=["stages_by", "balanced", "ended", "flips", "agreement"], orient="row")
    gains = {name: Mean(0.1, low, 0.2) for name in (RULE, CURRENT)}
    decided, decision = decide(StageComparison(table, gains))
    assert decided is promoted
    assert words in decision


def test_too_few_returns_are_told() -> None:
    examples = with_returns(features_of(500), np.full(500, 0.01))
    with pytest.raises(TooFewReturnsError, match="training snapshots hold"):
        train_stage_model(examples, return_days=30, model_id="m")
    with pytest.raises(TooFewReturnsError):
        train_stage_model(with_returns(features_of(500), np.ones(500)), return_days=30, model_id="m")


# Phase

USUAL = {"search": 0.5, "closeup": 0.4, "clickthrough": 0.08, "purchase": 0.02}


def phase(newest: list[str], usual: dict[str, float] = USUAL) -> dict:
    journeys = pl.DataFrame({"user_id": ["u"], "journey_id": ["j"], "newest_actions": [newest]})
    acting = ("clickthrough", "purchase")
    return phase_journeys(journeys, usual, acting_actions=acting, acting_odds=1.5).row(0, named=True)


@pytest.mark.parametrize(
    ("newest", "expected"),
    [
        (["search", "closeup", "search", "closeup"], INSPIRATION),
        (["purchase", "clickthrough", "search", "closeup"], ACTION),
        (["clickthrough"], ACTION),
        (["search"], INSPIRATION),
        (["clickthrough", *["closeup"] * 19], INSPIRATION),
        (["clickthrough"] * 5 + ["closeup"] * 15, ACTION),
    ],
)
def test_phase_is_what_the_newest_events_say_beside_the_usual(newest: list[str], expected: str) -> None:
    row = phase(newest)
    assert row["phase"] == expected
    acting = sum(action in ("clickthrough", "purchase") for action in newest)
    assert row["acting_share"] == pytest.approx(acting / len(newest))
    assert row["usual_acting_share"] == pytest.approx(0.1)


@pytest.mark.parametrize("usual", [{"purchase": 1.0}, {"search": 1.0}, {}])
def test_of_one_kind_of_action_nothing_is_known(usual: dict[str, float]) -> None:
    assert phase(["purchase"], usual)["phase"] == UNKNOWN


# In Dagster


@pytest.mark.slow
def test_stages_are_the_models_once_it_is_promoted(
    copy_of_world: Callable[[str], Pipeline], world_days: list[date]
) -> None:
    pipeline = copy_of_world("staged")
    attempt = attempted()
    keep_stage_model(pipeline.warehouse, world_days[2], attempt)
    pipeline.run(world_days[3])
    stages = pipeline.table("stages")
    by_model = stages.filter(pl.col("as_of") == world_days[3])
    assert by_model["stage_model"].unique().to_list() == [attempt.model.model_id]
    before = stages.filter(pl.col("as_of") < world_days[3])
    assert before["stage_model"].unique().to_list() == ["rule"]
    assert {*stages["phase"]} == {INSPIRATION, ACTION}

    shown = pipeline.table("current_user_journeys").filter(pl.col("as_of") == world_days[3])
    told = by_model.select("user_id", "journey_id", expected="stage")
    assert (
        shown.join(told, on=["user_id", "journey_id"])["stage"].to_list()
        == shown.join(told, on=["user_id", "journey_id"])["expected"].to_list()
    )


def test_a_model_of_other_terms_counts_as_none_and_a_check_says_so_until_another_is_kept(
    copy_of_world: Callable[[str], Pipeline], world_days: list[date]
) -> None:
    pipeline, attempt, day = copy_of_world("misfit"), attempted(), world_days[2]
    other = {**attempt.card, "weights": {**attempt.card["weights"], "another": 0.1}}

    def staged_by() -> tuple[list[str], list[tuple[bool, AssetCheckSeverity, str | None]]]:
        done = pipeline.materialize("stages", days=(day, day))
        assert done.success
        checks = [found for found in done.get_asset_check_evaluations() if found.check_name == "model_fits"]
        models = pipeline.table("stages", f"as_of = date '{day}'")["stage_model"].unique().to_list()
        return models, [(check.passed, check.severity, check.description) for check in checks]

    warn = AssetCheckSeverity.WARN
    assert staged_by() == (["rule"], [(True, warn, None)])
    keep_stage_model(pipeline.warehouse, world_days[0], replace(attempt, card=other))
    models, [(passed, severity, said)] = staged_by()
    assert (models, passed, severity) == (["rule"], False, warn)
    assert said is not None
    assert "(another)" in said
    assert "journeys train" in said

    keep_stage_model(pipeline.warehouse, day, attempt)
    assert staged_by() == ([attempt.model.model_id], [(True, warn, None)])
