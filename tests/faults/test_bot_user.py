"""A bot with a million events in a day: it costs what a user at the cap costs, and the others do not notice."""

import os
import shutil
import sys
import time
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from conftest import Pipeline

from journeys_dagster.orchestration.runs import infer
from journeys_dagster.resources.home import Home
from journeys_dagster.settings import Settings
from journeys_dagster.sources.writer import day_folder

BOT = "a bot"
SNAPSHOTS = ("keywords", "clusters", "journey_identities", "journey_engagement", "rankings", "diversified_journeys")
SQL_MARTS = ("names", "user_journeys")
# What the population does decides what is usual, and with it the phase; a bot at its cap is part of the population.
OF_THE_POPULATION = "phase"


def bot_events(events: int, items: list[str], day: date, *, one_moment: bool) -> dict[str, pl.DataFrame]:
    """Half searches of one text each, half actions; spread over the day, or all at its beginning."""
    half = events // 2
    number = pl.int_range(half, eager=True)
    seconds = number * 0 if one_moment else number * 86_399 // half
    begin = pl.lit(datetime(day.year, day.month, day.day))
    frame = pl.DataFrame({"number": number, "seconds": seconds}).select(
        "number", user_id=pl.lit(BOT), occurred_at=begin + pl.duration(seconds="seconds")
    )
    engaged = pl.Series("item_id", items).gather(number % len(items))
    return {
        "searches": frame.select("user_id", query=pl.format("cheap sofa {}", "number"), occurred_at="occurred_at"),
        "engagements": frame.select(
            "user_id",
            item_id=engaged,
            # Each action but the last few is another row, as items are few.
            action=pl.lit("save"),
            occurred_at=pl.col("occurred_at") + pl.duration(microseconds="number"),
        ),
    }


def newest(frame: pl.DataFrame, cap: int) -> pl.DataFrame:
    """The rows that a user at the cap would have brought, by hand."""
    others = [column for column in frame.columns if column not in ("user_id", "occurred_at")]
    return frame.sort("occurred_at", *others, descending=[True, *[False] * len(others)]).head(cap)


class Day:
    """A copy of the world on whose last day the bot may come by; what the day costs and gives."""

    def __init__(self, world: Path, path: Path, day: date, cap: int, bot: dict[str, pl.DataFrame]) -> None:
        shutil.copytree(world, path)
        for source, frame in bot.items():
            frame.write_parquet(day_folder(path / "landing", source=source, day=day) / "bot.parquet")
        settings = Settings.model_validate({"landing": {"max_rows_per_user_per_day": cap}})
        self.day, self.pipeline = day, Pipeline(Home(path), settings)
        began = time.monotonic()
        self.pipeline.ingest(day)
        self.seconds_of_intake = time.monotonic() - began
        infer(self.pipeline.defs, self.pipeline.instance, as_of=day, scope="active_users")
        self.seconds = time.monotonic() - began

    def rows(self, table: str, *, others_only: bool) -> pl.DataFrame:
        """The day's snapshot."""
        where = f"as_of = '{self.day}'" + (f" and user_id <> '{BOT}'" if others_only else "")
        return self.pipeline.table(table, where)

    def over_cap(self) -> int:
        """Rows that were left out."""
        return int(self.pipeline.table("landed_days")["rows_over_cap"].sum())


@pytest.mark.parametrize(
    ("events", "cap", "one_moment"),
    [
        pytest.param(2_000, 50, True, marks=pytest.mark.slow),
        pytest.param(1_000_000, 10_000, False, marks=pytest.mark.slow),
        pytest.param(1_000_000, 10_000, True, marks=pytest.mark.slow),
    ],
)
def test_a_bot_costs_its_cap_and_changes_nothing_for_the_others(  # noqa: PLR0917 - fixtures and parameters
    world_home: Path,
    world_days: list[date],
    tmp_path: Path,
    figures: Callable[..., None],
    events: int,
    cap: int,
    one_moment: bool,
) -> None:
    day = world_days[-1]
    landed = pl.read_parquet(world_home / "landing" / "items" / "*" / "*.parquet")
    items = landed["item_id"].unique().sort().to_list()
    bot = bot_events(events, items, day, one_moment=one_moment)
    capped = {source: newest(frame, cap) for source, frame in bot.items()}
    without = Day(world_home, tmp_path / "without", day, cap, {})
    at_cap = Day(world_home, tmp_path / "at the cap", day, cap, capped)
    with_bot = Day(world_home, tmp_path / "bot", day, cap, bot)

    assert with_bot.over_cap() == events - 2 * cap
    assert at_cap.over_cap() == 0
    for table in (*SNAPSHOTS, *SQL_MARTS, "stages", "journey_features"):
        assert with_bot.rows(table, others_only=False).equals(at_cap.rows(table, others_only=False)), table
    for table in (*SNAPSHOTS, *SQL_MARTS):
        columns = pl.exclude(OF_THE_POPULATION)
        others, alone = (home.rows(table, others_only=True) for home in (with_bot, without))
        assert others.select(columns).equals(alone.select(columns)), table
    phases = [home.rows("user_journeys", others_only=True)[OF_THE_POPULATION] for home in (with_bot, without)]
    figures(
        events=events,
        seconds_of_intake={
            "without": without.seconds_of_intake,
            "at cap": at_cap.seconds_of_intake,
            "bot": with_bot.seconds_of_intake,
        },
        seconds_of_the_day={"without": without.seconds, "at cap": at_cap.seconds, "bot": with_bot.seconds},
        journeys_of_others_with_another_phase=f"{(phases[0] != phases[1]).sum()} of {len(phases[0])}",
    )


def test_the_bot_is_told(world_home: Path, world_days: list[date], tmp_path: Path) -> None:
    day, cap = world_days[-1], 30
    bot = bot_events(200, ["an item"], day, one_moment=False)
    shutil.copytree(world_home, tmp_path / "home")
    bot["searches"].write_csv(
        day_folder(tmp_path / "home" / "landing", source="searches", day=day) / "bot.csv",
        datetime_format="%Y-%m-%dT%H:%M:%S",
    )
    settings = Settings.model_validate({"landing": {"max_rows_per_user_per_day": cap}})
    pipeline = Pipeline(Home(tmp_path / "home"), settings)
    result = pipeline.materialize("searches", days=(day - timedelta(days=1), day))
    assert result.success
    (check,) = [check for check in result.get_asset_check_evaluations() if check.check_name == "rows_over_cap"]
    assert not check.passed
    assert not check.blocking
    assert check.severity.value == "WARN"
    assert "70 rows of 1 users left out, who had more than 30 in a day" in str(check.description)
    metadata = result.asset_materializations_for_node("searches")[0].metadata
    assert metadata["rows_over_cap"].value == 70
    assert metadata["users_over_cap"].value == 1
    assert f"| {day} | {BOT} | 70 |" in str(metadata["rows_over_cap_by_user"].value)
    assert pipeline.table("rejected_rows").is_empty()


@pytest.mark.slow
@pytest.mark.parametrize("who", ["without", "at cap", "bot"])
def test_the_memory_of_a_day_with_a_bot(
    world_home: Path, world_days: list[date], tmp_path: Path, figures: Callable[..., None], who: str
) -> None:
    day, cap = world_days[-1], 10_000
    shutil.copytree(world_home, tmp_path / "home")
    bot = bot_events(1_000_000, [f"item {number}" for number in range(500)], day, one_moment=False)
    for source, frame in bot.items():
        path = day_folder(tmp_path / "home" / "landing", source=source, day=day) / "bot.parquet"
        if who != "without":
            (frame if who == "bot" else newest(frame, cap)).write_parquet(path)
    command = "from journeys_dagster.cli import main; main()"
    began = time.monotonic()
    process = os.posix_spawn(
        sys.executable,
        [sys.executable, "-c", command, "run", "--date", day.isoformat()],
        {**os.environ, "JOURNEYS_HOME": str(tmp_path / "home"), "PYTHONWARNINGS": "ignore"},
    )
    _, status, usage = os.wait4(process, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    figures(seconds=time.monotonic() - began, peak_memory_gigabyte=usage.ru_maxrss / 1e6)
