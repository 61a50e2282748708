"""The heuristic ranker: its closed form, its order, its probability of a return."""

import math
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from journeys_dagster.inference.ranking import HEURISTIC, rank_by_heuristic, recency_days

AS_OF = date(2025, 6, 30)
END = datetime(2025, 7, 1)
SCHEMA = {
    "user_id": pl.String,
    "journey_id": pl.String,
    "weight": pl.Float64,
    "last_seen": pl.Datetime("us"),
    "first_seen": pl.Datetime("us"),
    "days_active": pl.Int32,
}
OUTPUT = {
    "user_id": pl.String,
    "journey_id": pl.String,
    "rank": pl.Int32,
    "score": pl.Float64,
    "confidence": pl.Float64,
    "return_probability": pl.Float64,
    "frequency": pl.Float64,
    "recency_days": pl.Float64,
    "ranker": pl.String,
}

Row = tuple[str, str, float, datetime] | tuple[str, str, float, datetime, datetime, int]


def rank(*rows: Row, confidence: float = 1.0, sure_from: float = 0.15) -> pl.DataFrame:
    """Rank journeys; those without a first day and days were seen once."""
    whole = [row if len(row) > 4 else (*row, row[3], 1) for row in rows]
    journeys = pl.DataFrame(whole, schema=SCHEMA, orient="row").with_columns(confidence=pl.lit(confidence))
    return rank_by_heuristic(journeys, as_of=AS_OF, sure_from=sure_from)


def test_the_score_is_how_much_and_how_often_fading_by_the_journeys_own_rhythm():
    # Six days of 54: a usual gap of ten days, with a week more.
    found = rank(("u", "j", 6.0, END - timedelta(days=45), END - timedelta(days=98), 6), confidence=0.8)
    assert dict(found.schema) == OUTPUT
    row = found.row(0, named=True)
    assert row["recency_days"] == 45.0
    strength = math.sqrt(6.0 * 6 / 105) * math.exp(-45 / 30)
    assert row["score"] == pytest.approx(strength, rel=1e-12)
    odds = (strength / 0.6) ** 1.9
    assert row["return_probability"] == pytest.approx(odds / (odds + 1.0), rel=1e-12)
    assert (row["frequency"], row["rank"], row["confidence"], row["ranker"]) == (6.0, 1, 0.8, HEURISTIC)


def test_a_silence_that_a_slow_journey_is_used_to_ends_a_quick_one():
    last, month = END - timedelta(days=14), timedelta(days=30)
    quick, slow = ("u", "quick", 8.0, last, last - timedelta(days=14), 8), ("u", "slow", 8.0, last, last - 4 * month, 8)
    assert rank(quick, slow)["journey_id"].to_list() == ["slow", "quick"]
    fresh = [(*row[:3], END, row[4] + timedelta(days=14), row[5]) for row in (quick, slow)]
    assert rank(*fresh)["journey_id"].to_list() == ["quick", "slow"]


def test_days_are_counted_to_the_end_of_the_day_by_the_microsecond():
    moments = pl.DataFrame(
        {"moment": [datetime(2025, 6, 30, 18), datetime(2025, 6, 1), END - timedelta(microseconds=1)]}
    )
    days = moments.select(recency_days(AS_OF, pl.col("moment"))).to_series().to_list()
    assert days == [0.25, 30.0, 1 / 86_400e6]


def test_an_event_after_the_end_of_the_day_is_no_more_than_fresh():
    found = rank(("u", "j", 7.0, END + timedelta(days=3)), ("u", "k", 7.0, END))
    assert found["recency_days"].to_list() == [0.0, 0.0]
    assert found["score"].to_list() == [1.0, 1.0]


def test_what_is_hardly_a_journey_comes_after_a_sure_one_and_sure_ones_are_alike():
    journeys = pl.DataFrame(
        [("u", "a", 7.0, END, END, 1), ("u", "b", 4.0, END, END, 1), ("u", "c", 3.0, END, END, 1)],
        schema=SCHEMA,
        orient="row",
    ).with_columns(confidence=pl.Series([0.05, 0.2, 0.9]))
    ranked = rank_by_heuristic(journeys, as_of=AS_OF, sure_from=0.15)
    assert ranked["journey_id"].to_list() == ["b", "c", "a"]
    # Whether the user comes back is another question.
    assert ranked.sort("journey_id")["return_probability"].is_sorted(descending=True)
    assert rank_by_heuristic(journeys, as_of=AS_OF, sure_from=0.0)["journey_id"].to_list() == ["a", "b", "c"]


def test_equal_scores_are_ranked_by_journey_id():
    found = rank(("u", "b", 1.0, END), ("u", "c", 1.0, END), ("u", "a", 1.0, END), ("u", "z", 2.0, END))
    assert found["journey_id"].to_list() == ["z", "a", "b", "c"]


def test_no_journeys_are_ranked_as_none():
    found = rank()
    assert found.is_empty()
    assert dict(found.schema) == OUTPUT


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["ann", "bob", "cyd"]),
        st.integers(0, 9).map(str),
        st.one_of(st.sampled_from([1.0, 2.0]), st.floats(1e-6, 1e12)),
        st.integers(-5, 400),
        st.integers(0, 400),
        st.integers(1, 200),
    ).map(lambda row: (*row[:3], last := END - timedelta(days=row[3]), last - timedelta(days=row[4]), row[5])),
    unique_by=lambda row: row[:2],
)


@settings(deadline=None)
@given(ROWS, st.floats(1e-3, 1.0))
def test_each_user_is_ranked_from_the_best_score_down_with_the_chance_of_a_return_in_step(
    rows: list[Row], confidence: float
):
    found = rank(*rows, confidence=confidence)
    assert (found["recency_days"] >= 0).all()
    assert found["return_probability"].is_between(0, 1).all()
    for (user,), ranked in found.group_by("user_id", maintain_order=True):
        assert ranked["rank"].to_list() == list(range(1, len(ranked) + 1))
        order = [(-score, journey) for score, journey in ranked.select("score", "journey_id").iter_rows()]
        assert order == sorted(order)
        assert (np.diff(ranked["return_probability"].to_numpy()) <= 1e-15).all()
        alone = rank(*(row for row in reversed(rows) if row[0] == user), confidence=confidence)
        assert_frame_equal(alone, ranked, check_exact=True)
    assert sorted(found.select("user_id", "journey_id").rows()) == sorted(row[:2] for row in rows)


def test_a_user_gets_the_same_bits_without_the_others():
    # One row alone takes another way through Polars than many rows, with other rounding if one divides by a number.
    rng = np.random.default_rng(0)
    rows = [
        (
            f"user {user:03}",
            "j",
            float(weight),
            END - timedelta(seconds=int(last)),
            END - timedelta(days=200),
            int(days),
        )
        for user, (weight, last, days) in enumerate(
            zip(rng.gamma(1, 3, 200), rng.integers(0, 10**7, 200), rng.integers(1, 60, 200), strict=True)
        )
    ]
    together = rank(*rows, confidence=0.07)
    alone = pl.concat([rank(row, confidence=0.07) for row in rows])
    assert_frame_equal(alone, together, check_exact=True)
