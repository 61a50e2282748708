"""The judge without a language model: levels and faults from evidence, a day's metrics, and the floor."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeys_dagster.inference.judge import CUTS, JUDGED_SCHEMA, RUBRIC, WEIGHTS, judge_by_evidence, ndcg
from journeys_dagster.monitoring.bootstrap import Mean
from journeys_dagster.monitoring.judge_metrics import ALL, METRICS_SCHEMA, Calibration, calibrate, judge_metrics

BEST = {
    "user_id": "ann", "journey_id": "a", "rank": 1, "coverage": 0.6, "days_since": 0.1, "cohesion": 0.9,
    "name_similarity": 0.9, "stage": "ongoing",
}  # fmt: skip


def journeys(*changes: dict) -> pl.DataFrame:
    schema = {"rank": pl.Int32}
    return pl.DataFrame([BEST | change for change in changes], schema_overrides=schema)


def judge(*changes: dict, centres: np.ndarray | None = None, top: int = 5) -> list[dict]:
    rows = journeys(*changes)
    vectors = np.eye(len(rows), dtype=np.float32) if centres is None else centres
    judged = judge_by_evidence(rows, vectors, top=top)
    assert dict(judged.schema) == JUDGED_SCHEMA
    return judged.to_dicts()


def test_the_rubric_has_five_levels_each_with_an_example() -> None:
    assert [level.level for level in RUBRIC] == [5, 4, 3, 2, 1]
    assert all(level.meaning and level.example for level in RUBRIC)
    assert sum(WEIGHTS.values()) == pytest.approx(1)
    assert list(CUTS) == sorted(CUTS)


def test_much_recent_activity_is_highly_relevant_and_none_in_months_is_irrelevant() -> None:
    best, worst = judge({}, {"journey_id": "b", "rank": 2, "coverage": 0.0, "days_since": 120.0})
    assert (best["level"], worst["level"]) == (5, 1)
    for row in (best, worst):
        assert "not a language model" in row["explanation"]
    assert "60 %" in best["explanation"]


@given(st.floats(0, 1), st.floats(0, 0.2), st.floats(0, 200))
def test_more_evidence_never_gives_a_lower_level(coverage: float, more: float, days: float) -> None:
    (low,) = judge({"coverage": coverage, "days_since": days})
    (high,) = judge({"coverage": min(1.0, coverage + more), "days_since": days})
    assert 1 <= low["level"] <= high["level"] <= 5


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"name_similarity": 0.2}, "wrong name"),
        ({"stage": "ended"}, "wrong stage"),
        ({"days_since": 100.0}, "wrong stage"),
        ({"stage": "ended", "days_since": 100.0}, None),
        ({}, None),
    ],
)
def test_faults_of_a_journey(change: dict, fault: str | None) -> None:
    (row,) = judge(change)
    assert row["faults"] == ([] if fault is None else [fault])


def test_a_journey_like_one_above_is_a_duplicate() -> None:
    alike = np.array([[1, 0], [0.9, np.sqrt(1 - 0.81)]], dtype=np.float32)
    first, second = judge({}, {"journey_id": "b", "rank": 2}, centres=alike)
    assert (first["faults"], second["faults"]) == ([], ["duplicate"])
    assert first["distinctness"] == 1.0


def test_what_a_user_does_much_and_the_list_lacks_is_missed() -> None:
    listed, missed = judge({}, {"journey_id": "b", "rank": None, "coverage": 0.3})
    assert listed["faults"] == []
    assert (missed["faults"], missed["rank"], missed["level"]) == (["missed"], None, None)
    assert len(judge({}, {"journey_id": "b", "rank": None, "coverage": 0.1})) == 1
    assert len(judge({}, {"journey_id": "b", "rank": 2}, top=1)) == 1


def test_ndcg() -> None:
    assert ndcg([5, 3, 1]) == 1.0
    assert ndcg([1, 3, 5]) < ndcg([3, 5, 1]) < 1.0


def scores(**levels: list[int]) -> pl.DataFrame:
    rows = [
        (user, rank, level, ["duplicate"] if level == 1 else [], "light" if user < "c" else "heavy")
        for user, of_user in levels.items()
        for rank, level in enumerate(of_user, start=1)
    ]
    return pl.DataFrame(rows, schema=["user_id", "rank", "level", "faults", "stratum"], orient="row")


def test_metrics_are_means_over_users_by_slice() -> None:
    found = judge_metrics(scores(ann=[5, 5, 1], bob=[3], cleo=[4, 2]))
    assert dict(found.schema) == METRICS_SCHEMA
    values = {(row["slice"], row["metric"]): row for row in found.to_dicts()}
    assert values[ALL, "mean_level"]["value"] == pytest.approx((11 / 3 + 3 + 3) / 3)
    assert values["light", "share_relevant"]["value"] == pytest.approx((2 / 3 + 0) / 2)
    assert values[ALL, "duplicate"]["value"] == pytest.approx(1 / 3)
    assert values["heavy", "ndcg"]["users"] == 1
    assert all(row["low"] <= row["value"] <= row["high"] for row in values.values())
    assert judge_metrics(scores(ann=[5]).clear()).is_empty()


def calibration(*pairs: tuple[int, int]) -> Calibration:
    rows = [(f"u{place}", f"j{place}", human, level) for place, (human, level) in enumerate(pairs)]
    frame = pl.DataFrame(rows, schema=["user_id", "journey_id", "grade", "level"], orient="row")
    day = pl.lit("2025-06-30").str.to_date()
    return calibrate(frame.with_columns(as_of=day), frame.with_columns(arrival_day=day))


def test_a_judge_under_its_floor_is_not_believed() -> None:
    agreeing, opposite = calibration(*[(1, 1), (5, 5), (3, 3)] * 10), calibration(*[(1, 5), (5, 1), (3, 3)] * 10)
    assert agreeing.graded == 30
    assert agreeing.verdict(floor=0.2, min_graded=30)[0]
    passed, said = opposite.verdict(floor=0.2, min_graded=30)
    assert not passed
    assert "the floor is 0.2" in said
    # With too few grades nothing is said against it.
    passed, said = opposite.verdict(floor=0.2, min_graded=31)
    assert passed
    assert said.startswith("not calibrated")


def test_a_judge_with_one_level_agrees_with_nobody() -> None:
    undefined = Calibration(50, {"quadratic_kappa": Mean(float("nan"), float("nan"), float("nan"))})
    assert not undefined.verdict(floor=0.0, min_graded=1)[0]
