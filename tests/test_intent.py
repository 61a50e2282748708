"""The latent intent of simulated people, and what they do with notifications."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from scipy.stats import beta

from journeys_dagster.settings import Settings
from journeys_dagster.sources.contracts import declared_sources
from lab.evaluation.statistics import annotator_agreement
from lab.simulation.grades import draw_human_labels
from lab.simulation.intent import draw_notification_feedback, latent_intent
from lab.simulation.world import build_world

DAY = date(2025, 6, 30)


def intent(starts: date, ends: date | None, pace: float = 0.2) -> float:
    journeys = pl.DataFrame(
        {"user_id": "u", "journey": "j", "starts": [starts], "ends": [ends], "pace": [pace]},
        schema_overrides={"ends": pl.Date},
    )
    return latent_intent(journeys, DAY)["intent"][0]


def test_a_situational_journey_is_busiest_in_its_first_half_and_still_before_and_after() -> None:
    assert intent(DAY - timedelta(days=9), DAY + timedelta(days=10)) == pytest.approx(
        0.2 * beta.pdf(9.5 / 20, 1.2, 1.5)
    )
    assert intent(DAY + timedelta(days=1), DAY + timedelta(days=20)) == 0
    assert intent(DAY - timedelta(days=20), DAY - timedelta(days=1)) == 0
    assert intent(DAY - timedelta(days=30), DAY + timedelta(days=70)) > intent(
        DAY - timedelta(days=90), DAY + timedelta(days=10)
    )


def test_an_evergreen_journey_keeps_its_pace_once_it_has_started() -> None:
    assert intent(DAY - timedelta(days=300), None) == 0.2
    assert intent(DAY + timedelta(days=1), None) == 0


def test_paces_are_those_of_the_sessions_people_sit_down_for() -> None:
    """Of journeys that lie within the window, the expected sittings are those that events show, in the mean."""
    world = build_world(users=500, days=90, seed=3)
    within = world.journeys.filter(
        pl.col("starts") >= world.first_day, pl.col("ends") <= world.last_day, pl.col("lifecycle") == "situational"
    )
    sittings = (
        world.searches.select("user_id", "journey", "occurred_at")
        .vstack(world.engagements.select("user_id", "journey", "occurred_at"))
        .join(within, on=["user_id", "journey"])
        .sort("occurred_at")
        .group_by("user_id", "journey", "pace", "starts", "ends")
        .agg(sittings=(pl.col("occurred_at").diff() > pl.duration(minutes=25)).sum() + 1)
    )
    days = (sittings["ends"] - sittings["starts"]).dt.total_days() + 1
    assert sittings["sittings"].sum() == pytest.approx((sittings["pace"] * days).sum(), rel=0.1)


def notified(n: int, intent: float, *, position: int = 1, sent_lately: int = 0) -> pl.DataFrame:
    return pl.DataFrame(
        {"user_id": "u", "journey_id": "j", "intent": [intent] * n, "position": position, "sent_lately": sent_lately}
    )


def drawn(rows: pl.DataFrame) -> dict[str, int]:
    feedback = draw_notification_feedback(np.random.default_rng(0), rows, day=DAY)
    source = declared_sources(Settings())["notification_feedback"]
    needed = {name for name, field in source.fields.items() if not field.is_optional}
    assert {*feedback.columns} == {*needed, "arrival_day"}
    assert {*feedback["event"]} <= {*(source.fields["event"].one_of or ())}
    return dict(feedback.group_by("event").len().iter_rows())


def test_the_more_intent_the_more_clicks_and_rows_keep_the_contract() -> None:
    eager, idle = drawn(notified(2000, 2.0)), drawn(notified(2000, 0.0))
    assert eager["sent"] == idle["sent"] == 2000 > eager["opened"] > eager["clicked"]
    assert idle["clicked"] < 0.2 * eager["clicked"]


def test_later_places_and_many_notifications_are_opened_less() -> None:
    first = drawn(notified(2000, 2.0))["opened"]
    assert drawn(notified(2000, 2.0, position=3))["opened"] < 0.8 * first
    assert drawn(notified(2000, 2.0, sent_lately=10))["opened"] < 0.8 * first


def test_annotators_agree_in_part_and_know_what_matters() -> None:
    shown = pl.DataFrame({"user_id": "u", "journey_id": [f"j{n}" for n in range(2000)], "intent": [0.0, 0.3] * 1000})
    labels = draw_human_labels(np.random.default_rng(0), shown, day=DAY)
    assert {*labels.columns} == {*declared_sources(Settings())["human_labels"].fields, "arrival_day"}
    assert labels["grade"].is_between(1, 5).all()
    assert labels.height == 4000
    assert labels.unique(["journey_id", "annotator"]).height == 4000
    means = labels.join(shown, on="journey_id").group_by("intent").agg(pl.col("grade").mean()).sort("intent")
    assert means["grade"][1] - means["grade"][0] > 2
    found = annotator_agreement(labels)
    assert found.graded == 2000
    assert 0.6 < found.kappa < 0.95
    assert found.alpha == pytest.approx(found.kappa, abs=0.1)


def test_alpha_is_that_of_the_textbook() -> None:
    """Krippendorff's own example of four coders and twelve units, interval data: 0.849."""
    missing = None
    coders = {
        "a": [1, 2, 3, 3, 2, 1, 4, 1, 2, missing, missing, missing],
        "b": [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, missing, 3],
        "c": [missing, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, missing],
        "d": [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, missing],
    }
    rows = [
        {"user_id": "u", "journey_id": str(unit), "arrival_day": DAY, "annotator": coder, "grade": grade}
        for coder, grades in coders.items()
        for unit, grade in enumerate(grades)
        if grade is not missing
    ]
    assert annotator_agreement(pl.DataFrame(rows)).alpha == pytest.approx(0.849, abs=0.001)


def test_nobody_agrees_on_what_only_one_has_graded() -> None:
    shown = pl.DataFrame({"user_id": "u", "journey_id": ["j"], "intent": [0.1]})
    alone = draw_human_labels(np.random.default_rng(0), shown, day=DAY)[:1]
    assert annotator_agreement(alone).graded == 0
