"""Rejected rows as people meet them: what to do, what they look like, and that nobody's words or ids are shown."""

import json
import re
from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from assets.sources import write_landed
from journeys_dagster.cli import cli
from journeys_dagster.resources.home import Home
from journeys_dagster.settings import Settings
from journeys_dagster.sources.contracts import declared_sources
from journeys_dagster.sources.cures import cure
from journeys_dagster.sources.reader import read_days
from journeys_dagster.sources.shapes import row_shape, shape

SOURCES = declared_sources(Settings())
DAY, NEXT = date(2025, 6, 10), date(2025, 6, 11)


def rejected(home: Home, *words: str) -> Result:
    return CliRunner().invoke(cli, ["rejected", *words], env={"JOURNEYS_HOME": str(home.path)})


def ingest(home: Home, source: str, day: date, **files: str | bytes) -> None:
    folder = home.landing_zone().folder(source, day)
    folder.mkdir(parents=True)
    for name, content in files.items():
        path = folder / name.replace("_", ".")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    landed = read_days(SOURCES[source], {day: folder}, Settings().landing)
    write_landed(home.warehouse(Settings()), SOURCES[source], landed, [day])


@pytest.fixture
def with_rejected(home: Home) -> Home:
    lines = [
        "user_id,query,occurred_at",
        "kim-17,dinner ideas,2036-06-10T09:00:00Z",
        "kim-17,garden paths,2036-06-10T09:05:00Z",
        'lea-4,"a loose quote,2025-06-10T09:00:00Z',
        ",lost,2025-06-10T09:00:00Z",
        "lea-4,fine,2025-06-10T09:00:00Z",
    ]
    ingest(home, "searches", DAY, a_csv="\n".join(lines), b_parquet=b"no parquet")
    lamp = {"user_id": "kim-17", "item_id": "lamp 9"}
    ingest(
        home,
        "engagements",
        NEXT,
        a_ndjson=json.dumps({**lamp, "action": "lick", "occurred_at": "2025-06-11T08:00:00Z"}),
    )
    return home


def test_rejected_rows_are_shown_by_reason_with_the_cure_and_one_by_one_newest_first(with_rejected: Home) -> None:
    found = json.loads(rejected(with_rejected, "--json").stdout)
    assert found["rejected"] == 6
    clock = next(each for each in found["reasons"] if each["rows"] == 2)
    assert (clock["reason"], clock["days"], clock["first_day"], clock["first_file"], clock["first_row"]) == (
        "occurred_at is in the future of the arrival day",
        1,
        "2025-06-10",
        "a.csv",
        1,
    )
    assert "clock" in clock["cure"]
    assert "zone" in clock["cure"]
    assert all(each["cure"] for each in found["reasons"])
    assert [row["day"] for row in found["rows"]] == ["2025-06-11", *["2025-06-10"] * 5]
    assert found["rows"][0]["shape"] == (
        "user_id: xxx-99, item_id: xxxx 9, action: lick, occurred_at: 2025-06-11T08:00:00Z"
    )
    assert found["rows"][1]["shape"] == ("user_id: xxx-99, query: xxxxxx xxxxx, occurred_at: 2036-06-10T09:00:00Z")
    assert found["rows"][3]["shape"].startswith('xxx-9,"x xxxxx xxxxx,9999-99-99x99:99:99x')

    output = rejected(with_rejected).output
    assert "6 rejected in all." in output
    for shown in ("2036-06-10T09:00:00Z", "action: lick", "unknown action lick", "b.parquet"):
        assert shown in " ".join(output.split())
    for hidden in ("kim-17", "lea-4", "dinner", "garden", "lamp", "loose"):
        assert hidden not in output


def test_rejected_rows_of_a_day_and_of_a_source(with_rejected: Home) -> None:
    of_day = json.loads(rejected(with_rejected, "--day", "2025-06-11", "--json").stdout)
    assert (of_day["rejected"], {row["source"] for row in of_day["rows"]}) == (1, {"engagements"})
    of_source = json.loads(rejected(with_rejected, "--source", "searches", "--limit", "2", "--json").stdout)
    assert (of_source["rejected"], len(of_source["rows"])) == (5, 2)
    assert "No row is rejected." in rejected(with_rejected, "--source", "items").output
    wrong = rejected(with_rejected, "--source", "payments")
    assert wrong.exit_code == 2
    assert "engagements" in wrong.output


def test_rejected_before_any_run_says_so(home: Home) -> None:
    result = rejected(home)
    assert result.exit_code == 1
    assert "nothing has been run" in result.output


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("occurred_at is in the future of the arrival day", "clock"),
        ("occurred_at is before 1970", "clock"),
        ("occurred_at is not a time (ISO 8601 expected)", "2025-06-30T12:00:00Z"),
        ("occurred_at is missing", "fill it in"),
        ("user_id is not text", "id"),
        ("user_id is a word for nobody or nothing (landing.no_user)", "landing.no_user"),
        ("user_id is a number with a fraction, or too large to be exact: write it as text", "text"),
        ("occurred_at is a number: say in sources.searches.time_unit whether it counts s, ms, us or ns", "unit"),
        ("occurred_at does not tell the day from the month: write 2025-06-30T14:00:00Z", "year first"),
        ("annotations look like a list with another separator than |: write a|b|c, or JSON", "JSON"),
        ("the line has a backslash before a quote: write a quote inside a quoted field twice", "double quotes"),
        ("the line is not UTF-8 text", "UTF-8"),
        ("column query is missing from the file, which has a, b", "[sources]"),
        ("unreadable file: columns a, A could each be query; keep one of them, or name it in the settings", "keep one"),
        (
            "unreadable file: its first line, of one field, names no column of the source: write a header line",
            "first line",
        ),
        ("unreadable file: its format (Avro) is not read; write Parquet, CSV or NDJSON", "Parquet"),
        ("query is longer than 500 characters", "landing.max_text_length"),
        ("annotations holds a text longer than 500 characters", "landing.max_text_length"),
        ("annotations is not a list of texts", "a|b|c"),
        ("unknown action lick", "keywords.action_weights"),
        ("unknown event", "contract"),
        ("grade is not a whole number", "decimals"),
        ("grade is not in 1 to 5", "bounds"),
        ("the line is not a JSON object", "one JSON object"),
        ("unreadable file: it is a folder; files are read from the day's own folder only", "move its files up"),
        ("unreadable file: its header repeats a column (field 2)", "name of its own"),
        ("unreadable file: it is damaged; DuckDB breaks down on it", "damaged"),
        ("unreadable file: No such file or directory", "run the day again"),
    ],
)
def test_every_reason_has_a_cure_and_none_is_to_let_more_be_lost(reason: str, word: str) -> None:
    assert word in cure(reason)
    assert "max_rejected_share" not in cure(reason)


def test_an_unknown_reason_has_no_cure() -> None:
    assert cure("the moon is full") == ""


def test_a_shape_keeps_what_is_wrong() -> None:
    assert shape('Ünïcode 12.0, "x\t\u200b') == 'xxxxxxx 99.9, "x<U+0009><U+200B>'
    assert shape("ab" * 100) == f"{'x' * 60}… (200 characters)"


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("2025-06-30 12:00:01 UTC", "2025-06-30 12:00:01 UTC"),
        ("2025-06-30 05:00:01.000 -0700", "2025-06-30 05:00:01.000 -0700"),
        ("2025-06-30 14:00:01.000 Europe/Berlin", "2025-06-30 14:00:01.000 Europe/Berlin"),
        ("30.06.2025", "30.06.2025"),
        ("6/30/2025 9:05 PM", "6/30/2025 9:05 PM"),
        ("1751284801", "9999999999"),
        ("+49 170 1234567", "+99 999 9999999"),
        ("anna@example.com", "xxxx@xxxxxxx.xxx"),
    ],
)
def test_times_are_shown_and_what_only_stands_in_their_column_is_not(written: str, shown: str) -> None:
    row = json.dumps({"occurred_at": written})
    assert row_shape(row, SOURCES["searches"]) == f"occurred_at: {shown}"


def test_columns_named_by_a_users_row_are_shapes() -> None:
    row = json.dumps({"kim-17": "lea-4", "running shoes": None, " User_ID ": 12.0})
    assert row_shape(row, SOURCES["searches"]) == "xxx-99: xxx-9, xxxxxxx xxxxx: null,  User_ID : 99.9"
    assert row_shape(json.dumps({"annotations": ["a b", {"c": 1}]}), SOURCES["items"]) == (
        'annotations: [x x, {"x": 9}]'
    )


texts = st.text(st.characters(categories=("L", "N")), min_size=3, max_size=40)


@given(texts, texts, st.sampled_from(list(SOURCES)))
def test_no_letter_or_digit_of_an_id_or_a_text_is_shown(first: str, second: str, source: str) -> None:
    row = {
        name: first
        for name, field in SOURCES[source].fields.items()
        if field.kind in {"text", "id"} and not field.one_of
    }
    for written in (json.dumps({**row, second: second}), f"{first},{second}", json.dumps([first, second])):
        shown = re.sub(r"… \([\d,]+ characters\)$", "", row_shape(written, SOURCES[source]))
        for name in SOURCES[source].fields:
            shown = shown.replace(name, "")
        assert {char for char in shown if char.isalnum()} <= {"x", "9"}


def test_what_is_no_row_at_all_is_shown_too(tmp_path: Path) -> None:
    assert row_shape(None, None) == ""
    assert row_shape("[" * 100_000, None).endswith("(100,000 characters)")
