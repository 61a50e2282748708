"""The loop of notifications in a simulated home: run, decide, export, react, feedback; nothing twice, nothing lost."""

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from conftest import EMBEDDER

from journeys_dagster.resources.home import Home
from journeys_dagster.settings import Settings
from lab.evaluation.home.feedback import simulate_feedback
from lab.evaluation.sending import POLICIES, Loop
from lab.simulation import simulate

WARM_UP, DAYS = 20, 5


@pytest.mark.slow
def test_each_send_is_met_once_and_caps_hold_over_the_days(tmp_path: Path):
    home = Home(tmp_path)
    made = simulate(home.landing, users=60, days=WARM_UP + DAYS, seed=3, truth=home.path / "truth")
    first = made.first_day + timedelta(days=WARM_UP)
    loop = Loop(home, Settings(), EMBEDDER, share=0.5)
    sends = loop.run(made.first_day, first=first, last=made.last_day, told=lambda _: None)
    assert set(sends["policy"]) == set(POLICIES)
    for policy in POLICIES:
        of_policy = sends.filter(policy=policy)
        assert of_policy.height > 20
        assert of_policy.select("user_id", "day").is_unique().all()
        assert of_policy.select("user_id", "journey_id").is_unique().all()
        assert of_policy["user_id"].value_counts()["count"].max() <= Settings().notifications.max_per_week  # type: ignore[operator]
    # What the home holds now is of the policy that came last.
    newest = sends.filter(policy=[*POLICIES][-1])
    warehouse = home.warehouse(Settings())
    log = warehouse.query("from notification_sends where day <= $last", {"last": made.last_day})
    assert log["send_id"].sort().equals(newest["send_id"].sort())
    told = warehouse.query("from notification_feedback where event = 'sent'")
    assert told["send_id"].drop_nulls().is_unique().all()
    late = newest.filter("is_late", pl.col("day") == made.last_day)
    assert told.height == newest.height - late.height
    folder = home.landing / "notification_feedback" / f"date={made.last_day}"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    simulate_feedback(home, Settings(), made.last_day)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
