"""Reading the landing zone: every row is accepted, a duplicate or rejected with a reason, in every format alike."""

import csv
import gzip
import io
import json
import os
import re
import string
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journeys_dagster.settings import Settings
from journeys_dagster.sources import files as files_module
from journeys_dagster.sources import reader as reader_module
from journeys_dagster.sources.contracts import LANDED_DAYS, MAX_ROW_TEXT, REJECTED_ROWS, declared_sources
from journeys_dagster.sources.files import failure_text, file_groups, fingerprint, landing_files
from journeys_dagster.sources.reader import LandedRows, read_days

SOURCES = declared_sources(Settings())
DAY = date(2025, 6, 1)
NOON = datetime(2025, 6, 1, 12)
TIME = "2025-06-01T12:00:00"
MAX_TEXT_LENGTH = 50
LANDING = Settings.model_validate({"landing": {"max_text_length": MAX_TEXT_LENGTH}}).landing
FORMATS = ("parquet", "csv", "ndjson")
HEADER = "user_id,query,occurred_at\n"
OF_SEARCHES: dict[str, Any] = {"contract": list(SOURCES["searches"].fields), "named": {}}

ROWS_OF_SOURCE: dict[str, list[dict[str, Any]]] = {
    "searches": [
        {"user_id": "u1", "query": "oak table", "occurred_at": TIME},
        {"user_id": "u2", "query": 'a "round", low one\nfor two', "occurred_at": TIME},
    ],
    "engagements": [
        {"user_id": "u1", "item_id": "i1", "action": "save", "occurred_at": TIME},
        {"user_id": "u1", "item_id": "i1", "action": "closeup", "occurred_at": TIME},
    ],
    "items": [
        {"item_id": "i1", "title": "Table", "annotations": ["oak", "oak table"], "interests": ["home"]},
        {"item_id": "i2", "title": "Chair", "annotations": [], "interests": []},
    ],
    "board_items": [
        {"user_id": "u1", "board_id": "b1", "board_name": "Kitchen", "item_id": "i1", "occurred_at": TIME},
    ],
    "notification_feedback": [
        {
            **{"user_id": "u1", "journey_id": "j1", "channel": "email", "event": "opened", "occurred_at": TIME},
            "send_id": "s1",
        },
    ],
    "human_labels": [
        {"user_id": "u1", "journey_id": "j1", "grade": 5, "annotator": "a1", "occurred_at": TIME},
        {"user_id": "u1", "journey_id": "j2", "grade": 1, "annotator": "a1", "occurred_at": TIME},
    ],
    "user_controls": [
        {
            **{"user_id": "u1", "control": control},
            **{"journey_id": "j1", "keyword": None, "channel": None, "occurred_at": TIME},
        }
        for control in ("hide_journey", "undo")
    ],
}


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows in the format of the file's name, as its ordinary writers do."""
    if path.suffix == ".parquet":
        pl.DataFrame(rows, strict=False).write_parquet(path)
    elif path.suffix == ".ndjson":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    else:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, fieldnames=list(rows[0]))
        writer.writeheader()
        for row in rows:
            writer.writerow(
                {name: "|".join(value) if isinstance(value, list) else value for name, value in row.items()}
            )
        path.write_bytes(text.getvalue().encode("utf-8"))


def search(user_id: str = "u1", query: str = "oak", occurred_at: str = TIME) -> dict[str, str]:
    return {"user_id": user_id, "query": query, "occurred_at": occurred_at}


def read(folder: Path, source: str = "searches", *, cap: int = 10_000) -> LandedRows:
    return read_days(SOURCES[source], {DAY: folder}, LANDING.model_copy(update={"max_rows_per_user_per_day": cap}))


def read_alike(
    folder: Path, rows: Sequence[Mapping[str, Any]], source: str = "searches", *, cap: int = 10_000
) -> LandedRows:
    """Read the same rows in all formats at once, and see to it that each format accepts and rejects the same."""
    for suffix in FORMATS:
        write_rows(folder / f"part.{suffix}", rows)
    landed = read(folder, source, cap=cap)
    by_format = [
        landed.rejected.filter(pl.col("file") == f"part.{suffix}").select("row_number", "reason") for suffix in FORMATS
    ]
    assert by_format[0].equals(by_format[1])
    assert by_format[0].equals(by_format[2])
    _, accepted, duplicate, _ = counts(landed)
    good = accepted + duplicate + landed.days["rows_over_cap"].sum()
    assert good == len(FORMATS) * (len(rows) - by_format[0].height)
    return replace(landed, rejected=landed.rejected.filter(pl.col("file") == "part.csv"))


def users(landed: LandedRows) -> list[str]:
    return landed.accepted["user_id"].to_list()


def reasons(landed: LandedRows) -> list[str]:
    return landed.rejected["reason"].to_list()


def counts(landed: LandedRows) -> tuple[int, int, int, int]:
    """Rows read, accepted, duplicate, rejected."""
    (row,) = landed.days.select("rows_read", "rows_accepted", "rows_duplicate", "rows_rejected").rows()
    return row


# ---- formats ----


@pytest.mark.parametrize("source", list(SOURCES))
def test_the_three_formats_give_the_same_accepted_rows(tmp_path: Path, source: str) -> None:
    frames = []
    for suffix in FORMATS:
        (tmp_path / suffix).mkdir()
        write_rows(tmp_path / suffix / f"part.{suffix}", ROWS_OF_SOURCE[source])
        frames.append(read(tmp_path / suffix, source).accepted)
    assert frames[0].height == len(ROWS_OF_SOURCE[source])
    assert frames[0].equals(frames[1])
    assert frames[0].equals(frames[2])


@pytest.mark.parametrize("source", list(SOURCES))
def test_the_frames_have_the_columns_of_their_tables(tmp_path: Path, source: str) -> None:
    write_rows(tmp_path / "part.parquet", ROWS_OF_SOURCE[source])
    landed = read(tmp_path, source)
    assert landed.accepted.columns == list(SOURCES[source].table.columns)
    assert landed.rejected.columns == list(REJECTED_ROWS.columns)
    assert landed.days.columns == list(LANDED_DAYS.columns)


@pytest.mark.parametrize("source", list(SOURCES))
def test_values_arrive_as_they_were_written(tmp_path: Path, source: str) -> None:
    write_rows(tmp_path / "part.ndjson", ROWS_OF_SOURCE[source])
    expected = [
        {"arrival_day": DAY, **row, **({"occurred_at": NOON} if "occurred_at" in row else {})}
        for row in ROWS_OF_SOURCE[source]
    ]
    found = read(tmp_path, source).accepted.to_dicts()
    assert sorted(found, key=str) == sorted(expected, key=str)


def test_formats_may_be_mixed_in_one_day(tmp_path: Path) -> None:
    for number, suffix in enumerate(FORMATS):
        write_rows(tmp_path / f"part.{suffix}", [search(user_id=f"u{number}")])
    assert users(read(tmp_path)) == ["u0", "u1", "u2"]


# What may be markup, or UTF-8 that was read as another encoding, is cleaned.
MAY_BE_WRAPPING = "&<>" + "".join(map(chr, range(0xC2, 0xF0)))


@settings(max_examples=20, deadline=None)
@given(
    queries=st.lists(
        st.text(st.characters(exclude_categories=("Cs",), exclude_characters=MAY_BE_WRAPPING), max_size=12)
        | st.text(alphabet="a\"',|\n\r\t;[{\\ ", min_size=1, max_size=12),
        min_size=1,
        max_size=6,
    )
)
def test_any_text_reads_alike_in_the_three_formats(queries: list[str]) -> None:
    rows = [search(user_id=f"u{number}", query=f"q{query}") for number, query in enumerate(queries)]
    with tempfile.TemporaryDirectory() as name:
        assert read_alike(Path(name), rows).accepted["query"].to_list() == [row["query"] for row in rows]


# ---- every row is counted once ----

GOOD_ROWS = st.builds(
    search,
    user_id=st.sampled_from(["u1", "u2"]),
    query=st.sampled_from(["oak", "a,b", '6" nails', '"']),
    occurred_at=st.sampled_from([TIME, "2025-05-30"]),
)
BAD_ROWS = st.sampled_from(
    [
        search(user_id=""),
        search(query=" \t "),
        search(query="x" * (MAX_TEXT_LENGTH + 1)),
        search(occurred_at="yesterday"),
        search(occurred_at="1969-12-31"),
        search(occurred_at="2030-01-01"),
    ]
)
BAD_LINES = st.sampled_from(['u1,"oak,2025-06-01', "u1,oak", "u1,oak,2025-06-01,more", "{", "null", "[1]"])
DAY_FILES = st.lists(
    st.tuples(st.sampled_from(FORMATS), st.lists(GOOD_ROWS | BAD_ROWS, min_size=1, max_size=5), st.lists(BAD_LINES)),
    min_size=1,
    max_size=4,
)


def write_day_files(folder: Path, files: Sequence[tuple[str, list[dict[str, str]], list[str]]]) -> int:
    """Write rows and, in formats of lines, lines that are no rows; how many rows that makes."""
    written = 0
    for number, (suffix, rows, lines) in enumerate(files):
        path = folder / f"part-{number}.{suffix}"
        write_rows(path, rows)
        written += len(rows)
        if suffix != "parquet":
            with path.open("a", encoding="utf-8", newline="") as file:
                file.writelines(line + "\n" for line in lines)
            written += len(lines)
    return written


@settings(max_examples=25, deadline=None)
@given(files=DAY_FILES)
def test_every_row_is_accepted_or_a_duplicate_or_rejected(
    files: list[tuple[str, list[dict[str, str]], list[str]]],
) -> None:
    with tempfile.TemporaryDirectory() as name:
        written = write_day_files(Path(name), files)
        landed = read(Path(name))
    rows_read, accepted, duplicate, rejected = counts(landed)
    assert rows_read == written
    assert rows_read == accepted + duplicate + rejected
    assert accepted == landed.accepted.height
    assert rejected == landed.rejected.height
    assert landed.rejected["row"].null_count() == 0


@settings(max_examples=12, deadline=None)
@given(files=DAY_FILES, random=st.randoms(use_true_random=False))
def test_the_order_of_rows_and_of_files_does_not_change_what_is_accepted(
    files: list[tuple[str, list[dict[str, str]], list[str]]], random: Any
) -> None:
    frames = []
    for _ in range(2):
        with tempfile.TemporaryDirectory() as name:
            write_day_files(Path(name), files)
            frames.append(read(Path(name)).accepted)
        files = [(suffix, random.sample(rows, len(rows)), lines) for suffix, rows, lines in files]
        random.shuffle(files)
    assert frames[0].equals(frames[1])


def test_bad_rows_do_not_stop_the_good_ones(tmp_path: Path) -> None:
    rows = [search(user_id="u1"), search(user_id="u2", occurred_at="soon"), search(user_id="u3"), search(query="\t")]
    landed = read_alike(tmp_path, rows)
    assert users(landed) == ["u1", "u3"]
    assert landed.rejected["row_number"].to_list() == [2, 4]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_rejected_row_is_kept_with_file_number_reason_and_row(tmp_path: Path, suffix: str) -> None:
    write_rows(tmp_path / f"part.{suffix}", [search(), search(user_id="u2", occurred_at="soon")])
    (rejected,) = read(tmp_path).rejected.to_dicts()
    row = rejected.pop("row")
    assert rejected == {
        "arrival_day": DAY,
        "source": "searches",
        "file": f"part.{suffix}",
        "row_number": 2,
        "reason": "occurred_at is not a time (ISO 8601 expected)",
    }
    assert json.loads(row) == search(user_id="u2", occurred_at="soon")


def test_exact_duplicates_of_a_day_count_once_across_files_and_formats(tmp_path: Path) -> None:
    for suffix in FORMATS:
        write_rows(tmp_path / f"part.{suffix}", [search(), search()])
    landed = read(tmp_path)
    assert users(landed) == ["u1"]
    assert counts(landed) == (6, 1, 5, 0)


def test_rows_that_differ_in_one_value_are_no_duplicates(tmp_path: Path) -> None:
    write_rows(tmp_path / "part.csv", [search(), search(query="Oak"), search(occurred_at="2025-06-01T12:00:00.000001")])
    assert counts(read(tmp_path)) == (3, 3, 0, 0)


def test_the_same_row_on_two_days_is_no_duplicate(tmp_path: Path) -> None:
    folders = {day: tmp_path / day.isoformat() for day in (DAY, DAY + timedelta(days=1))}
    for folder in folders.values():
        folder.mkdir()
        write_rows(folder / "part.parquet", [search(), search()])
    landed = read_days(SOURCES["searches"], folders, LANDING)
    assert landed.accepted["arrival_day"].to_list() == list(folders)
    assert landed.days["rows_duplicate"].to_list() == [1, 1]


def test_each_day_has_its_own_counts(tmp_path: Path) -> None:
    second = DAY + timedelta(days=1)
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    write_rows(tmp_path / "first" / "part.csv", [search(), search(query="")])
    write_rows(tmp_path / "second" / "part.csv", [search(user_id="u2"), search(user_id="u3")])
    (tmp_path / "second" / "broken.parquet").write_bytes(b"PAR1")
    landed = read_days(SOURCES["searches"], {second: tmp_path / "second", DAY: tmp_path / "first"}, LANDING)
    columns = ("arrival_day", "files", "unreadable_files", "rows_read", "rows_accepted", "rows_rejected")
    assert landed.days.select(columns).rows() == [(DAY, 1, 0, 2, 1, 1), (second, 2, 1, 2, 2, 0)]
    assert landed.rejected["arrival_day"].to_list() == [DAY, second]


def test_no_days_give_empty_frames() -> None:
    landed = read_days(SOURCES["items"], {}, LANDING)
    assert (landed.accepted.height, landed.rejected.height, landed.days.height) == (0, 0, 0)
    assert landed.days.columns == list(LANDED_DAYS.columns)


# ---- rows of one user in a day ----


def over_cap(landed: LandedRows) -> list[tuple[Any, ...]]:
    return landed.over_cap.select("user_id", "rows_over_cap").rows()


def test_of_a_user_over_the_cap_the_newest_rows_are_kept(tmp_path: Path) -> None:
    rows = [
        search(user_id="bot", query=f"q{minute}", occurred_at=f"2025-06-01T12:{minute:02}:00") for minute in range(9)
    ]
    others = [search(user_id=user) for user in ("ann", "zoe")]
    landed = read_alike(tmp_path, [*others, *rows], cap=3)
    assert landed.accepted.select("user_id", "query").rows() == [
        ("ann", "oak"),
        *(("bot", f"q{minute}") for minute in (6, 7, 8)),
        ("zoe", "oak"),
    ]
    assert over_cap(landed) == [("bot", 6)]
    assert counts(landed) == (33, 5, 22, 0)
    assert landed.days["rows_over_cap"].to_list() == [6]


def test_duplicates_and_bad_rows_do_not_count_against_the_cap(tmp_path: Path) -> None:
    rows = [search(query=query) for query in ("oak", "oak", "oak", "pine", " ", " ")]
    landed = read_alike(tmp_path, rows, cap=2)
    assert over_cap(landed) == []
    assert counts(landed) == (18, 2, 10, 6)


def test_the_cap_is_by_day_and_source(tmp_path: Path) -> None:
    folders = {DAY + timedelta(days=number): tmp_path / str(number) for number in range(3)}
    for number, folder in enumerate(folders.values()):
        folder.mkdir()
        write_rows(folder / "part.csv", [search(query=f"q{query}") for query in range(number + 1)])
    landed = read_days(
        SOURCES["searches"],
        folders,
        LANDING.model_copy(update={"max_rows_per_user_per_day": 2}),
    )
    assert landed.over_cap.rows() == [(DAY + timedelta(days=2), "u1", 1)]
    assert landed.days["rows_over_cap"].to_list() == [0, 0, 1]
    assert landed.days["rows_accepted"].to_list() == [1, 2, 2]


def test_a_source_without_a_user_has_no_cap(tmp_path: Path) -> None:
    write_rows(tmp_path / "part.ndjson", [{"item_id": f"i{number}", "title": "Table"} for number in range(5)])
    assert counts(read(tmp_path, "items", cap=1)) == (5, 5, 0, 0)


@settings(max_examples=15, deadline=None)
@given(
    rows=st.lists(
        st.builds(
            search,
            user_id=st.sampled_from(["u1", "u2"]),
            query=st.sampled_from("abcdef"),
            occurred_at=st.sampled_from(["2025-05-30", "2025-05-31", TIME]),
        ),
        min_size=1,
        max_size=30,
    ),
    cap=st.integers(1, 6),
    random=st.randoms(use_true_random=False),
)
def test_what_the_cap_keeps_does_not_depend_on_the_order_of_rows_and_files(
    rows: list[dict[str, str]], cap: int, random: Any
) -> None:
    frames = []
    for _ in range(2):
        with tempfile.TemporaryDirectory() as name:
            cut = random.randint(0, len(rows))
            for number, part in enumerate((rows[:cut], rows[cut:])):
                if part:
                    write_rows(Path(name) / f"{number}.{random.choice(FORMATS)}", part)
            landed = read(Path(name), cap=cap)
        frames.append(landed)
        rows = random.sample(rows, len(rows))
    assert frames[0].accepted.equals(frames[1].accepted)
    assert frames[0].over_cap.equals(frames[1].over_cap)
    distinct = {(row["user_id"], row["query"], row["occurred_at"]) for row in rows}
    for user in ("u1", "u2"):
        times = sorted((time for owner, _, time in distinct if owner == user), reverse=True)[:cap]
        kept = frames[0].accepted.filter(pl.col("user_id") == user)["occurred_at"].to_list()
        assert sorted(kept, reverse=True) == [datetime.fromisoformat(time) for time in times]


# ---- times ----

UTC_OF_TEXT = {
    "1970-01-01": datetime(1970, 1, 1),
    "2024-02-29T23:59:59": datetime(2024, 2, 29, 23, 59, 59),
    "2025-06-01": datetime(2025, 6, 1),
    "2025-06-01 10:30": datetime(2025, 6, 1, 10, 30),
    "2025-06-01T10:30:00": datetime(2025, 6, 1, 10, 30),
    " 2025-06-01T10:30:00 ": datetime(2025, 6, 1, 10, 30),
    "2025-06-01T10:30:00Z": datetime(2025, 6, 1, 10, 30),
    "2025-06-01T10:30:00.25Z": datetime(2025, 6, 1, 10, 30, 0, 250_000),
    "2025-06-01T10:30:00.123456789Z": datetime(2025, 6, 1, 10, 30, 0, 123_456),
    "2025-06-01T10:30:00+02": datetime(2025, 6, 1, 8, 30),
    "2025-06-01T10:30:00-05:30": datetime(2025, 6, 1, 16),
    "2025-06-01 10:30:00+0545": datetime(2025, 6, 1, 4, 45),
    "2025-06-01T00:30:00+14:00": datetime(2025, 5, 31, 10, 30),
}
NOT_A_TIME = (
    *("yesterday", "now", "epoch", "infinity"),
    *("2025-6-1-2", "12025-06-01", "2025-02-30", "2025-13-01"),
    *("2025-06-01T25:00:00", "2025-06-01T10:30:00 Middle/Earth", "2025-06-01T10:30:00 PST"),
    *("2025-06-01T10:30:00+99:00", "2025-06-01T10:30:00+02:75"),
)
BEFORE_1970 = ("0001-01-01", "1969-12-31T23:59:59.999999", "1970-01-01T00:30:00+01:00")
IN_THE_FUTURE = ("2025-06-03", "2025-06-02T23:59:59-00:30", "2038-01-19T03:14:08", "9999-12-31T23:59:59")


def test_a_time_as_text_is_utc_unless_it_has_an_offset(tmp_path: Path) -> None:
    landed = read_alike(tmp_path, [search(user_id=text, occurred_at=text) for text in UTC_OF_TEXT])
    expected = {text.strip(): utc for text, utc in UTC_OF_TEXT.items()}
    assert dict(landed.accepted.select("user_id", "occurred_at").rows()) == expected


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        (NOT_A_TIME, "occurred_at is not a time (ISO 8601 expected)"),
        (BEFORE_1970, "occurred_at is before 1970"),
        (IN_THE_FUTURE, "occurred_at is in the future of the arrival day"),
    ],
    ids=["no time", "before 1970", "future"],
)
def test_a_time_that_cannot_be_is_rejected(tmp_path: Path, texts: Sequence[str], reason: str) -> None:
    landed = read_alike(tmp_path, [search(occurred_at=text) for text in texts])
    assert reasons(landed) == [reason] * len(texts)


@pytest.mark.parametrize(
    ("hours", "text", "accepted"),
    [
        (0.0, "2025-06-01T23:59:59.999999", 1),
        (0.0, "2025-06-02T00:00:00", 0),
        (0.5, "2025-06-02T00:29:59", 1),
        (0.5, "2025-06-02T00:30:00", 0),
        (24.0, "2025-06-02T23:59:59", 1),
        (87_660.0, "2035-05-31", 1),
    ],
)
def test_the_future_tolerance_starts_at_the_end_of_the_arrival_day(
    tmp_path: Path, hours: float, text: str, accepted: int
) -> None:
    write_rows(tmp_path / "part.csv", [search(occurred_at=text)])
    landed = read_days(
        SOURCES["searches"],
        {DAY: tmp_path},
        LANDING.model_copy(update={"future_tolerance_hours": hours}),
    )
    assert landed.accepted.height == accepted


def searches_table(**columns: Any) -> pa.Table:
    return pa.table({"user_id": ["u1"], "query": ["oak"], "occurred_at": [NOON]} | columns)


@pytest.mark.parametrize(
    ("column", "utc"),
    [
        (pa.array([NOON], pa.timestamp("s")), NOON),
        (pa.array([NOON], pa.timestamp("ms")), NOON),
        (pa.array([NOON], pa.timestamp("us")), NOON),
        (pa.array([NOON], pa.timestamp("ns")), NOON),
        (pa.array([NOON], pa.timestamp("ms", "UTC")), NOON),
        (pa.array([NOON], pa.timestamp("us", "+05:30")), NOON),
        (pa.array([NOON], pa.timestamp("ns", "Asia/Kathmandu")), NOON),
        (pa.array([DAY]), datetime(2025, 6, 1)),
    ],
)
def test_parquet_times_of_every_unit_and_zone_become_utc(tmp_path: Path, column: pa.Array, utc: datetime) -> None:
    pq.write_table(searches_table(occurred_at=column), tmp_path / "part.parquet")
    assert read(tmp_path).accepted["occurred_at"].to_list() == [utc]


def test_legacy_int96_times_are_read(tmp_path: Path) -> None:
    pq.write_table(searches_table(), tmp_path / "part.parquet", use_deprecated_int96_timestamps=True)
    assert read(tmp_path).accepted["occurred_at"].to_list() == [NOON]


@pytest.mark.parametrize("unit", ["us", "ns"])
def test_both_hours_of_a_clock_change_stay_apart(tmp_path: Path, unit: Any) -> None:
    frame = pl.DataFrame(
        {
            "user_id": ["first", "second"],
            "query": "oak",
            "occurred_at": [datetime(2024, 11, 3, 5, 30), datetime(2024, 11, 3, 6, 30)],
        }
    ).with_columns(
        pl.col("occurred_at")
        .dt.cast_time_unit(unit)
        .dt.replace_time_zone("UTC")
        .dt.convert_time_zone("America/New_York")
    )
    assert frame["occurred_at"].dt.hour().to_list() == [1, 1]
    frame.write_parquet(tmp_path / "part.parquet")
    assert read(tmp_path).accepted["occurred_at"].to_list() == [
        datetime(2024, 11, 3, 5, 30),
        datetime(2024, 11, 3, 6, 30),
    ]


def test_the_zone_of_the_process_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    write_rows(tmp_path / "part.csv", [search(occurred_at="2025-06-01T10:30:00")])
    pq.write_table(searches_table(occurred_at=[datetime(2025, 6, 1, 10, 30)]), tmp_path / "part.parquet")
    assert read(tmp_path).accepted["occurred_at"].to_list() == [datetime(2025, 6, 1, 10, 30)]


def test_extreme_parquet_times_cost_only_their_row(tmp_path: Path) -> None:
    column = pa.array([2**63 - 1, -(2**63) + 1, 2**62, 0], pa.int64()).cast(pa.timestamp("us"))
    table = pa.table({"user_id": ["max", "min", "far", "epoch"], "query": ["oak"] * 4, "occurred_at": column})
    pq.write_table(table, tmp_path / "part.parquet")
    landed = read(tmp_path)
    assert users(landed) == ["epoch"]
    assert counts(landed) == (4, 1, 0, 3)


# ---- texts ----

UNUSUAL_TEXTS = (
    *("🏡🪑 👩‍👩‍👧", "טיול לים", "مطبخ صغير", "\ufeffbyte order mark"),
    *("'; drop table searches; --", '" or ""="', "$1 {query} %s \\n"),
    *("nul\0byte", "line\u2028separator\u2029and\x85next\x1cline", "form\x0cfeed\x0btab", "carriage\rreturn"),
    *("null", "NaN", "[1]", "#N/A", "-", "0"),
)


def test_unusual_text_is_kept_as_it_is(tmp_path: Path) -> None:
    landed = read_alike(tmp_path, [search(query=text) for text in UNUSUAL_TEXTS])
    assert sorted(landed.accepted["query"]) == sorted(UNUSUAL_TEXTS)


def test_text_without_a_visible_character_is_blank(tmp_path: Path) -> None:
    landed = read_alike(tmp_path, [search(query=text) for text in (" ", "\t", "\u00a0\u3000", "\u200b\u200d", "\0")])
    assert reasons(landed) == ["query is blank"] * 5


@pytest.mark.parametrize(
    ("suffix", "reason"), [("parquet", "query is blank"), ("csv", "query is missing"), ("ndjson", "query is blank")]
)
def test_empty_text_is_rejected(tmp_path: Path, suffix: str, reason: str) -> None:
    write_rows(tmp_path / f"part.{suffix}", [search(query="")])
    assert reasons(read(tmp_path)) == [reason]


def test_the_longest_accepted_text_is_measured_in_characters(tmp_path: Path) -> None:
    landed = read_alike(
        tmp_path,
        [
            search(user_id="fits", query="é" * MAX_TEXT_LENGTH),
            search(user_id="long", query="é" * (MAX_TEXT_LENGTH + 1)),
        ],
    )
    assert users(landed) == ["fits"]
    assert reasons(landed) == [f"query is longer than {MAX_TEXT_LENGTH} characters"]


@pytest.mark.parametrize("query", ["x" * 1_000_000, '"' + "x," * 500_000])
def test_a_megabyte_of_text_costs_its_row_and_its_beginning_is_kept(tmp_path: Path, query: str) -> None:
    landed = read_alike(tmp_path, [search(query=query), search(user_id="next")])
    assert users(landed) == ["next"]
    assert reasons(landed) == [f"query is longer than {MAX_TEXT_LENGTH} characters"]
    kept = landed.rejected["row"][0]
    assert len(kept) < MAX_ROW_TEXT + 40
    assert re.search(r" … \(1,000,\d\d\d characters\)$", kept)
    assert kept.startswith('{"user_id":"u1","query":"' + json.dumps(query[:100])[1:-1])


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_row_is_kept_whole_up_to_a_length(tmp_path: Path, suffix: str) -> None:
    rows = [search(query="é" * length) for length in (9_900, MAX_ROW_TEXT)]
    write_rows(tmp_path / f"part.{suffix}", rows)
    whole, cut = read(tmp_path).rejected.sort("row_number")["row"]
    assert json.loads(whole) == rows[0]
    assert re.fullmatch(r'\{"user_id": ?"u1", ?"query": ?"é+ … \(10,0\d\d characters\)', cut)


# ---- types ----


INTEGER_TYPES = (pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.int32(), pa.uint32(), pa.int64(), pa.uint64())


def test_whole_numbers_and_every_kind_of_text_are_text(tmp_path: Path) -> None:
    columns = [
        *(pa.array([7], kind) for kind in INTEGER_TYPES),
        pa.array([7]).cast(pa.decimal128(38, 0)),
        pa.array(["7"], pa.large_string()),
        pa.array(["7"]).dictionary_encode(),
    ]
    for number, column in enumerate(columns):
        pq.write_table(searches_table(user_id=column), tmp_path / f"part-{number}.parquet")
    landed = read(tmp_path)
    assert users(landed) == ["7"]
    assert counts(landed) == (len(columns), 1, len(columns) - 1, 0)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([True]),
        pa.array([NOON]),
        pa.array([["u1"]]),
        pa.array([{"id": "u1"}]),
    ],
    ids=lambda column: str(column.type).partition("<")[0],
)
def test_parquet_values_of_another_type_are_not_text(tmp_path: Path, column: pa.Array) -> None:
    pq.write_table(searches_table(user_id=column), tmp_path / "part.parquet")
    assert reasons(read(tmp_path)) == ["user_id is not text"]


def test_json_values_of_another_type_are_not_text(tmp_path: Path) -> None:
    write_rows(tmp_path / "part.ndjson", [{**search(), "user_id": value} for value in (True, ["u1"], {"id": "u1"})])
    assert reasons(read(tmp_path)) == ["user_id is not text"] * 3


@pytest.mark.parametrize("column", [pa.array([None]), pa.array([None], pa.string()), pa.array([None], pa.float64())])
def test_null_is_missing_whatever_its_type(tmp_path: Path, column: pa.Array) -> None:
    pq.write_table(searches_table(user_id=column), tmp_path / "part.parquet")
    write_rows(tmp_path / "part.ndjson", [{**search(), "user_id": None}])
    assert reasons(read(tmp_path)) == ["user_id is missing"] * 2


@pytest.mark.parametrize("value", [1_748_772_000, 12.5, True])
def test_a_number_is_not_a_time(tmp_path: Path, value: Any) -> None:
    pq.write_table(searches_table(occurred_at=[value]), tmp_path / "part.parquet")
    write_rows(tmp_path / "part.ndjson", [{**search(), "occurred_at": value}])
    reason = "occurred_at is a number: say in sources.searches.time_unit whether it counts s, ms, us or ns"
    expected = "occurred_at is not a time (ISO 8601 expected)" if value is True else reason
    assert reasons(read(tmp_path)) == [expected] * 2


def label(grade: Any) -> dict[str, Any]:
    return {"user_id": "u1", "journey_id": "j1", "grade": grade, "annotator": "a1", "occurred_at": TIME}


@pytest.mark.parametrize(
    ("grades", "read_as"), [([1, 5], [1, 5]), (["2", " 3 ", "+4", "5.0"], [2, 3, 4, 5]), ([4.0], [4])]
)
def test_a_whole_grade_from_1_to_5_is_accepted(tmp_path: Path, grades: list[Any], read_as: list[int]) -> None:
    landed = read_alike(tmp_path, [label(grade) for grade in grades], "human_labels")
    assert landed.accepted["grade"].to_list() == read_as


@pytest.mark.parametrize("grades", [[0, 6, -1, 2_000_000_000], ["0", "6"], [6.0]])
def test_a_grade_outside_1_to_5_is_rejected(tmp_path: Path, grades: list[Any]) -> None:
    landed = read_alike(tmp_path, [label(grade) for grade in grades], "human_labels")
    assert reasons(landed) == ["grade is not in 1 to 5"] * len(grades)


@pytest.mark.parametrize(
    "grades",
    [[3_000_000_000], [4.6, float("nan"), float("inf")], ["4.6", "good", "0x4", "4e0", "3_0"], [True]],
    ids=["too large", "fractions", "texts", "boolean"],
)
def test_a_grade_that_is_no_whole_number_is_rejected_and_not_rounded(tmp_path: Path, grades: list[Any]) -> None:
    landed = read_alike(tmp_path, [label(grade) for grade in grades], "human_labels")
    assert reasons(landed) == ["grade is not a whole number"] * len(grades)


def control(control: str, **about: object) -> dict[str, Any]:
    nothing = {"journey_id": None, "keyword": None, "channel": None}
    return {"user_id": "u1", "control": control, **nothing, **about, "occurred_at": TIME}


def test_a_control_names_what_it_is_about_and_an_opt_out_of_everything_names_nothing(tmp_path: Path) -> None:
    rows = [
        control("hide_journey", journey_id="j1"),
        control("not_interested", keyword="Oak table"),
        control("opt_out", channel="email"),
        control("Opt_Out"),
        control("undo", channel=" "),
        control("undo", journey_id="j1"),
        # Text columns of warehouses say so that there is nothing.
        control("opt_out", channel="NULL"),
    ]
    landed = read_alike(tmp_path, rows, "user_controls")
    accepted = landed.accepted.select("control", "journey_id", "keyword", "channel").unique().rows()
    assert landed.rejected.is_empty()
    assert set(accepted) == {
        ("hide_journey", "j1", None, None),
        ("not_interested", None, "Oak table", None),
        ("opt_out", None, None, "email"),
        ("opt_out", None, None, None),
        ("undo", None, None, None),
        ("undo", "j1", None, None),
    }


def test_a_control_that_does_not_say_what_it_is_about_is_rejected(tmp_path: Path) -> None:
    rows = [
        control("hide_journey", keyword="oak"),
        control("hide_journey", journey_id=" "),
        control("hide_journey", journey_id="null"),
        control("not_interested", journey_id="j1"),
        control("undo", journey_id="j1", keyword="oak"),
        control("mute"),
        control("not_interested", keyword="x" * 51),
    ]
    landed = read_alike(tmp_path, rows, "user_controls")
    assert reasons(landed) == [
        *["hide_journey names no journey_id"] * 3,
        "not_interested names no keyword",
        "undo names more than one of journey_id, keyword and channel",
        "unknown control mute",
        "keyword is longer than 50 characters",
    ]


def test_a_file_need_not_have_the_columns_that_none_of_its_controls_is_about(tmp_path: Path) -> None:
    row = {"user_id": "u1", "control": "hide_journey", "journey_id": "j1", "occurred_at": TIME}
    landed = read_alike(tmp_path, [row, {**row, "control": "opt_out"}], "user_controls")
    assert landed.accepted["control"].unique().sort().to_list() == ["hide_journey", "opt_out"]
    assert landed.accepted["channel"].null_count() == landed.accepted.height


def test_an_unknown_action_is_rejected_and_named(tmp_path: Path) -> None:
    rows = [{"user_id": "u1", "item_id": "i1", "action": "teleport", "occurred_at": TIME}]
    assert reasons(read_alike(tmp_path, rows, "engagements")) == ["unknown action teleport"]


def test_an_unknown_action_that_is_no_plain_word_is_not_repeated(tmp_path: Path) -> None:
    actions = ("my name is Ann", "<b>save</b>", "x" * 40, "sparen für später")
    rows = [{"user_id": "u1", "item_id": "i1", "action": action, "occurred_at": TIME} for action in actions]
    assert reasons(read_alike(tmp_path, rows, "engagements")) == ["unknown action"] * 4


def test_every_event_of_a_notification_is_known(tmp_path: Path) -> None:
    events = ["clicked", "opened", "sent", "thumbs_down", "thumbs_up"]
    rows = [{**ROWS_OF_SOURCE["notification_feedback"][0], "event": event} for event in events]
    assert read_alike(tmp_path, rows, "notification_feedback").accepted["event"].to_list() == events


def test_an_unknown_notification_event_is_rejected(tmp_path: Path) -> None:
    write_rows(tmp_path / "part.csv", [{**ROWS_OF_SOURCE["notification_feedback"][0], "event": "eaten"}])
    assert reasons(read(tmp_path, "notification_feedback")) == ["unknown event eaten"]


def item(annotations: Any, item_id: str = "i1") -> dict[str, Any]:
    return {"item_id": item_id, "title": "Table", "annotations": annotations}


def test_a_list_may_be_written_as_text(tmp_path: Path) -> None:
    lists = {
        "oak": ["oak"],
        "oak|pine": ["oak", "pine"],
        " oak | |\t|pine": ["oak", "pine"],
        "|": [],
        '["oak", "pine"]': ["oak", "pine"],
        '["oak", null, 7]': ["oak", "7"],
        "[]": [],
    }
    landed = read_alike(tmp_path, [item(written, item_id=written) for written in lists], "items")
    expected = {written.strip(): texts for written, texts in lists.items()}
    assert dict(landed.accepted.select("item_id", "annotations").rows()) == expected


def test_text_that_starts_a_list_but_is_no_list_of_texts_is_rejected(tmp_path: Path) -> None:
    written = ('[{"name": "oak"}]', '[["oak"]]', "[true]", "[1.5]", "[oak] table", '["oak"')
    landed = read_alike(tmp_path, [item(text) for text in written], "items")
    assert reasons(landed) == ["annotations is not a list of texts"] * len(written)


@pytest.mark.parametrize("value", [[{"name": "oak"}], [["oak"]], [True], [1.5], {"a": "oak"}, 7])
@pytest.mark.parametrize("suffix", ["parquet", "ndjson"])
def test_values_of_another_type_are_no_list_of_texts(tmp_path: Path, suffix: str, value: Any) -> None:
    write_rows(tmp_path / f"part.{suffix}", [item(value)])
    assert reasons(read(tmp_path, "items")) == ["annotations is not a list of texts"]


@pytest.mark.parametrize(
    ("column", "read_as"),
    [
        (pa.array([["oak", None, " "]]), ["oak"]),
        (pa.array([[7]]), ["7"]),
        (pa.array([[]], pa.list_(pa.null())), []),
        (pa.array([None]), []),
        (pa.array([["oak"]], pa.list_(pa.string(), 1)), ["oak"]),
        (pa.array([["oak"]], pa.large_list(pa.large_string())), ["oak"]),
    ],
    ids=["with nulls", "numbers", "no type", "null", "fixed size", "large"],
)
def test_parquet_lists_of_every_kind_are_read(tmp_path: Path, column: pa.Array, read_as: list[str]) -> None:
    table = pa.table({"item_id": ["i1"], "title": ["Table"], "annotations": column})
    pq.write_table(table, tmp_path / "part.parquet")
    assert read(tmp_path, "items").accepted["annotations"].to_list() == [read_as]


def test_a_list_that_is_not_there_is_empty(tmp_path: Path) -> None:
    landed = read_alike(tmp_path, [{"item_id": "i1", "title": "Table"}], "items")
    assert landed.accepted.select("annotations", "interests").rows() == [([], [])]


def test_one_over_long_text_in_a_list_rejects_the_row(tmp_path: Path) -> None:
    assert reasons(read_alike(tmp_path, [item(["oak", "x" * (MAX_TEXT_LENGTH + 1)])], "items")) == [
        f"annotations holds a text longer than {MAX_TEXT_LENGTH} characters"
    ]


# ---- columns ----


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_a_missing_column_rejects_every_row_of_its_file_only(tmp_path: Path, suffix: str) -> None:
    write_rows(tmp_path / f"bad.{suffix}", [{"user_id": "u1", "search_text": "oak", "occurred_at": TIME}] * 2)
    write_rows(tmp_path / f"good.{suffix}", [search()])
    landed = read(tmp_path)
    assert users(landed) == ["u1"]
    assert reasons(landed) == ["column query is missing from the file, which has user_id, search_text, occurred_at"] * 2
    assert set(landed.rejected["file"]) == {f"bad.{suffix}"}


def test_a_missing_json_key_rejects_its_row_only(tmp_path: Path) -> None:
    write_rows(tmp_path / "part.ndjson", [{"user_id": "u1", "search_text": "oak", "occurred_at": TIME}, search()])
    landed = read(tmp_path)
    assert users(landed) == ["u1"]
    assert reasons(landed) == ["query is missing"]


def test_further_columns_and_another_order_do_not_matter(tmp_path: Path) -> None:
    row = {"device": "phone", "occurred_at": TIME, "query": "oak", "user_id": "u1"}
    assert read_alike(tmp_path, [row]).accepted.rows() == [(DAY, "u1", "oak", NOON)]


FURTHER_NAMES = (
    *("path", "filename", "row_number", "line", "json_line", "c0", "raw", "rows", "text_rows"),
    *("arrival_day", "file", "reason", "missing query", "User_ID", 'quo"ted', "it's", "two words", ""),
)


def test_further_columns_may_have_any_name(tmp_path: Path) -> None:
    further = {name: f"value {number}" for number, name in enumerate(FURTHER_NAMES)}
    landed = read_alike(tmp_path, [{**search(), **further}, {**search(query=" "), **further}])
    assert landed.accepted.rows() == [(DAY, "u1", "oak", NOON)]
    assert landed.rejected.select("row_number", "reason").rows() == [(2, "query is blank")]
    assert set(json.loads(landed.rejected["row"][0]).values()) >= set(further.values())


def test_further_columns_may_have_any_type(tmp_path: Path) -> None:
    columns = {
        "fraction": [float("nan")],
        "half": pa.array([1.5], pa.float16()),
        "bytes": [b"\xff\x00"],
        "duration": [timedelta(days=1)],
        "time": [NOON.time()],
        "struct": [{"a": 1, "A": [None]}],
        "map": pa.array([[("key", 1)]], pa.map_(pa.string(), pa.int32())),
    }
    pq.write_table(searches_table(**columns), tmp_path / "good.parquet")
    pq.write_table(searches_table(**columns, query=[" "]), tmp_path / "bad.parquet")
    assert counts(read(tmp_path)) == (2, 1, 0, 1)


def test_files_of_one_day_may_have_different_schemas(tmp_path: Path) -> None:
    pq.write_table(searches_table(user_id=[7]), tmp_path / "numbers.parquet")
    pq.write_table(searches_table(user_id=["u1"], device=["phone"]), tmp_path / "further.parquet")
    pq.write_table(searches_table(user_id=["u2"], occurred_at=["2025-06-01T14:00:00+02:00"]), tmp_path / "text.parquet")
    write_rows(tmp_path / "numbers.ndjson", [{**search(), "user_id": 8}])
    write_rows(tmp_path / "order.csv", [{"occurred_at": TIME, "query": "oak", "user_id": "u3"}])
    landed = read(tmp_path)
    assert reasons(landed) == []
    assert users(landed) == ["7", "8", "u1", "u2", "u3"]
    assert landed.accepted["occurred_at"].unique().to_list() == [NOON]


# ---- CSV ----


def read_csv(folder: Path, text: str) -> LandedRows:
    (folder / "part.csv").write_bytes(text.encode("utf-8"))
    return read(folder)


@pytest.mark.parametrize(
    "line",
    [
        f'bad,"oak,{TIME}',
        f'bad,"oak" table,{TIME}',
        f'bad,oak,"{TIME}',
        f'"bad,oak,{TIME}',
        f'"bad"-oak,{TIME}',
        "bad,oak",
        f"bad,oak,{TIME},more",
        "bad",
    ],
)
def test_a_csv_line_that_does_not_split_costs_one_row(tmp_path: Path, line: str) -> None:
    landed = read_csv(tmp_path, f"{HEADER}u1,oak,{TIME}\n{line}\nu2,oak,{TIME}\nu3,oak,{TIME}\n")
    assert users(landed) == ["u1", "u2", "u3"]
    assert landed.rejected.select("row_number", "row").rows() == [(2, line)]
    assert reasons(landed) == [
        "the line does not split into the columns of the header: a stray quote, or too many or too few fields"
    ]


def test_a_stray_quote_in_the_last_line_costs_one_row(tmp_path: Path) -> None:
    landed = read_csv(tmp_path, f'{HEADER}u1,oak,{TIME}\nu2,"oak,{TIME}')
    assert users(landed) == ["u1"]
    assert counts(landed) == (2, 1, 0, 1)


def test_stray_quotes_cost_one_row_each(tmp_path: Path) -> None:
    lines = [f'u{number},"oak,{TIME}\n' if number % 3 == 0 else f"u{number},oak,{TIME}\n" for number in range(300)]
    assert counts(read_csv(tmp_path, HEADER + "".join(lines))) == (300, 200, 0, 100)


@pytest.mark.parametrize("query", ['6" nails', 'the "best" oak', 'oak"'])
def test_a_quote_inside_an_unquoted_csv_field_is_text(tmp_path: Path, query: str) -> None:
    assert read_csv(tmp_path, f"{HEADER}u1,{query},{TIME}\n").accepted["query"].to_list() == [query]


def test_a_quoted_csv_field_may_span_lines(tmp_path: Path) -> None:
    landed = read_csv(tmp_path, f'{HEADER}u1,"oak\n\n""table"", low",{TIME}\nu2,oak,\n')
    assert landed.accepted["query"].to_list() == ['oak\n\n"table", low']
    assert landed.rejected["row_number"].to_list() == [4]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_every_line_ending_is_known(tmp_path: Path, ending: str) -> None:
    landed = read_csv(tmp_path, f"{HEADER}u1,oak,{TIME}\nu2,pine,{TIME}\n".replace("\n", ending))
    assert landed.accepted["query"].to_list() == ["oak", "pine"]


def test_a_last_line_without_ending_counts(tmp_path: Path) -> None:
    assert users(read_csv(tmp_path, f"{HEADER}u1,oak,{TIME}")) == ["u1"]


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    (tmp_path / "part.ndjson").write_bytes(b"\xef\xbb\xbf" + json.dumps(search(user_id="u2")).encode())
    assert users(read_csv(tmp_path, f"\ufeff{HEADER}u1,oak,{TIME}\n")) == ["u1", "u2"]


def test_blank_lines_are_no_rows_but_are_counted_in_the_row_number(tmp_path: Path) -> None:
    (tmp_path / "part.ndjson").write_text(f"\n \t\r\n{json.dumps(search())}\n\nbad\n\n")
    landed = read_csv(tmp_path, f"{HEADER}\n  \nu1,oak,{TIME}\n\nbad\n\n")
    assert landed.rejected["row_number"].to_list() == [5, 5]
    assert counts(landed) == (4, 1, 1, 2)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("sep=;\n", "it has no header line; a CSV file starts with one"),
        (
            f"u1,oak,{TIME}\nu2,oak,{TIME}\n",
            "its first line, of 3 fields, names no column of the source: write a header line, or name the columns in "
            "the settings",
        ),
        ("user_id,query,query\n", "its header repeats a column (field 3)"),
        ('user_id,"query,occurred_at\n', "its header line has a stray quote"),
    ],
)
def test_a_csv_file_without_a_sound_header_is_unreadable(tmp_path: Path, text: str, reason: str) -> None:
    assert reasons(read_csv(tmp_path, text)) == [f"unreadable file: {reason}"]


def test_a_csv_file_may_have_further_columns_without_name(tmp_path: Path) -> None:
    assert users(read_csv(tmp_path, f"user_id,query,occurred_at,,\nu1,oak,{TIME},,\n")) == ["u1"]


def test_a_header_alone_is_a_file_without_rows(tmp_path: Path) -> None:
    landed = read_csv(tmp_path, HEADER)
    assert reasons(landed) == []
    assert counts(landed) == (0, 0, 0, 0)


# ---- NDJSON ----


NO_JSON_OBJECTS = (
    *("{", "{'user_id': 'bad'}", "null", "7", '"text"', "[]", "[7]"),
    '{"user_id": "raw\0byte"}',
)


def test_a_line_that_is_no_json_object_costs_one_row(tmp_path: Path) -> None:
    good = [json.dumps(search(user_id=f"u{number}")) for number in range(len(NO_JSON_OBJECTS))]
    lines = [line for pair in zip(NO_JSON_OBJECTS, good, strict=True) for line in pair]
    (tmp_path / "part.ndjson").write_text("\n".join(lines))
    landed = read(tmp_path)
    assert len(users(landed)) == len(good)
    assert landed.rejected.select("row_number", "reason", "row").rows() == [
        (2 * index + 1, "the line is not a JSON object", line) for index, line in enumerate(NO_JSON_OBJECTS)
    ]


def test_deeply_nested_json_costs_one_row(tmp_path: Path) -> None:
    nested = "[" * 50_000 + "]" * 50_000
    (tmp_path / "part.ndjson").write_text(f'{{"user_id": {nested}}}\n{json.dumps(search())}\n')
    landed = read(tmp_path)
    assert users(landed) == ["u1"]
    assert reasons(landed) == ["user_id is not text"]


def test_numbers_in_json_are_ids_as_written(tmp_path: Path) -> None:
    (tmp_path / "part.ndjson").write_text(
        "".join(
            f'{{"user_id": {number}, "query": "oak", "occurred_at": "{TIME}"}}\n'
            for number in (3, -7, 2**53 + 1, 2**64 - 1)
        )
    )
    assert users(read(tmp_path)) == ["-7", str(2**64 - 1), "3", str(2**53 + 1)]


# ---- files that cannot be read ----


def truncated_parquet(path: Path) -> None:
    write_rows(path, [search()])
    path.write_bytes(path.read_bytes()[:-20])


def parquet_with_a_broken_page(path: Path) -> None:
    write_rows(path, [search()])
    content = path.read_bytes()
    path.write_bytes(content[:4] + bytes(40) + content[44:])


def parquet_with_text_that_is_not_utf8(path: Path) -> None:
    column = pa.StringArray.from_buffers(1, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe"))
    pq.write_table(searches_table(user_id=column), path)


def parquet_with_a_negative_size(path: Path) -> None:
    """DuckDB breaks down on such a file, and with it its database."""
    pq.write_table(searches_table(), path, compression="none", use_dictionary=False, write_statistics=False)
    sizes = re.compile(rb"(\x16.\x16).(?=\x26)", flags=re.DOTALL)
    path.write_bytes(sizes.sub(b"\\1\x01", path.read_bytes()))


def parquet_with_a_name_that_is_not_utf8(path: Path) -> None:
    pq.write_table(searches_table(), path, store_schema=False)
    path.write_bytes(path.read_bytes().replace(b"occurred_at", b"occurred\xffat"))


UNREADABLE = {
    "magic only.parquet": lambda path: path.write_bytes(b"PAR1PAR1"),
    "text.parquet": lambda path: path.write_text(HEADER),
    "truncated.parquet": truncated_parquet,
    "broken page.parquet": parquet_with_a_broken_page,
    "not utf8.parquet": parquet_with_text_that_is_not_utf8,
    "negative size.parquet": parquet_with_a_negative_size,
    "name not utf8.parquet": parquet_with_a_name_that_is_not_utf8,
    "folder.parquet": lambda path: path.mkdir(),
    "nowhere.parquet": lambda path: path.symlink_to("nowhere"),
    "utf16 without a mark.csv": lambda path: path.write_bytes(HEADER.encode("utf-16-le")),
    "cut.csv": lambda path: path.write_bytes(gzip.compress(HEADER.encode() * 99)[:40]),
    "avro.csv": lambda path: path.write_bytes(b"Obj\x01" + bytes(40)),
    "workbook.csv": lambda path: path.write_bytes(b"PK\x03\x04" + bytes(40)),
    "folder.csv": lambda path: path.mkdir(),
    "nowhere.csv": lambda path: path.symlink_to("nowhere"),
    "folder.ndjson": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("name", list(UNREADABLE))
def test_an_unreadable_file_is_reported_and_the_others_still_count(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "it's a [folder]"
    folder.mkdir()
    UNREADABLE[name](folder / name)
    suffix = name.rpartition(".")[2]
    write_rows(folder / f"good.{suffix}", [search()])
    landed = read(folder)
    assert users(landed) == ["u1"]
    assert counts(landed) == (1, 1, 0, 0)
    assert landed.days.select("files", "unreadable_files").rows() == [(2, 1)]
    (rejected,) = landed.rejected.to_dicts()
    assert (rejected["file"], rejected["row_number"], rejected["row"]) == (name, None, None)
    assert rejected["reason"].startswith("unreadable file: ")


def test_files_on_which_the_database_breaks_down_cost_only_themselves(tmp_path: Path) -> None:
    for suffix in FORMATS:
        write_rows(tmp_path / f"good.{suffix}", [search(user_id=suffix), search(query=" ")])
    for name in ("a", "z"):
        parquet_with_a_negative_size(tmp_path / f"{name}.parquet")
    landed = read(tmp_path)
    assert users(landed) == ["csv", "ndjson", "parquet"]
    assert counts(landed) == (6, 3, 0, 3)
    assert landed.rejected.filter(pl.col("row").is_null())["file"].to_list() == ["a.parquet", "z.parquet"]
    assert landed.days["unreadable_files"].to_list() == [2]


def test_reasons_are_one_readable_line_without_folders(tmp_path: Path) -> None:
    folder = tmp_path / "it's a [folder]"
    folder.mkdir()
    for name, write in UNREADABLE.items():
        write(folder / name)
    for reason in reasons(read(folder)):
        assert reason.isprintable()
        assert len(reason) < 250
        assert len(reason.removeprefix("unreadable file: ").split()) >= 4
        assert tmp_path.name not in reason
        assert "[folder]" not in reason.replace("[[]", "[")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (duckdb.Error("Invalid Input Error: type \x0f\tof '/day/part.parquet'\nmore"), "type   of 'part.parquet'"),
        (duckdb.Error("No files match '/day/part.parquet'"), "No files match 'part.parquet'"),
        (duckdb.Error(""), "Error"),
        (duckdb.Error("x" * 1000), "x" * 187),
        (duckdb.Error('file "a": value "my\n"own"\\xFF" is not UTF8!'), 'file "a": a value is not UTF8!'),
    ],
)
def test_an_error_of_duckdb_becomes_one_short_line(error: Exception, text: str) -> None:
    assert failure_text(error, Path("/day/part.parquet")) == f"DuckDB says: {text}"


def test_a_file_that_may_not_be_read_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_rows(tmp_path / "part.csv", [search()])

    def refuse(path: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    assert reasons(read(tmp_path)) == ["unreadable file: Permission denied"]


def test_a_file_name_that_is_not_utf8_is_reported(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff.csv"
    Path(os.fsdecode(path)).write_text(f"{HEADER}u1,oak,{TIME}\n")
    write_rows(tmp_path / "good.csv", [search(user_id="u2")])
    landed = read(tmp_path)
    assert users(landed) == ["u2"]
    assert landed.rejected.select("file", "reason").rows() == [
        ("\ufffd.csv", "unreadable file: its name is not UTF-8 text")
    ]


@pytest.mark.parametrize("name", ["file_row_number", "landing_path"])
def test_a_parquet_column_with_a_reserved_name_is_reported(tmp_path: Path, name: str) -> None:
    write_rows(tmp_path / "part.parquet", [{**search(), name: 1}])
    (reason,) = reasons(read(tmp_path))
    assert name in reason


# ---- folders and file names ----


ODD_NAMES = (
    *("it's", 'say "oak"', "part 0 of 1", "[a-z]", "[!a]*?", "{a,b}", "back\\slash", "50%20off&#;", "küche 🏡"),
    *("new\nline", "date=2020-01-01"),
)


@pytest.mark.parametrize("folder_name", ["date=2025-06-01", "it's [a-z]*?", "back\\slash [a-z]*? {}"])
def test_file_and_folder_names_may_hold_any_character(tmp_path: Path, folder_name: str) -> None:
    folder = tmp_path / folder_name
    folder.mkdir()
    names = [f"{name}.{suffix}" for name in ODD_NAMES for suffix in FORMATS]
    for name in names:
        write_rows(folder / name, [search(user_id=name), search(query=" ")])
    landed = read(folder)
    assert users(landed) == sorted(names)
    assert landed.rejected["file"].to_list() == sorted(names)


@pytest.mark.parametrize("way", ["[day]/inner/..", "link", "./[day]"])
def test_a_folder_may_be_given_by_a_winding_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    folder = tmp_path / "[day]"
    (folder / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to(folder)
    for suffix in FORMATS:
        write_rows(folder / f"part.{suffix}", [search(user_id=suffix)])
    monkeypatch.chdir(tmp_path)
    assert users(read(Path(way))) == ["csv", "ndjson", "parquet"]


@pytest.mark.parametrize("name", ["_part.csv", ".part.csv", "_SUCCESS", "part.csv.crc", "part.csv.tmp", "Thumbs.db"])
def test_other_files_are_not_data(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("anything")
    landed = read(tmp_path)
    assert landed.days["files"].to_list() == [0]
    assert reasons(landed) == []


def test_endings_in_capitals_are_known(tmp_path: Path) -> None:
    for number, suffix in enumerate(FORMATS):
        write_rows(tmp_path / f"part.{suffix}", [search(user_id=f"u{number}")])
        (tmp_path / f"part.{suffix}").rename(tmp_path / f"PART.{suffix.upper()}")
    assert users(read(tmp_path)) == ["u0", "u1", "u2"]


def test_an_empty_day_has_a_record_and_no_rows(tmp_path: Path) -> None:
    (tmp_path / "_SUCCESS").touch()
    landed = read(tmp_path)
    assert landed.days.drop("fingerprint").rows() == [(DAY, "searches", 0, 0, 0, 0, 0, 0, 0)]
    assert landed.accepted.is_empty()
    assert landed.rejected.is_empty()


def test_a_parquet_file_without_rows_is_readable(tmp_path: Path) -> None:
    pq.write_table(searches_table().slice(0, 0), tmp_path / "part.parquet")
    landed = read(tmp_path)
    assert reasons(landed) == []
    assert counts(landed) == (0, 0, 0, 0)


def test_reading_leaves_the_landing_zone_and_the_working_folder_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    (tmp_path / "day").mkdir()
    for suffix in FORMATS:
        write_rows(tmp_path / "day" / f"part.{suffix}", [search()])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    read(tmp_path / "day")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("suffix", ["csv", "ndjson"])
def test_text_files_read_in_several_goes_give_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setattr(files_module, "_TEXT_ROWS_AT_ONCE", 3)
    for letter in string.ascii_lowercase[:6]:
        write_rows(tmp_path / f"{letter}.{suffix}", [search(user_id=f"{letter}{number}") for number in range(2)])
    landed = read(tmp_path)
    assert users(landed) == [f"{letter}{number}" for letter in "abcdef" for number in range(2)]
    assert counts(landed) == (12, 12, 0, 0)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_group_of_files_can_be_read_one_by_one(tmp_path: Path, suffix: str) -> None:
    for name in ("it's", "b"):
        write_rows(tmp_path / f"{name}.{suffix}", [search(), search()])
    with duckdb.connect() as connection:
        (group,) = file_groups(connection, landing_files(tmp_path), unreadable := {}, **OF_SEARCHES)
        assert unreadable == {}
        assert len(group.paths) == 2
    with duckdb.connect() as connection:
        for group in file_groups(connection, landing_files(tmp_path), {}, **OF_SEARCHES):
            for single in group.single_files():
                rows = connection.sql(f"select path, row_number from ({single.relation_sql})").fetchall()
                assert sorted(rows) == [(str(single.paths[0]), 1), (str(single.paths[0]), 2)]


# ---- fingerprint ----


def test_the_fingerprint_is_stable_and_without_folder(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "part.csv").write_text("x")
        os.utime(tmp_path / name / "part.csv", ns=(1, 1))
    assert fingerprint(landing_files(tmp_path / "a")) == fingerprint(landing_files(tmp_path / "b"))


def add_file(folder: Path) -> None:
    (folder / "more.csv").touch()


def rename_file(folder: Path) -> None:
    (folder / "part.csv").rename(folder / "other.csv")


def touch_file(folder: Path) -> None:
    os.utime(folder / "part.csv", ns=(2, 2))


def lengthen_file(folder: Path) -> None:
    (folder / "part.csv").write_text("xy")
    os.utime(folder / "part.csv", ns=(1, 1))


def break_link(folder: Path) -> None:
    (folder / "part.csv").unlink()
    (folder / "part.csv").symlink_to("nowhere")


@pytest.mark.parametrize("change", [add_file, rename_file, touch_file, lengthen_file, break_link])
def test_the_fingerprint_changes_with_the_files(tmp_path: Path, change: Any) -> None:
    (tmp_path / "part.csv").write_text("x")
    os.utime(tmp_path / "part.csv", ns=(1, 1))
    before = fingerprint(landing_files(tmp_path))
    change(tmp_path)
    assert fingerprint(landing_files(tmp_path)) != before


def test_the_record_of_a_day_has_its_fingerprint(tmp_path: Path) -> None:
    write_rows(tmp_path / "part.csv", [search()])
    assert read(tmp_path).days["fingerprint"].to_list() == [fingerprint(landing_files(tmp_path))]


def test_a_file_that_changes_while_it_is_read_makes_the_day_look_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows(tmp_path / "part.csv", [search()])

    def change_after_reading(*arguments: Any, **named: Any) -> Any:
        yield from file_groups(*arguments, **named)
        write_rows(tmp_path / "part.csv", [search(), search(user_id="u2")])

    monkeypatch.setattr(reader_module, "file_groups", change_after_reading)
    assert read(tmp_path).days["fingerprint"].to_list() != [fingerprint(landing_files(tmp_path))]
