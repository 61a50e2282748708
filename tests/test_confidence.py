"""How sure it is that something is a journey: its direction, its bounds, and the same bits whatever is beside it."""

import math
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from journeys_dagster.inference.confidence import (
    RISING,
    TERMS,
    ConfidenceModel,
    bundled_model,
    confidence_terms,
    with_confidence,
)
from lab.evaluation.confidence import by_limit, fit_confidence

AS_OF = date(2025, 6, 30)
USUAL: dict[str, Any] = {
    "user_id": "ann",
    "journey_id": "j",
    "weight": 5.0,
    "events": 5,
    "keywords": 4,
    "cohesion": 0.6,
    "days_active": 2,
    "first_seen": datetime(2025, 6, 1, 12),
}


def journeys(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame([USUAL | row for row in rows], schema_overrides={"keywords": pl.Int32, "days_active": pl.Int32})


def confidence_of(**changes: Any) -> float:
    """Of one journey of a user who has another one."""
    other = {"journey_id": "other", "weight": changes.pop("others", 20.0)}
    return with_confidence(journeys(changes, other), as_of=AS_OF)["confidence"][0]


def test_terms_are_what_they_are_called():
    terms = confidence_terms(journeys({}, {"weight": 2.5}, {"user_id": "bob"}), as_of=AS_OF)
    assert tuple(terms.columns) == TERMS
    first = terms.row(0, named=True)
    assert first["weight"] == pytest.approx(math.log1p(5.0))
    assert first["weight_a_day"] == pytest.approx(math.log1p(2.5))
    assert first["keywords"] == pytest.approx(math.log1p(4.0))
    assert first["age"] == pytest.approx(math.log1p(29.0))
    assert terms["weight_of_others"].to_list() == pytest.approx([math.log1p(2.5), math.log1p(5.0), 0.0])


@pytest.mark.parametrize(
    ("changes", "surer"),
    [
        ({"weight": 10.0, "days_active": 4}, True),
        ({"days_active": 1}, True),
        ({"keywords": 8}, True),
        ({"cohesion": 0.8}, True),
        ({"others": 200.0}, False),
        ({"first_seen": datetime(2025, 3, 1)}, False),
    ],
)
def test_what_makes_it_surer(changes: dict[str, Any], surer: bool):
    assert (confidence_of(**changes) > confidence_of()) == surer
    assert confidence_of(**changes) != confidence_of()


def test_bundled_weights_have_their_signs():
    model = bundled_model()
    assert set(model.weights) == set(TERMS)
    assert all(weight >= 0 if term in RISING else weight <= 0 for term, weight in model.weights.items())


def test_a_single_look_is_none_and_a_busy_fortnight_is_one():
    look = {"weight": 1.0, "events": 1, "keywords": 1, "cohesion": 1.0, "days_active": 1}
    fortnight = {"weight": 40.0, "events": 40, "keywords": 20, "cohesion": 0.55, "days_active": 10}
    assert confidence_of(**look) < 0.1
    assert confidence_of(**fortnight) > 0.9


@pytest.mark.parametrize("weight", [0.5, 2.0, 3.0])
def test_one_look_at_one_thing_is_as_little_however_much_its_title_says(weight: float):
    look = {"weight": weight, "events": 1, "keywords": 1, "cohesion": 1.0, "days_active": 1, "others": 6.0}
    wordy = confidence_of(**look | {"keywords": 4, "cohesion": 0.5})
    assert wordy == confidence_of(**look)
    assert wordy < confidence_of(**look | {"weight": 2 * weight, "events": 2, "keywords": 4, "cohesion": 0.6})


def test_keywords_that_nothing_can_read_are_not_held_against_a_journey():
    unread = {"weight": 20.0, "keywords": 8, "cohesion": 0.0}
    assert confidence_of(**unread) == confidence_of(**unread | {"cohesion": 0.6})
    alone = {"weight": 4.0, "keywords": 1, "cohesion": 0.0}
    assert confidence_of(**alone) == confidence_of(**alone | {"keywords": 3, "cohesion": 0.6})


def test_an_event_ahead_of_the_day_counts_as_of_the_day():
    ahead = confidence_of(first_seen=datetime(2025, 7, 3))
    assert ahead == confidence_of(first_seen=datetime(2025, 6, 30, 1))


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "user_id": st.sampled_from(["ann", "bob", "cyd"]),
            "weight": st.integers(1, 10**9).map(lambda millionths: millionths / 1e6),
            "keywords": st.integers(1, 400),
            "events": st.integers(1, 400),
            "cohesion": st.floats(-1, 1),
            "days_active": st.integers(1, 365),
            "first_seen": st.integers(-3, 365).map(lambda days: datetime(2025, 6, 30) - timedelta(days=days)),
        }
    ),
    min_size=1,
    max_size=30,
)


@settings(deadline=None)
@given(ROWS, st.randoms())
def test_a_user_gets_the_same_bits_in_any_order_and_without_the_others(rows: list[dict[str, Any]], random: Any):
    numbered = [row | {"journey_id": f"{number:02}"} for number, row in enumerate(rows)]
    together = with_confidence(journeys(*numbered), as_of=AS_OF).sort("journey_id")
    assert together["confidence"].is_between(0, 1).all()
    random.shuffle(numbered)
    users = sorted({row["user_id"] for row in numbered})
    alone = [
        with_confidence(journeys(*(row for row in numbered if row["user_id"] == user)), as_of=AS_OF) for user in users
    ]
    assert_frame_equal(pl.concat(alone).sort("journey_id"), together, check_exact=True)


def examples(rows: int = 400) -> pl.DataFrame:
    """Journeys of two keywords are pieces, of six true; of equally many each, one in eight says otherwise."""
    true = [number % 2 == 0 for number in range(rows)]
    return journeys(
        *({"user_id": f"{number // 4}", "keywords": 6 if is_true else 2} for number, is_true in enumerate(true))
    ).with_columns(
        as_of=pl.lit(AS_OF),
        is_journey=pl.Series([is_true != (number % 16 < 2) for number, is_true in enumerate(true)]),
        truth=pl.lit("sofa"),
    )


def test_a_fit_finds_the_shares_and_is_stored_as_it_is(tmp_path: Path):
    known = examples()
    model = fit_confidence(known)
    model.save(tmp_path / "model.json")
    assert ConfidenceModel.of(tmp_path / "model.json") == model
    stated = (
        with_confidence(known, as_of=AS_OF, model=model)
        .group_by("keywords")
        .agg(pl.col("confidence").mean(), pl.col("is_journey").mean())
    )
    assert stated["confidence"].to_list() == pytest.approx(stated["is_journey"].to_list(), abs=0.01)


def test_a_term_that_points_the_wrong_way_gets_no_weight():
    wrong = examples().with_columns(is_journey=~pl.col("is_journey"))
    assert fit_confidence(wrong).weights["keywords"] == 0.0


def test_what_each_limit_would_list():
    stated = pl.DataFrame(
        {
            "as_of": AS_OF,
            "user_id": ["ann", "ann", "ann", "bob"],
            "truth": ["x", "x", None, "y"],
            "is_journey": [True, False, False, True],
            "confidence": [0.9, 0.1, 0.3, 0.4],
        }
    )
    rows = {row.pop("from_confidence"): row for row in by_limit(stated).to_dicts()}
    assert rows[0.1] == {"journeys": 1.0, "pieces": 0.5, "noise": 0.5, "found": 1.0}
    assert rows[0.5] == {"journeys": 0.5, "pieces": 0.0, "noise": 0.0, "found": 0.5}
