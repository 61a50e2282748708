"""How long a tick of the landing sensor takes on a landing zone of many days."""

import time
from collections.abc import Callable
from datetime import date, timedelta

import polars as pl
import pytest

from journeys_dagster.orchestration.runs import missing_days
from journeys_dagster.resources.home import Home
from journeys_dagster.settings import Settings
from journeys_dagster.sources.contracts import LANDED_DAYS
from journeys_dagster.sources.files import fingerprint, landing_files

SOURCES = ("searches", "engagements", "items", "board_items")
FIRST = date(2015, 1, 1)


@pytest.mark.parametrize("days", [100, pytest.param(3_000, marks=pytest.mark.slow)])
def test_thousands_of_days_do_not_slow_the_tick(home: Home, days: int, figures: Callable[..., None]) -> None:
    records = []
    for source in SOURCES:
        for number in range(days):
            day = FIRST + timedelta(days=number)
            folder = home.landing_zone().folder(source, day)
            folder.mkdir(parents=True)
            (folder / "part-0.parquet").write_bytes(b"x")
            (folder / "_SUCCESS").touch()
            mark = fingerprint(landing_files(folder))
            records.append({"source": source, "arrival_day": day, "fingerprint": mark, "files": 1})
    counts = [name for name in LANDED_DAYS.columns if name not in records[0]]
    frame = pl.DataFrame(records).with_columns(pl.lit(0).alias(name) for name in counts)
    warehouse = home.warehouse(Settings())
    warehouse.replace_days([(LANDED_DAYS, frame, {})], [FIRST])
    (home.landing_zone().folder("items", FIRST) / "late.parquet").write_bytes(b"x")

    seconds, processor_seconds = [], []
    for _ in range(5):
        began, computed = time.perf_counter(), time.process_time()
        missing = missing_days(warehouse, home.landing_zone(), SOURCES, up_to=date.max, max_rejected_share=0.05)
        seconds.append(time.perf_counter() - began)
        processor_seconds.append(time.process_time() - computed)
        assert list(missing.fingerprints) == [FIRST]
    figures(
        folders=len(records),
        median_seconds=sorted(seconds)[2],
        longest_seconds=max(seconds),
        median_processor_seconds=sorted(processor_seconds)[2],
    )
