"""A day's sends of a simulated home, met by its people: what they do with them lands as feedback and controls."""

import json
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from journeys_dagster.resources.home import Home
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import Settings
from journeys_dagster.sources.writer import SIMULATED_MARKER, write_day
from lab.benchmark import BenchmarkError
from lab.evaluation.corpora import event_truth
from lab.evaluation.home.reading import with_truth
from lab.evaluation.statistics import majority
from lab.simulation.intent import latent_intent
from lab.simulation.reactions import Reactions, react
from lab.simulation.truth import scan_truth

_REMEMBERED_DAYS = 28
_AROUND_HOURS = 2
_SENDS = """
    select send_id, user_id, journey_id, channel, day, utc_hour, keywords from notification_sends
    where day between $first and $day order by day, user_id, send_id
"""
_EVENTS = """
    select distinct user_id, source, action, coalesce(item_id, '') as item_id, occurred_at, share, keyword
    from keyword_events
    where user_id in (select unnest($users)) and known_from <= $as_of and known_until > $as_of
"""


@dataclass(frozen=True)
class DayOfFeedback:
    """What landed on a day.

    Attributes
    ----------
    reactions : Reactions
        To the sends of the day itself.
    """

    reactions: Reactions
    feedback: pl.DataFrame
    controls: pl.DataFrame


def simulate_feedback(home: Home, settings: Settings, day: date) -> DayOfFeedback:
    """Let simulated people react to the sends of a day, and land what they do.

    It lands on the day; a part of the feedback only on the next, when that is simulated. Done again it is the same.

    Raises
    ------
    BenchmarkError
        The landing zone is not simulated, or nothing has been exported.
    """
    marker, warehouse = home.landing / SIMULATED_MARKER, home.warehouse(settings)
    if not marker.exists():
        raise BenchmarkError(f"{home.landing} is not simulated, and real people react by themselves")
    if not warehouse.has_table("notification_sends"):
        raise BenchmarkError("nothing has been sent: run `journeys export-notifications` first")
    seed = int(json.loads(marker.read_text(encoding="utf-8"))["seed"])
    sends = _with_truth(home, warehouse, settings, day)
    of_day, of_day_before = (_reactions(home, sends, each, seed) for each in (day, day - timedelta(days=1)))
    feedback = pl.concat([of_day.feedback(late=False), of_day_before.feedback(late=True)])
    controls = of_day.controls()
    write_day(home.landing, source="notification_feedback", day=day, frame=feedback)
    write_day(home.landing, source="user_controls", day=day, frame=controls)
    return DayOfFeedback(of_day, feedback, controls)


def _with_truth(home: Home, warehouse: Warehouse, settings: Settings, day: date) -> pl.DataFrame:
    """Sends lately with the journey that they are truly about: what most of their keywords' events are of."""
    sends = warehouse.query(_SENDS, {"day": day, "first": day - timedelta(days=_REMEMBERED_DAYS)})
    users = sends["user_id"].unique().sort().to_list()
    true_events = (
        scan_truth(home.path / "truth", "events")
        .filter(pl.col("user_id").is_in(users))
        .with_columns(pl.col("occurred_at").dt.replace_time_zone(None))
        .collect()
    )
    events = with_truth(warehouse.query(_EVENTS, {"users": users, "as_of": day}), true_events)
    keywords = sends.select("send_id", "user_id", keyword="keywords").explode(
        "keyword", empty_as_null=True, keep_nulls=True
    )
    known = keywords.join(event_truth(events, settings), on=["user_id", "keyword"])
    return sends.join(majority(known, ["send_id"], pl.len()), on="send_id", how="left", maintain_order="left")


def _reactions(home: Home, sends: pl.DataFrame, day: date, seed: int) -> Reactions:
    of_day, before = sends.filter(pl.col("day") == day), sends.filter(pl.col("day") < day)
    folder, users = home.path / "truth", of_day["user_id"].unique().to_list()
    journeys = scan_truth(folder, "journeys").filter(pl.col("user_id").is_in(users)).collect()
    intents = latent_intent(journeys, day).rename({"journey": "truth"})
    hours = (
        scan_truth(folder, "events")
        .filter(pl.col("user_id").is_in(users))
        .group_by("user_id", utc_hour=pl.col("occurred_at").dt.hour().cast(pl.Int32))
        .agg(events=pl.len().cast(pl.Float64))
        .collect()
    )
    around = pl.concat(
        hours.with_columns(utc_hour=(pl.col("utc_hour") + shift) % 24)
        for shift in range(-_AROUND_HOURS, _AROUND_HOURS + 1)
    )
    active = around.group_by("user_id", "utc_hour").agg(pl.col("events").sum())
    active = active.with_columns(hour_share=pl.col("events") / pl.col("events").max().over("user_id")).drop("events")
    met = of_day.join(intents, on=["user_id", "truth"], how="left", maintain_order="left").join(
        active, on=["user_id", "utc_hour"], how="left", maintain_order="left"
    )
    return react(met.with_columns(pl.col("hour_share").fill_null(0.0)), before, day=day, seed=seed)
