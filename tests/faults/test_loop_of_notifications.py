"""The loop of notifications in a simulated home: run, decide, export, react, feedback; nothing twice, nothing lost."""

from pathlib import Path

import polars as pl
import pytest
from conftest import EMBEDDER

from journeys_dagster.resources.home import Home
from journeys_dagster.settings import Settings
from lab.evaluation.home.feedback import simulate_feedback
from lab.evaluation.sending import Loop
from lab.simulation import simulate


@pytest.mark.slow
def test_each_send_is_met_once_and_caps_hold_over_the_days(tmp_path: Path):
    home = Home(tmp_path)
    made = simulate(home.landing, users=60, days=26, seed=3, truth=home.path / "truth")
    loop = Loop(home, Settings(), EMBEDDER, share=0.6)
    sends = loop.run(made.first_day, warm_up=20, days=26, progress=lambda _: None)
    assert sends.height > 20
    assert set(sends["policy"]) == {"trained", "rule", "interest only"}
    warehouse = home.warehouse(Settings())
    log = warehouse.query("from notification_sends order by day, send_id")
    assert log["send_id"].n_unique() == log.height
    assert sends["send_id"].sort().equals(log.filter(pl.col("day") <= made.last_day)["send_id"].sort())
    # On its day, or late, on the next.
    landed = warehouse.query("select * from notification_feedback where event = 'sent' and send_id is not null")
    assert landed["send_id"].is_unique().all()
    assert set(landed["send_id"]) <= set(sends["send_id"])
    told = warehouse.query("select count(*) from notification_feedback where event = 'sent'").item()
    last = sends.filter(pl.col("day") == made.last_day)
    assert told == sends.height - int(last["is_late"].sum())
    by_week = sends.group_by("user_id").agg(pl.col("day"), pl.len())
    assert by_week["len"].max() <= Settings().notifications.max_per_week  # type: ignore[operator]
    assert sends.select("user_id", "day").is_unique().all()
    assert sends.select("user_id", "journey_id").is_unique().all()
    folder = home.landing / "notification_feedback" / f"date={made.last_day}"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    simulate_feedback(home, Settings(), made.last_day)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
