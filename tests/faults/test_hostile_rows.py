"""Hostile rows through every source: the good ones are all in, the bad ones all put aside, and the counts add up."""

import resource
import time
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from conftest import Pipeline
from hostile_rows import MARK, Expected, write_hostile_source

from journeys_dagster.resources.home import Home
from journeys_dagster.settings import Settings
from journeys_dagster.sources.contracts import MAX_ROW_TEXT, declared_sources
from journeys_dagster.sources.reader import read_days
from journeys_dagster.sources.writer import day_folder

DAYS = [date(2025, 6, day) for day in (10, 11, 12)]
SETTINGS = Settings.model_validate({"landing": {"max_rejected_share": 1.0}})
# Rules over several columns are tested with the reader.
SOURCES = {name: source for name, source in declared_sources(SETTINGS).items() if not source.row_checks}


@pytest.mark.parametrize(
    ("rows", "megabytes", "seed"), [(400, 2, 2), pytest.param(100_000, 60, 3, marks=pytest.mark.slow)]
)
def test_good_rows_are_in_bad_rows_are_put_aside_and_counts_add_up(
    home: Home, figures: Callable[..., None], rows: int, megabytes: int, seed: int
) -> None:
    pipeline = Pipeline(home, SETTINGS)
    pipeline.draws_plots = True  # of hostile texts too
    expected = {
        name: write_hostile_source(
            home.landing, source, DAYS, rows=rows, bad_share=0.15, megabytes=megabytes, seed=seed
        )
        for name, source in SOURCES.items()
    }
    began = time.monotonic()
    pipeline.ingest_in_dagster(DAYS[-1])
    seconds = time.monotonic() - began
    for name in SOURCES:
        assert_as_expected(pipeline, name, expected[name])
    assert_nothing_was_executed(pipeline, home)

    began = time.monotonic()
    pipeline.run_in_dagster(DAYS[-1], "all_users")
    keywords = pipeline.table("keywords")
    assert set(pipeline.table("rankings")["user_id"]) == set(keywords["user_id"])
    # Whoever has a journey that may be listed has a list.
    assert set(pipeline.table("user_journeys")["user_id"]) == set(
        pipeline.table("safety", "outcome <> 'block'")["user_id"]
    )
    assert_no_text_is_told(pipeline)
    days = pipeline.table("landed_days")
    figures(
        **{column: int(days[column].sum()) for column in days.columns if column.startswith("rows_")},
        seconds_of_intake=seconds,
        rows_per_second=int(int(days["rows_read"].sum()) / seconds),
        megabyte_of_landing_files=sum(path.stat().st_size for path in home.landing.rglob("*")) / 1e6,
        reasons=pipeline.table("rejected_rows")["reason"].n_unique(),
        users=keywords["user_id"].n_unique(),
        distinct_keywords=keywords["keyword"].n_unique(),
        journeys=pipeline.table("rankings").height,
        seconds_of_inference=time.monotonic() - began,
        peak_gigabyte_of_the_process=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    )


def assert_as_expected(pipeline: Pipeline, source: str, expected: Expected) -> None:
    """Every row that was written is where it belongs, once."""
    columns = list(SOURCES[source].fields)
    table, rejected = pipeline.table(source), pipeline.table("rejected_rows", f"source = '{source}'")
    landed = {row["arrival_day"]: row for row in pipeline.table("landed_days", f"source = '{source}'").to_dicts()}
    found_bad = Counter(rejected.select("arrival_day", "file", "row_number", "reason").rows())
    assert found_bad == Counter(tuple(bad) for bad in expected.bad)
    for day in DAYS:
        good = expected.good.get(day, [])
        distinct = {freeze(row) for row in good}
        found = [freeze(row) for row in table.filter(pl.col("arrival_day") == day).select(columns).rows()]
        assert Counter(found) == Counter(distinct)
        bad = sum(row.day == day for row in expected.bad)
        counts = ("rows_read", "rows_accepted", "rows_duplicate", "rows_rejected", "rows_over_cap", "unreadable_files")
        assert tuple(landed[day][count] for count in counts) == (
            *(len(good) + bad, len(distinct), len(good) - len(distinct), bad),
            *(0, 0),
        )
    assert rejected["row"].null_count() == 0
    assert rejected["row"].str.len_chars().max() <= MAX_ROW_TEXT + 40  # type: ignore[operator]


def freeze(row: tuple[object, ...]) -> tuple[object, ...]:
    return tuple(tuple(value) if isinstance(value, list) else value for value in row)


def assert_nothing_was_executed(pipeline: Pipeline, home: Home) -> None:
    tables = set(pipeline.warehouse.query("select table_name from information_schema.tables")["table_name"])
    assert tables == {*SOURCES, "rejected_rows", "landed_days", "table_version"}
    assert not list(home.path.rglob("*hacked*"))
    assert not list(Path().glob("*hacked*"))


def assert_no_text_is_told(pipeline: Pipeline) -> None:
    """Reasons and log messages hold no text of a user; the rows themselves are in the tables only."""
    assert not [reason for reason in pipeline.table("rejected_rows")["reason"].unique() if MARK in reason]
    runs = pipeline.instance.get_runs()
    messages = [entry.user_message for run in runs for entry in pipeline.instance.all_logs(run.run_id)]
    assert len(messages) > 100
    assert not [message for message in messages if MARK in message]


@pytest.mark.parametrize("suffix", ["parquet", "csv", "ndjson"])
@pytest.mark.parametrize("megabytes", [20, pytest.param(400, marks=pytest.mark.slow)])
def test_what_is_kept_of_megabytes_is_short(
    tmp_path: Path, figures: Callable[..., None], suffix: str, megabytes: int
) -> None:
    """The memory that rows of a megabyte take is that of their file, not that of everything that was ever rejected."""
    folder = day_folder(tmp_path, source="searches", day=DAYS[0])
    folder.mkdir(parents=True)
    frame = pl.DataFrame(
        {"user_id": [f"u{row}" for row in range(megabytes)], "query": "x" * 1_000_000, "occurred_at": "2025-06-10"}
    )
    for number in range(4):
        path = folder / f"{number}.{suffix}"
        {"parquet": frame.write_parquet, "csv": frame.write_csv, "ndjson": frame.write_ndjson}[suffix](path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    landed = read_days(SOURCES["searches"], {DAYS[0]: folder}, SETTINGS.landing)
    assert landed.rejected.height == 4 * megabytes
    assert landed.rejected.estimated_size() < 4 * megabytes * (MAX_ROW_TEXT + 500)
    growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    figures(rows_of_a_megabyte=4 * megabytes, growth_of_peak_memory_gigabyte=growth / 1e6)
