"""The latent intent of simulated people, and what they do with notifications."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from scipy.stats import beta

from journeys_dagster.simulation.intent import draw_notification_feedback, latent_intent
from journeys_dagster.simulation.world import build_world
from journeys_dagster.sources.contracts import declared_sources

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


def test_the_more_intent_the_more_clicks_and_rows_keep_the_contract() -> None:
    notified = pl.DataFrame({"user_id": "u", "journey_id": "j", "intent": [0.0] * 2000 + [2.0] * 2000})
    drawn = draw_notification_feedback(np.random.default_rng(0), notified.with_row_index("row").drop("row"), day=DAY)
    counts = dict(drawn.group_by("event").len().iter_rows())
    assert counts["sent"] == 4000 > counts["opened"] > counts["clicked"]
    few = draw_notification_feedback(np.random.default_rng(0), notified.head(2000), day=DAY)
    assert few.filter(event="clicked").height < 0.2 * counts["clicked"]
    source = declared_sources(("save",))["notification_feedback"]
    assert {*drawn.columns} == {*source.fields, "arrival_day"}
    assert {*drawn["event"]} <= {*(source.fields["event"].one_of or ())}
