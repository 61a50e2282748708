"""Tables of all libraries as a landing zone: the same rows on the same days, whatever holds them."""

import tempfile
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from journeys_dagster.settings import Settings
from journeys_dagster.sources.contracts import declared_sources
from journeys_dagster.sources.reader import read_days
from journeys_dagster.sources.tables_in_memory import TableError, land_tables
from journeys_dagster.sources.writer import day_folder

SETTINGS = Settings()
DAY = date(2025, 3, 9)
SEARCHES = pl.DataFrame(
    {
        "user_id": ["eve", "eve", "bo"],
        "query": ["raised bed plans", "cedar planks", "kayak rental"],
        "occurred_at": [datetime(2025, 3, day, 23, 50) for day in (3, 9, 6)],
    }
)
ENGAGEMENTS = pl.DataFrame(
    {
        "user_id": [7, 8],
        "item_id": ["i1", "i2"],
        "action": ["save", "closeup"],
        "occurred_at": [datetime(2025, 3, 5, 9), datetime(2025, 3, 8, 23, 30)],
    }
)
ITEMS = pl.DataFrame(
    {
        "item_id": ["i1", "i2"],
        "title": ["Cedar bed kit", "Touring paddle"],
        "annotations": [["raised bed", "cedar kit"], []],
        "interests": [["gardening"], ["kayaking", "water"]],
        "price": [3.5, None],
    }
)
TABLES = {"searches": SEARCHES, "engagements": ENGAGEMENTS, "items": ITEMS}


def taken_in(
    tables: Mapping[str, Any], as_of: date | None = None, chosen: Settings = SETTINGS
) -> dict[str, tuple[pl.DataFrame, pl.DataFrame]]:
    """What the reader accepts of tables, and what it rejects."""
    found, sources = {}, declared_sources(chosen)
    with tempfile.TemporaryDirectory() as made:
        for name, table in land_tables(Path(made), tables, sources, chosen.landing, as_of=as_of).items():
            folders = {day: day_folder(Path(made, "landing"), source=name, day=day) for day in table.days}
            landed = read_days(sources[name], folders, chosen.landing)
            found[name] = (landed.accepted, landed.rejected)
    return found


@pytest.mark.parametrize(
    "made",
    [
        pl.DataFrame.lazy,
        pl.DataFrame.to_arrow,
        lambda table: pa.RecordBatchReader.from_batches(table.to_arrow().schema, table.to_arrow().to_batches()),
        pl.DataFrame.to_pandas,
        lambda table: pd.DataFrame(table.to_dicts()),
        lambda table: pd.DataFrame(table.to_dicts()).set_index("item_id" if "item_id" in table.columns else "user_id"),
        lambda table: table.to_dict(as_series=False),
        lambda table: table.cast({pl.Int64: pl.Int128}),
        lambda table: table.cast({pl.String: pl.Categorical, pl.List(pl.String): pl.List(pl.Categorical)}),
    ],
    ids=["lazy", "arrow", "batches", "pandas", "pandas objects", "pandas index", "lists", "128 bits", "categories"],
)
def test_tables_of_all_libraries(made: Callable[[pl.DataFrame], Any]) -> None:
    expected, found = taken_in(TABLES), taken_in({name: made(table) for name, table in TABLES.items()})
    for name, table in TABLES.items():
        assert len(expected[name][0]) == len(table)
        assert_frame_equal(found[name][0], expected[name][0])
        assert found[name][1].is_empty()


@pytest.mark.parametrize(
    "told",
    [
        pl.col("occurred_at").dt.to_string("%Y-%m-%d %H:%M"),
        pl.col("occurred_at").dt.to_string("%Y-%m-%dT%H:%M:%SZ"),
        (pl.col("occurred_at") + timedelta(hours=2)).dt.to_string("%Y-%m-%dT%H:%M:%S+02:00"),
        pl.col("occurred_at").dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Tokyo"),
        pl.col("occurred_at").dt.cast_time_unit("ns"),
        pl.col("occurred_at").dt.cast_time_unit("ms"),
    ],
    ids=["text", "text of UTC", "text with an offset", "times of a zone", "nanoseconds", "milliseconds"],
)
def test_times_and_their_days_are_of_utc(told: pl.Expr) -> None:
    # Ten minutes to midnight: another day in most zones.
    (accepted, _) = taken_in({"searches": SEARCHES.with_columns(told)})["searches"]
    assert_frame_equal(accepted, taken_in({"searches": SEARCHES})["searches"][0])
    assert accepted["arrival_day"].to_list() == [date(2025, 3, day) for day in (3, 6, 9)]


@given(
    st.lists(
        st.datetimes(
            min_value=datetime(1971, 1, 1),
            max_value=datetime(2024, 12, 31),
            timezones=st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))),
        ),
        min_size=1,
        max_size=5,
    )
)
@hypothesis_settings(max_examples=20)
def test_a_row_arrives_on_the_utc_day_of_its_time(times: list[datetime]) -> None:
    rows = {"user_id": ["u"] * len(times), "query": list("abcde"[: len(times)]), "occurred_at": [str(t) for t in times]}
    with tempfile.TemporaryDirectory() as made:
        landed = land_tables(Path(made), {"searches": rows}, declared_sources(SETTINGS), SETTINGS.landing, as_of=None)[
            "searches"
        ]
    assert landed.arrival_days.to_list() == [time.astimezone(timezone.utc).date() for time in times]  # noqa: UP017
    # Rows of one day keep their order in its file, so a rejected one can be found.
    for row, day in enumerate(landed.arrival_days):
        assert landed.place(day, landed.arrival_days[: row + 1].to_list().count(day)) == row


def test_columns_are_matched_as_those_of_files_are() -> None:
    expected, _ = taken_in({"searches": SEARCHES})["searches"]
    others = SEARCHES.rename({"user_id": "User ID", "query": "phrase", "occurred_at": "OccurredAt"})
    numbers = others.with_columns(pl.col("OccurredAt").dt.epoch("s"), **{"Arrival Day": SEARCHES["occurred_at"]})
    written = {"columns": {"query": "phrase"}, "time_unit": "s"}
    chosen = Settings.model_validate({"sources": {"searches": written}})
    for table in (others, numbers):
        accepted, rejected = taken_in({"searches": table}, chosen=chosen)["searches"]
        assert_frame_equal(accepted, expected)
        assert rejected.is_empty()
    with pytest.raises(TableError, match=r"searches: columns User ID, USER ID could each be user_id"):
        taken_in({"searches": others.with_columns(**{"USER ID": pl.lit("u")})})


def test_what_arrived_later_is_not_seen() -> None:
    (accepted, rejected) = taken_in({"searches": SEARCHES}, as_of=date(2025, 3, 6))["searches"]
    assert accepted["arrival_day"].to_list() == [date(2025, 3, 3), date(2025, 3, 6)]
    assert rejected.is_empty()
    told = SEARCHES.with_columns(arrival_day=pl.Series(["2025-03-06", "2025-03-10", None]))
    (accepted, _) = taken_in({"searches": told}, as_of=date(2025, 3, 6))["searches"]
    assert accepted.select("arrival_day", "query").rows() == [
        (date(2025, 3, 6), "kayak rental"),
        (date(2025, 3, 6), "raised bed plans"),
    ]


def test_items_arrive_on_the_first_day_unless_they_say_another() -> None:
    for items in (ITEMS, ITEMS.with_columns(arrival_day=pl.lit(None))):
        accepted, _ = taken_in({**TABLES, "items": items})["items"]
        assert accepted["arrival_day"].to_list() == [date(2025, 3, 3)] * 2
    told = ITEMS.with_columns(arrival_day=pl.Series([DAY, None]))
    accepted, _ = taken_in({**TABLES, "items": told})["items"]
    assert accepted.select("arrival_day", "item_id").rows() == [(date(2025, 3, 3), "i2"), (DAY, "i1")]


@pytest.mark.parametrize("as_of", [None, DAY])
def test_a_row_whose_time_is_none_or_not_yet_is_rejected(as_of: date | None) -> None:
    times = ["2025-03-08 10:00", "yesterday", None, "9999-12-31", "1066-10-14", "10000-01-01"]
    rows = pl.DataFrame({"user_id": "u", "query": [f"q{n}" for n in range(6)], "occurred_at": times})
    (accepted, rejected) = taken_in({"searches": rows}, as_of)["searches"]
    assert accepted["query"].to_list() == ["q0"]
    future = 1 if as_of is None else 0
    reasons = dict(rejected["reason"].value_counts().iter_rows())
    assert reasons == {
        "occurred_at is not a time (ISO 8601 expected)": 2,
        "occurred_at is missing": 1,
        "occurred_at is before 1970": 1,
    } | ({"occurred_at is in the future of the arrival day": future} if future else {})


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"searches": 3}, "searches: no table can be made of this int"),
        ({"searches": pd.DataFrame({"query": [1, "private words"]})}, "searches: no table can be made of this"),
        ({"searches": SEARCHES.with_columns(query=pl.Series([object()] * 3))}, "column 'query' holds Python objects"),
        (
            {"items": ITEMS.with_columns(arrival_day=pl.Series(["2025-03-01", "private words"]))},
            r"items: column 'arrival_day' is no day in 1 rows, the first of them row 1 \(counted from 0\)",
        ),
    ],
    ids=["number", "mixed", "objects", "arrival day"],
)
def test_what_is_no_table_is_refused(tables: dict[str, Any], said: str) -> None:
    with pytest.raises(TableError, match=said) as raised:
        taken_in(tables)
    assert "private" not in str(raised.value)
