"""The quality watch on planted faults and on ordinary days: what is caught by which check, and false alarms.

Limits were chosen on Online Retail until August 2011 and on a world of seed 5; what is reported here is September 2011
to 9 November 2011, 60 days with sales, and the last 60 days of a world of seed 7.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from conftest import EMBEDDER, Pipeline
from planted import EVENT_FAULTS, SNAPSHOT_FAULTS, SNAPSHOT_TABLES, TEXT_FAULTS, FeedFault

from assets.quality_metrics import watch_days
from assets.sources import write_landed
from journeys_dagster.monitoring.measures import measure_landing, measure_snapshots
from journeys_dagster.monitoring.metrics import LANDING
from journeys_dagster.monitoring.watch import check_days
from journeys_dagster.resources.home import Home
from journeys_dagster.sources.contracts import Source, declared_sources
from journeys_dagster.sources.reader import read_days
from journeys_dagster.sources.writer import write_day
from lab.importers import import_online_retail
from lab.simulation import simulate

RETAIL_DAYS = (date(2011, 9, 1), date(2011, 11, 9))
WORLD_LAST_DAY = date(2025, 6, 30)


@dataclass(frozen=True, kw_only=True)
class WorldSize:
    """A simulated world, how many of its last days are watched, and on how many of them each fault is planted."""

    users: int
    days: int
    watched: int
    planted: int


FULL_SIZE = WorldSize(users=400, days=160, watched=60, planted=12)
Caught = dict[str, list[list[str]]]
"""By fault: for each day it was planted on, the checks that raised an alarm."""


class WatchedHome:
    """A home whose days have been watched, for planting a fault into one of them at a time."""

    def __init__(self, pipeline: Pipeline, first: date, last: date) -> None:
        self.pipeline, self.warehouse = pipeline, pipeline.warehouse
        self.settings = pipeline.settings
        self.sources = declared_sources(self.settings)
        self.days = [first + timedelta(days=step) for step in range((last - first).days + 1)]
        watch_days(self.warehouse, self.settings, self.days, model_revision=EMBEDDER.revision)

    @property
    def metrics(self) -> pl.DataFrame:
        """What was measured on the watched days."""
        return self.warehouse.query("from quality_metrics").filter(pl.col("as_of").is_in(self.days))

    def landed_days(self, source: str) -> list[date]:
        return self.pipeline.table("landed_days", f"source = '{source}'")["arrival_day"].to_list()

    def alarms_of_landing(
        self, fault: FeedFault, source: Source, day: date, generator: np.random.Generator
    ) -> list[str]:
        """Checks that raise an alarm on a source when a fault is planted into its day."""
        zone = self.pipeline.home.landing_zone()
        landed = self.landed_days(source.name)
        before = landed[landed.index(day) - 1]
        rows, rows_before = (pl.read_parquet(zone.folder(source.name, one) / "*.parquet") for one in (day, before))
        faulty = fault(rows, rows_before, generator)
        of_day = f"arrival_day = '{day}'"
        kept = {source.name: self.pipeline.table(source.name, of_day)} | {
            table: self.pipeline.table(table, f"{of_day} and source = '{source.name}'")
            for table in ("landed_days", "rejected_rows")
        }
        self._empty(source, day, kept)
        if faulty is not None:
            folder = write_day(self.pipeline.home.path / "faulty", source=source.name, day=day, frame=faulty)
            read = read_days(source, {day: folder}, self.settings.landing)
            write_landed(self.warehouse, source, read, [day])
        known_from = day - timedelta(days=self.settings.quality.trailing_days)
        with self.warehouse.read() as connection:
            measured = measure_landing(connection, self.sources, [day], known_from=known_from)
        self._empty(source, day, kept)
        self._insert(kept)
        return self._alarms(measured.filter(slice=source.name), day)

    def alarms_of_snapshot(self, statements: Sequence[str], day: date) -> list[str]:
        """Checks that raise an alarm on a day's snapshot when tables are changed."""
        # Vectors are of no day; there are few of them here.
        of_day = dict.fromkeys(SNAPSHOT_TABLES, f"where as_of = '{day}'") | {"keyword_embeddings": ""}
        with self.warehouse.write() as connection:
            for table, where in of_day.items():
                connection.execute(f"create or replace table kept_{table} as from {table} {where}")
            for statement in statements:
                connection.execute(statement, {"day": day} if "$day" in statement else None)
        with self.warehouse.read() as connection:
            measured = measure_snapshots(connection, [day], model_revision=EMBEDDER.revision)
        with self.warehouse.write() as connection:
            for table, where in of_day.items():
                connection.execute(f"delete from {table} {where}")
                connection.execute(f"insert into {table} from kept_{table}")
        return self._alarms(measured, day)

    def _alarms(self, measured: pl.DataFrame, day: date) -> list[str]:
        first = day - timedelta(days=self.settings.quality.trailing_days)
        history = self.warehouse.query("from quality_metrics where as_of between $first and $last", {
            "first": first, "last": day - timedelta(days=1)
        })  # fmt: skip
        return check_days(measured, history, self.settings.quality).filter("alarm")["metric"].to_list()

    def _empty(self, source: Source, day: date, kept: dict[str, pl.DataFrame]) -> None:
        with self.warehouse.write() as connection:
            for table in kept:
                only = "" if table == source.name else f" and source = '{source.name}'"
                connection.execute(f"delete from {table} where arrival_day = $day{only}", {"day": day})

    def _insert(self, kept: dict[str, pl.DataFrame]) -> None:
        with self.warehouse.write() as connection:
            for table, rows in kept.items():
                if not rows.is_empty():
                    connection.register("kept_rows", rows)
                    connection.execute(f"insert into {table} by name from kept_rows")


def plant_into_landing(home: WatchedHome, source: str, *, days: int, seed: int = 0) -> Caught:
    """Plant every fault of a source into some of the watched days."""
    generator = np.random.default_rng(seed)
    landed = [day for day in home.landed_days(source) if day in home.days]
    chosen = sorted(generator.choice(len(landed), min(days, len(landed)), replace=False))
    has_times = "occurred_at" in home.sources[source].fields
    faults = {**(EVENT_FAULTS if has_times else {}), **(TEXT_FAULTS if home.sources[source].prose else {})}
    return {
        name: [home.alarms_of_landing(fault, home.sources[source], landed[index], generator) for index in chosen]
        for name, fault in faults.items()
    }


def report(figures: Callable[..., None], caught: Caught, what: str) -> None:
    """Record caught / planted by fault, and the checks that caught it, most often first."""
    for fault, alarms in caught.items():
        checks = Counter(check for found in alarms for check in found)
        by = ", ".join(f"{check} {count}" for check, count in checks.most_common(3)) or "-"
        figures(**{f"{what}, {fault}": f"{sum(map(bool, alarms))}/{len(alarms)} by {by}"})


def report_false_alarms(figures: Callable[..., None], home: WatchedHome) -> pl.DataFrame:
    """Record the alarms of ordinary days by check."""
    metrics = home.metrics
    alarms = metrics.filter("alarm")
    days = metrics.filter(pl.col("scope") == LANDING, pl.col("value") > 0)["as_of"].n_unique()
    figures(**{"days with data": days, "days checked by check and slice": int(metrics["expected"].count())})
    for metric, count in alarms["metric"].value_counts(sort=True).iter_rows():
        figures(**{f"false alarms, {metric}": count})
    figures(**{"false alarms": alarms.height})
    return alarms


def share_caught(caught: Caught, *faults: str) -> float:
    found = [bool(alarms) for fault in faults for alarms in caught[fault]]
    return sum(found) / len(found)


@pytest.mark.slow
@pytest.mark.parametrize("size", [WorldSize(users=60, days=36, watched=4, planted=1), FULL_SIZE], ids=["small", "full"])
def test_faults_planted_into_a_simulated_world_are_caught(
    tmp_path: Path, figures: Callable[..., None], size: WorldSize
) -> None:
    pipeline = Pipeline(Home(tmp_path / "home"))
    simulate(pipeline.home.landing, users=size.users, days=size.days, seed=7, last_day=WORLD_LAST_DAY)
    pipeline.ingest(WORLD_LAST_DAY)
    home = WatchedHome(pipeline, WORLD_LAST_DAY - timedelta(days=size.watched - 1), WORLD_LAST_DAY)
    alarms = report_false_alarms(figures, home)
    assert len(alarms) <= 1 + size.watched / 20
    for source in ("searches", "engagements"):
        caught = plant_into_landing(home, source, days=size.planted)
        report(figures, caught, source)
        assert share_caught(caught, "source silent, no folder", "source silent, empty folder") == 1
        assert share_caught(caught, "file delivered twice", "yesterday in place of today") == 1
        assert share_caught(caught, "clock a day behind", "all rows under one user") == 1
        if home.sources[source].prose:
            assert share_caught(caught, "random letters", "letters read as ?", "wrong character set") == 1
    after = home.metrics
    watch_days(pipeline.warehouse, pipeline.settings, home.days, model_revision=EMBEDDER.revision)
    assert home.metrics.sort(pl.all()).equals(after.sort(pl.all()))


@pytest.mark.slow
def test_faults_planted_into_ordinary_days_of_online_retail_are_caught(
    tmp_path: Path, data_path: Path, figures: Callable[..., None]
) -> None:
    pipeline = Pipeline(Home(tmp_path / "home"))
    import_online_retail(data_path / "online-retail" / "online_retail.parquet", pipeline.home.landing)
    pipeline.ingest(RETAIL_DAYS[1])
    home = WatchedHome(pipeline, *RETAIL_DAYS)
    alarms = report_false_alarms(figures, home)
    assert len(alarms) <= 3
    for source in ("engagements", "items"):
        caught = plant_into_landing(home, source, days=12)
        report(figures, caught, source)
        if source == "engagements":
            assert share_caught(caught, "morning missing", "afternoon missing") >= 0.8
            assert share_caught(caught, "clock +5 h", "clock -5 h", "clock a day behind") >= 0.9
            assert share_caught(caught, "source silent, no folder", "source silent, empty folder") == 1
            assert share_caught(caught, "file delivered twice", "yesterday delivered again") == 1


@pytest.mark.slow
def test_faults_planted_into_snapshots_of_online_retail_are_caught(
    tmp_path: Path, data_path: Path, figures: Callable[..., None]
) -> None:
    pipeline = Pipeline(Home(tmp_path / "home"))
    import_online_retail(data_path / "online-retail" / "online_retail.parquet", pipeline.home.landing)
    pipeline.ingest(RETAIL_DAYS[1])
    first = RETAIL_DAYS[0] - timedelta(days=pipeline.settings.quality.trailing_days)
    assert pipeline.materialize(days=(first, RETAIL_DAYS[1])).success
    home = WatchedHome(pipeline, *RETAIL_DAYS)
    alarms = report_false_alarms(figures, home)
    assert len(alarms) <= 4
    inferred = sorted(home.metrics.filter(pl.col("scope") != LANDING)["as_of"].unique())
    chosen = sorted(np.random.default_rng(0).choice(len(inferred), 8, replace=False))
    caught = {
        name: [home.alarms_of_snapshot(statements, inferred[index]) for index in chosen]
        for name, statements in SNAPSHOT_FAULTS.items()
    }
    report(figures, caught, "snapshot")
    assert all(share_caught(caught, fault) >= 0.75 for fault in caught)
