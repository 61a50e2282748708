"""`infer_journeys`: the same journeys as a full run finds, of tables in memory, with what is left out told."""

import doctest
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from conftest import EMBEDDER, WORLD_LAST_DAY, Pipeline
from polars.testing import assert_frame_equal

import journeys_dagster
from journeys_dagster import infer_journeys, notebook
from journeys_dagster.resources.home import Home
from journeys_dagster.settings import Settings, SettingsError
from journeys_dagster.sources.tables_in_memory import TableError
from journeys_dagster.sources.writer import write_days

DAY = date(2025, 3, 9)
SEARCHES = pl.DataFrame(
    {
        "user_id": ["eve", "eve", "eve", "bo", "bo"],
        "query": ["raised bed plans", "raised garden bed", "cedar planks", "kayak rental", "sea kayak"],
        "occurred_at": [datetime(2025, 3, day, 20, day) for day in (3, 4, 9, 6, 8)],
    }
)
ENGAGEMENTS = pl.DataFrame(
    {
        "user_id": ["eve", "bo"],
        "item_id": ["i1", "i2"],
        "action": ["save", "closeup"],
        "occurred_at": [datetime(2025, 3, 5, 9), datetime(2025, 3, 8, 23, 30)],
    }
)
ITEMS = pl.DataFrame(
    {
        "item_id": ["i1", "i2"],
        "title": ["Cedar bed kit", "Touring paddle"],
        "annotations": [["raised bed", "cedar kit"], ["kayak paddle"]],
        "interests": [["gardening"], ["kayaking"]],
    }
)


@pytest.fixture(autouse=True)
def one_embedder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedder that all tests share."""
    monkeypatch.setattr(notebook, "embedder_of_process", lambda *_: EMBEDDER)


def landed_tables(landing: Path) -> dict[str, Any]:
    """What lies in a landing zone, each row with its arrival day."""
    tables: dict[str, list[pl.DataFrame]] = {}
    for file in sorted(landing.glob("*/date=*/*.parquet")):
        day = date.fromisoformat(file.parent.name.removeprefix("date="))
        rows = pl.read_parquet(file, hive_partitioning=False).with_columns(arrival_day=pl.lit(day))
        tables.setdefault(file.parent.parent.name, []).append(rows)
    return {name: pl.concat(days) for name, days in tables.items()}


def full_run(path: Path, tables: dict[str, pl.DataFrame], day: date) -> pl.DataFrame:
    """The journeys that a full run finds in an empty home with these rows."""
    for source, rows in tables.items():
        write_days(path / "landing", source=source, frame=rows)
    pipeline = Pipeline(Home(path))
    pipeline.run(day, "all_users")
    return pipeline.warehouse.query("from user_journeys order by user_id, rank")


def warned(call: Callable[[], pl.DataFrame]) -> tuple[pl.DataFrame, list[str]]:
    """What a call gives, and what it warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        journeys = call()
    return journeys, [str(warning.message) for warning in caught]


def test_the_same_journeys_as_a_full_run_to_the_bit(finished: Pipeline, world_days: list[date]) -> None:
    day = world_days[0]
    expected = finished.warehouse.query(f"from user_journeys where as_of = date '{day}' order by user_id, rank")
    journeys, _ = warned(lambda: infer_journeys(**landed_tables(finished.home.landing), as_of=day))
    assert len(expected) > 40
    assert_frame_equal(journeys, expected, check_exact=True)


@pytest.mark.slow
@pytest.mark.parametrize("left_out", ["items", "searches"])
def test_without_a_source_they_are_those_of_a_full_run_without_it(
    left_out: str, world_home: Path, world_days: list[date], tmp_path: Path
) -> None:
    tables = landed_tables(world_home / "landing")
    tables.pop(left_out)
    day = world_days[-2]
    expected = full_run(tmp_path, tables, day)
    journeys, _ = warned(lambda: infer_journeys(**tables, as_of=day))
    assert len(expected) > 40
    assert_frame_equal(journeys, expected, check_exact=True)


@pytest.mark.slow
def test_the_order_of_rows_plays_no_part(world_home: Path) -> None:
    tables = landed_tables(world_home / "landing")
    expected = infer_journeys(**tables)
    shuffled = {name: rows.sample(fraction=1.0, shuffle=True, seed=5) for name, rows in tables.items()}
    assert_frame_equal(infer_journeys(**shuffled), expected, check_exact=True)
    assert expected["as_of"].unique().to_list() == [WORLD_LAST_DAY]


def test_a_snapshot_sees_what_had_arrived_by_its_day() -> None:
    early = infer_journeys(SEARCHES, as_of="2025-03-04")
    assert early.select("as_of", "user_id").unique().rows() == [(date(2025, 3, 4), "eve")]
    assert early["search_count"].sum() == 2
    late = SEARCHES.with_columns(arrival_day=pl.lit(DAY))
    nothing, told = warned(lambda: infer_journeys(late, as_of=date(2025, 3, 4)))
    assert nothing.is_empty()
    assert nothing.schema == early.schema
    assert told == ["searches: none of the rows had arrived by as_of"]
    assert infer_journeys(late, as_of=datetime(2025, 3, 9, 12))["user_id"].n_unique() == 2


def test_rows_that_break_the_contract_are_left_out_and_told() -> None:
    bad = pl.DataFrame(
        {
            "user_id": ["eve", None, "bo", "bo", "zoe"],
            "query": ["secret wish", "secret wish", " ", "secret hope", "secret plan"],
            "occurred_at": [None, *[datetime(2025, 3, 8, 10)] * 3, datetime.now(UTC).replace(tzinfo=None)],
        }
    ).with_columns(
        pl.col("occurred_at") + pl.when(pl.col("user_id") == "zoe").then(timedelta(days=400)).otherwise(timedelta())
    )
    journeys, told = warned(lambda: infer_journeys(pl.concat([bad, SEARCHES]), ENGAGEMENTS, ITEMS))
    expected = infer_journeys(pl.concat([bad[3:4], SEARCHES]), ENGAGEMENTS, ITEMS)
    assert_frame_equal(journeys, expected, check_exact=True)
    assert told == [
        "searches: 4 of 10 rows break the contract and are left out: "
        "occurred_at is in the future of the arrival day (1, the first of them row 4); "
        "occurred_at is missing (1, the first of them row 0); query is blank (1, the first of them row 2); "
        "user_id is missing (1, the first of them row 1). Rows count from 0."
    ]
    with pytest.raises(TableError, match="4 of 10 rows") as raised:
        infer_journeys(pl.concat([bad, SEARCHES]), strict=True)
    assert "secret" not in str(raised.value)


def test_rows_over_the_cap_and_engagements_with_unknown_items_are_told() -> None:
    settings = {"landing": {"max_rows_per_user_per_day": 2}}
    busy = pl.concat([SEARCHES, SEARCHES.head(1).with_columns(query=pl.Series([["a", "b", "c"]])).explode("query")])
    journeys, told = warned(lambda: infer_journeys(busy, ENGAGEMENTS, ITEMS.head(1), settings=settings))
    assert set(journeys["user_id"]) == {"bo", "eve"}
    over_cap, unknown = told
    assert over_cap.startswith("searches: 2 rows are left out, of 1 users who have more than 2 in a day")
    assert unknown.startswith("keywords: the audit engaged_items_are_known found 1 rows.")


def test_what_has_no_row_that_can_be_used_is_refused() -> None:
    with pytest.raises(TableError, match="no table: give one at least of searches, engagements"):
        infer_journeys()
    with pytest.raises(TableError, match=r"none of the rows can be used\. searches: 5 of 5 rows.*query is missing"):
        infer_journeys(SEARCHES.drop("query"))


@pytest.mark.slow
def test_tables_without_rows_have_no_journeys() -> None:
    journeys = infer_journeys(SEARCHES.clear(), ENGAGEMENTS.clear(), ITEMS.clear())
    assert journeys.is_empty()
    assert journeys.schema == infer_journeys(SEARCHES).schema


@pytest.mark.slow
def test_settings_are_given_as_sections_or_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sections = {"output": {"max_journeys_per_user": 1}}
    short = infer_journeys(SEARCHES, settings=sections)
    assert short["user_id"].to_list() == ["bo", "eve"]
    assert_frame_equal(short, infer_journeys(SEARCHES, settings=Settings.model_validate(sections)))
    (tmp_path / "journeys.toml").write_text("[output]\nmax_journeys_per_user = 1\n")
    assert_frame_equal(infer_journeys(SEARCHES), short)
    with pytest.raises(SettingsError, match=r"settings: unknown setting 'output\.max_journeys'"):
        infer_journeys(SEARCHES, settings={"output": {"max_journeys": 1}})
    llm = {"names": True, "base_url": "http://127.0.0.1:9/v1", "model": "any", "send_user_text": True}
    with pytest.raises(SettingsError, match="asks no language model, as names would"):
        infer_journeys(SEARCHES, settings={"llm": llm})


@pytest.mark.slow
def test_nothing_stays_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (work := tmp_path / "work").mkdir()
    (temporary := tmp_path / "temporary").mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("JOURNEYS_HOME", str(work / "home"))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    infer_journeys(SEARCHES, ENGAGEMENTS, ITEMS)
    with pytest.raises(TableError):
        infer_journeys(SEARCHES.drop("query"))
    assert not [*work.iterdir(), *temporary.iterdir()]


@pytest.mark.slow
def test_what_takes_long_says_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(notebook, "_SILENT_SECONDS", 3600.0)
    infer_journeys(SEARCHES)
    monkeypatch.setattr(notebook, "_SILENT_SECONDS", 0.0)
    infer_journeys(SEARCHES, quiet=True)
    assert capsys.readouterr() == ("", "")
    infer_journeys(SEARCHES)
    said = capsys.readouterr()
    assert said.out == ""
    assert "infer_journeys: taking in searches\n" in said.err
    assert "infer_journeys: user_journeys (" in said.err
    assert "judge" not in said.err
    assert "kayak" not in said.err


def test_the_example_of_the_docstring() -> None:
    assert doctest.testmod(notebook) == doctest.TestResults(failed=0, attempted=4)


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, journeys_dagster; print(*{'dagster', 'duckdb', 'polars', 'torch', 'numpy'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
    with pytest.raises(AttributeError, match="infer_journey"):
        getattr(journeys_dagster, "infer_journey")  # noqa: B009
