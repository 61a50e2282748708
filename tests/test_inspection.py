"""Inspecting a landing zone: each thing that can be wrong with one is found, told without ids, and nothing is "
"written."""

import json
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from journeys_dagster.cli import cli
from journeys_dagster.settings import Settings
from journeys_dagster.sources import inspected_rows, inspection
from journeys_dagster.sources.contracts import declared_sources
from journeys_dagster.sources.inspection import inspect_zone
from journeys_dagster.sources.reader import read_days
from journeys_dagster.sources.writer import day_folder

DAY = date(2025, 6, 1)
NOON = datetime(2025, 6, 1, 12, 34, 56)
Rows = Sequence[dict[str, Any]]
Placed = Sequence[tuple[date, dict[str, Any]]]


def put(
    landing: Path, source: str, rows: Rows, *, day: date = DAY, name: str = "part-0.ndjson", mark: bool = True
) -> None:
    folder = day_folder(landing, source=source, day=day)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(f"{json.dumps(row, default=str)}\n" for row in rows))
    if mark:
        (folder / "_SUCCESS").touch()


def search(user: object = "u1", query: str = "oak table", at: object = NOON) -> dict[str, Any]:
    return {"user_id": user, "query": query, "occurred_at": at}


def save(user: object = "u1", item: object = "i1", at: object = NOON) -> dict[str, Any]:
    return {"user_id": user, "item_id": item, "action": "save", "occurred_at": at}


def item(item_id: object = "i1", *, title: str = "4711", annotations: Sequence[str] = ("oak",)) -> dict[str, Any]:
    return {"item_id": item_id, "title": title, "annotations": list(annotations), "interests": []}


def searches_of(count: int, **columns: object) -> list[dict[str, Any]]:
    """Searches of as many users, each at another second."""
    return [{**search(f"user-{n:03}", at=NOON + timedelta(seconds=n)), **columns} for n in range(count)]


def look(zone: Path, /, **sections: dict[str, Any]) -> dict[str, Any]:
    return inspect_zone(
        zone,
        Settings.model_validate(sections),
        today=date(2026, 1, 1),
        unreadable_share=lambda texts: sum("\u0e01" <= text[0] <= "\u0e5b" for text in texts) / max(len(texts), 1),
        progress=lambda *_: None,
    )


def said(report: dict[str, Any], *, about: str, severity: str | None = None) -> str:
    """All that is found about something, as one text."""
    return "\n".join(
        f"{each['said']} → {each['what_to_do']}"
        for each in report["findings"]
        if each["about"] == about and severity in {None, each["severity"]}
    )


def test_a_zone_in_order_is_ready(tmp_path: Path) -> None:
    put(tmp_path, "searches", searches_of(5))
    put(tmp_path, "engagements", [save(f"user-{n:03}") for n in range(5)])
    put(tmp_path, "items", [item()])
    report = look(tmp_path)
    assert report["findings"] == []
    assert report["verdict"] == "ready"
    found = report["sources"]["searches"]
    assert (found["rows_read"], found["rows_accepted"], found["users"], found["files"]) == (5, 5, 5, 1)
    assert (found["first_event"], found["last_event"]) == (NOON, NOON + timedelta(seconds=4))
    assert report["rejected"] == report["passed_over"] == []


def test_an_empty_zone_is_not_ready(tmp_path: Path) -> None:
    report = look(tmp_path)
    assert report["verdict"] == "not ready"
    assert "SOURCE/date=YYYY-MM-DD" in said(report, about="days", severity="stop")


def test_days_gaps_marks_and_days_to_come_are_told(tmp_path: Path) -> None:
    for number in range(40):
        if number != 3:
            day = DAY + timedelta(days=number)
            put(tmp_path, "searches", [search(at=NOON + timedelta(days=number))], day=day, mark=number != 7)
    put(tmp_path, "searches", [search(at="2026-02-01T10:00:00Z")], day=date(2026, 2, 1))
    put(tmp_path, "searches", [], day=DAY + timedelta(days=40))
    report = look(tmp_path)
    found = report["sources"]["searches"]
    assert found["days"] == 41
    assert found["incomplete_days"] == [date(2025, 6, 8)]
    assert found["days_not_over"] == [date(2026, 2, 1)]
    assert found["empty_days"] == [date(2025, 7, 11)]
    assert found["missing_days"][0] == {"first": date(2025, 6, 4), "last": date(2025, 6, 4)}
    assert found["last_complete_day"] == date(2025, 7, 11)
    text = said(report, about="days", severity="warn")
    assert "1 day (2025-06-08) without _SUCCESS would wait" in text
    assert "1 day (2026-02-01) not over yet" in text
    assert "1 day (2025-07-11) without any row" in text
    assert report["verdict"] == "ready with warnings"


def test_a_day_that_is_missing_among_many_is_told_and_closed_sundays_are_not(tmp_path: Path) -> None:
    for number in range(15):
        put(tmp_path, "searches", [search(at=NOON)], day=DAY + timedelta(days=number + (number > 4)))
        put(tmp_path, "board_items", [], day=DAY + timedelta(days=2 * number))
    text = said(look(tmp_path), about="days")
    assert "searches: no folder for 1 day between the first and the last (2025-06-06)" in text
    assert "board_items: no folder" not in text


def test_without_any_mark_nothing_would_be_read(tmp_path: Path) -> None:
    put(tmp_path, "searches", [search()], mark=False)
    (tmp_path / "searches" / "_SUCCESS").touch()
    text = said(look(tmp_path), about="days", severity="stop")
    assert "no day is complete" in text
    assert "source's own folder says of no day" in text


def test_days_to_come_alone_are_a_stop(tmp_path: Path) -> None:
    put(tmp_path, "searches", [search(at="2026-02-01T10:00:01Z")], day=date(2026, 2, 1))
    assert "no complete day is over yet" in said(look(tmp_path), about="days", severity="stop")


def test_a_zone_that_lies_one_level_too_deep_is_told_first(tmp_path: Path) -> None:
    put(tmp_path / "landing", "searches", [search()])
    (tmp_path / "a.txt").touch()
    first = look(tmp_path)["findings"][0]
    assert "read: 0 sources" in first["said"]
    assert "move searches up" in first["what_to_do"]


def test_what_is_passed_over_is_told_and_much_of_it_is_a_stop(tmp_path: Path) -> None:
    put(tmp_path, "searches", [search()])
    put(tmp_path, "engagements", [save()])
    (tmp_path / "searches" / "2025-06-02").mkdir()
    (tmp_path / "searches" / "2025-06-02" / "part-0.csv").touch()
    (tmp_path / "engagements" / "part-1.csv").touch()
    report = look(tmp_path)
    assert [each["path"] for each in report["passed_over"]] == ["engagements/part-1.csv", "searches/2025-06-02"]
    assert "searches: not read: 1 folder; read: 1 day" in said(report, about="passed over", severity="stop")
    assert "rename it to date=2025-06-02" in said(report, about="passed over", severity="stop")
    assert "engagements" in said(report, about="passed over", severity="warn")


def test_rejected_rows_are_counted_by_reason_with_a_masked_example_and_a_cure(tmp_path: Path) -> None:
    put(tmp_path, "searches", [*searches_of(9), search("anna", "blue vase", "2031-01-01T10:00:00Z")])
    report = look(tmp_path)
    (found,) = report["rejected"]
    assert found["reason"] == "occurred_at is in the future of the arrival day"
    assert (found["rows"], found["days"], found["first_file"], found["first_row"]) == (1, 1, "part-0.ndjson", 10)
    assert found["example"] == "user_id: xxxx, query: xxxx xxxx, occurred_at: 2031-01-01T10:00:00Z"
    assert "clock" in found["what_to_do"]
    assert report["sources"]["searches"]["days_held_up"] == [DAY]
    assert "1 of 10 rows would be rejected" in said(report, about="rejected", severity="stop")
    lenient = look(tmp_path, landing={"max_rejected_share": 0.5})
    assert lenient["verdict"] == "ready with warnings"
    assert "1 of 10 rows would be rejected" in said(lenient, about="rejected", severity="warn")


def test_files_that_cannot_be_read_are_counted_by_reason(tmp_path: Path) -> None:
    put(tmp_path, "searches", searches_of(3))
    for name in ("a.parquet", "b.parquet"):
        (day_folder(tmp_path, source="searches", day=DAY) / name).write_bytes(b"PAR1 cut")
    report = look(tmp_path)
    (found,) = report["rejected"]
    assert (found["files"], found["rows"], found["days"]) == (2, 0, 1)
    assert found["first_file"] == "a.parquet"
    assert report["sources"]["searches"]["unreadable_files"] == 2
    assert "2 of 3 files" in said(report, about="rejected", severity="stop")


def test_a_file_that_takes_the_database_down_does_not_spoil_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "items", [item()])
    put(tmp_path, "searches", searches_of(3))
    put(tmp_path, "searches", searches_of(2), name="broken.ndjson")
    broken = day_folder(tmp_path, source="searches", day=DAY) / "broken.ndjson"
    check_files = inspection.check_files

    def breaks_down(connection: Any, source: Any, files: Any, unreadable: Any, *rest: Any, **named: Any) -> None:
        if broken in files.get(DAY, []) and broken not in unreadable:
            raise duckdb.FatalException("damaged")
        check_files(connection, source, files, unreadable, *rest, **named)

    monkeypatch.setattr(inspection, "check_files", breaks_down)
    monkeypatch.setattr(
        inspection, "fatal_files", lambda source, *_: {broken: "damaged"} if source.name == "searches" else {}
    )
    report = look(tmp_path)
    assert report["sources"]["searches"]["rows_accepted"] == 3
    assert report["sources"]["items"]["rows_accepted"] == 1
    assert [each["reason"] for each in report["rejected"]] == ["unreadable file: damaged"]


def test_placeholders_are_told_by_the_words_of_the_settings(tmp_path: Path) -> None:
    put(tmp_path, "searches", [*searches_of(3), *[search("NULL", at=NOON)] * 2, search(r"\N")])
    report = look(tmp_path)
    assert report["ids"]["placeholders"] == [
        {"source": "searches", "field": "user_id", "word": "null", "rows": 2},
        {"source": "searches", "field": "user_id", "word": r"\n", "rows": 1},
    ]
    assert r"null 2, \n 1 (3 rows)" in said(report, about="rejected")


@pytest.mark.parametrize(
    ("one", "other", "differ"),
    [
        ("Anna-7", "anna-7", "capitals"),
        ("0042", "42", "leading zeros"),
        ("00042", "042", "leading zeros"),
        ("2f1e4c3a-9b8d-4e5f-8a7b-6c5d4e3f2a1b", "2F1E4C3A9B8D4E5F8A7B6C5D4E3F2A1B", "hyphens or brackets"),
        ("'0815'", "0815", "quotes"),
        ("jos\u00e9", "jose\u0301", "accents composed in two ways"),
    ],
)
def test_ids_that_differ_in_writing_alone_are_told(tmp_path: Path, one: str, other: str, differ: str) -> None:
    put(tmp_path, "searches", [*searches_of(2), search(one)])
    put(tmp_path, "engagements", [save(other), save(other, "i2")])
    put(tmp_path, "items", [item(one), item(other), item("i1"), item("i2")])
    report = look(tmp_path)
    found = report["ids"]["users"]["alike"][differ]
    assert (found["groups"], found["ids"], found["rows"]) == (1, 2, 3)
    assert report["ids"]["items"]["alike"][differ]["ids"] == 2
    text = said(report, about="ids", severity="warn")
    assert f"2 ids of users would be 1 but for {differ} (3 rows" in text
    assert one not in text or one.isdigit()


def test_ids_that_are_different_are_left_alone(tmp_path: Path) -> None:
    ids = ["a-1", "a1", "100", "10", "1e5", "3e8", "z" * 30, "ab-cd", "abcd", "12e3", "1-11", "11-1"]
    put(tmp_path, "searches", [search(each) for each in ids])
    report = look(tmp_path)
    assert report["ids"]["users"]["alike"] == {}
    assert said(report, about="ids") == ""


def test_spellings_that_are_read_as_the_same_are_a_note(tmp_path: Path) -> None:
    put(tmp_path, "searches", [search("1001.0"), search("1002.0"), search("anna  "), search("bo")])
    put(tmp_path, "engagements", [save(1001), save(1002), save("anna", "i7"), save("\ufeffi-am-new", " i7")])
    put(tmp_path, "items", [item(), item("i7")])
    report = look(tmp_path)
    users, items = report["ids"]["users"], report["ids"]["items"]
    assert (users["ids"], users["spelled_in_two_ways"], users["with_fraction"], users["with_blanks"]) == (5, 3, 2, 2)
    assert (items["spelled_in_two_ways"], items["rows_with_blanks"]) == (1, 1)
    text = said(report, about="ids", severity="note")
    assert "3 of 5 ids of users are spelled in more than one way (2 rows with blanks around, 2 rows with .0" in text
    assert report["verdict"] == "ready"


def test_numbers_that_a_spreadsheet_has_shortened_are_told(tmp_path: Path) -> None:
    put(tmp_path, "searches", [*searches_of(2), search("1.23E+15"), search("4,5E+11")])
    rounded = [save("user-000", f"{1234567 + n}890123450") for n in range(30)]
    put(tmp_path, "engagements", rounded)
    put(tmp_path, "items", [item(row["item_id"]) for row in rounded])
    text = said(look(tmp_path), about="ids", severity="warn")
    assert "ids of users that look like 9.99E+99, a large number as a spreadsheet shows it: 2 (2 rows)" in text
    assert "30 of 30 ids of items with 16 digits and more end in 0" in text


@pytest.mark.parametrize("word", ["test", "Nobody", "logged_out", "#DIV/0!", "missing", "999999", "??"])
def test_words_for_nobody_that_no_setting_lists_are_told(tmp_path: Path, word: str) -> None:
    put(tmp_path, "searches", [*searches_of(2), search(word), search(word, "vase")])
    text = said(look(tmp_path), about="ids", severity="warn")
    assert "words for nobody or nothing that count as users: 1 id, 2 rows" in text


def test_a_user_with_far_too_many_rows_is_told(tmp_path: Path) -> None:
    many = [search("u1", f"vase {n}", NOON + timedelta(seconds=n)) for n in range(60)]
    put(tmp_path, "searches", [*searches_of(12), *many])
    assert "one user has 83% of all rows (60" in said(look(tmp_path), about="ids", severity="warn")
    put(tmp_path, "searches", [*searches_of(12), *many[:15]])
    assert said(look(tmp_path), about="ids") == ""


def test_sources_that_share_no_user_are_told(tmp_path: Path) -> None:
    put(tmp_path, "searches", searches_of(4))
    put(tmp_path, "engagements", [save(f"other-{n}") for n in range(3)])
    put(tmp_path, "items", [item()])
    assert "hardly any user of engagements (3) is also one of searches (4)" in said(look(tmp_path), about="ids")


def test_items_that_are_unknown_late_or_silent_are_told(tmp_path: Path) -> None:
    put(tmp_path, "searches", [search(user) for user in ("u1", "u2", "u3")])
    put(
        tmp_path,
        "engagements",
        [save("u1", "gone"), save("u2", "gone"), save("u2", "late"), save("u3", "silent"), save("u3")],
    )
    put(tmp_path, "items", [item(), item("silent", annotations=[])])
    put(tmp_path, "items", [item("late")], day=DAY + timedelta(days=9))
    report = look(tmp_path)
    text = said(report, about="items", severity="warn")
    assert "1 of 4 items that people did something with are unknown (2 of 5 rows, of 2 users)" in text
    assert "1 of 5 rows, of 1 user, are about items that arrive on a later day" in text
    silent = "have no annotations, no interests and no title in words (1 of 5 rows"
    assert f"1 of 4 items that people did something with {silent}" in text
    assert report["verdict"] == "ready with warnings"


def test_without_any_keyword_it_is_not_ready(tmp_path: Path) -> None:
    put(tmp_path, "engagements", [save("u1"), save("u2")])
    assert "no event gives a keyword" in said(look(tmp_path), about="events", severity="stop")
    put(tmp_path, "items", [item(annotations=[])])
    assert "no event gives a keyword" in said(look(tmp_path), about="events", severity="stop")
    put(tmp_path, "items", [item()])
    assert look(tmp_path)["verdict"] == "ready"


def test_without_anything_that_users_did_it_is_not_ready(tmp_path: Path) -> None:
    put(tmp_path, "items", [item()])
    assert "nothing that users did" in said(look(tmp_path), about="events", severity="stop")


def test_clocks_that_are_wrong_are_told(tmp_path: Path) -> None:
    put(
        tmp_path,
        "searches",
        [
            *searches_of(10),
            search("never set", at="1970-01-01T03:04:05Z"),
            search("user-001", at="2000-01-01T03:04:05Z"),
            search("behind", at=NOON - timedelta(days=90)),
            search("ahead", at=NOON + timedelta(days=1)),
        ],
    )
    report = look(tmp_path)
    text = said(report, about="clocks", severity="warn")
    assert "2 of 14 events are of a day at which clocks stand" in text
    assert "2 of 14 events were more than 365 days old when they arrived" in text
    assert "1 of 14 events are of a day after the one on which they arrived" in text
    assert "3 of 14 events arrived a month or more after" in text
    assert "2 of 13 users: every event of theirs happened a month or more before it arrived" in text
    assert "1 of 13 users: every event of theirs happened on a day after it arrived" in text


def test_history_delivered_at_once_is_no_wrong_clock(tmp_path: Path) -> None:
    put(tmp_path, "searches", [search(f"user-{n % 5}", at=NOON - timedelta(days=40 + n)) for n in range(50)])
    text = said(look(tmp_path), about="clocks")
    assert "50 of 50 events arrived a month or more after they happened" in text
    assert "users: every event" not in text


def test_only_events_beyond_the_look_back_are_a_stop(tmp_path: Path) -> None:
    put(tmp_path, "searches", [search(at="2020-05-05T10:00:01Z")])
    assert "never count" in said(look(tmp_path), about="clocks", severity="stop")


@pytest.mark.parametrize(
    ("hour", "told"), [(0, "at midnight: dates without a time of day"), (22, "on the full hour")], ids=["UTC", "local"]
)
def test_dates_in_place_of_times_are_told(tmp_path: Path, hour: int, told: str) -> None:
    put(tmp_path, "searches", searches_of(25, occurred_at=datetime(2025, 5, 31, hour)))
    assert f"searches: 25 of 25 events are {told}" in said(look(tmp_path), about="clocks", severity="warn")


def test_scripts_and_unreadable_texts_are_told(tmp_path: Path) -> None:
    texts = ["oak table", "stół dębowy", "стол", "طاولة", "โต๊ะ", "मेज", "책상", "つくえ", "ツクエ", "桌子", "שולחן",
             "τραπέζι", "սեղան", "42", "🪑"]  # fmt: skip
    put(tmp_path, "searches", [search(query=text) for text in texts])
    found = look(tmp_path)["texts"]["searches.query"]
    assert found["sampled"] == 15
    assert {script: round(share * 15) for script, share in found["scripts"].items()} == {
        "Latin": 2, "Kana": 2, "none": 2, "Cyrillic": 1, "Arabic": 1, "Thai": 1, "Devanagari": 1, "Hangul": 1, "Han": 1,
        "Hebrew": 1, "Greek": 1, "other": 1,
    }  # fmt: skip
    assert "searches.query: bundled:all-MiniLM-L6-v2 cannot read 7% of the texts (15" in said(
        look(tmp_path), about="texts"
    )


def test_duplicates_repeats_and_rows_over_the_cap_are_told(tmp_path: Path) -> None:
    rows = [search(query=f"vase {n}") for n in range(6)]
    put(tmp_path, "searches", [*rows, *rows])
    put(tmp_path, "searches", rows, day=DAY + timedelta(days=1))
    report = look(tmp_path, landing={"max_rows_per_user_per_day": 4})
    found = report["sources"]["searches"]
    assert (found["rows_read"], found["rows_duplicate"], found["rows_over_cap"], found["rows_accepted"]) == (
        18,
        6,
        4,
        8,
    )
    text = said(report, about="rows", severity="warn")
    assert "6 of 18 rows are exact duplicates" in text
    assert "4 rows of users with more than 4 in a day" in text
    assert "about 50% of the rows arrive again on another day" in text


IDS = st.sampled_from(["u1", "u2", " u2", "U1", "7", "7.0", "NULL", "", "0", None])
TIMES = st.sampled_from([NOON, NOON - timedelta(days=500), "2031-01-01T00:00:00Z", "soon", None])
SEARCH = st.builds(search, IDS, st.sampled_from(["oak", "vase", "", " "]), TIMES)
SAVE = st.builds(save, IDS, st.sampled_from(["i1", "i2", "i2 ", "n/a"]), TIMES)
ITEM = st.builds(item, st.sampled_from(["i1", "i3", None]), annotations=st.lists(st.sampled_from(["oak", ""])))
DAYS = st.sampled_from([DAY, DAY + timedelta(days=1), DAY + timedelta(days=5)])


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    searches=st.lists(st.tuples(DAYS, SEARCH), max_size=12),
    saves=st.lists(st.tuples(DAYS, SAVE), max_size=12),
    items=st.lists(st.tuples(DAYS, ITEM), max_size=5),
    cap=st.integers(1, 4),
)
@pytest.mark.slow
def test_the_counts_are_those_of_the_reader(
    tmp_path_factory: pytest.TempPathFactory, searches: Placed, saves: Placed, items: Placed, cap: int
) -> None:
    landing = tmp_path_factory.mktemp("zone")
    for source, placed in {"searches": searches, "engagements": saves, "items": items}.items():
        for day in {day for day, _ in placed}:
            put(landing, source, [row for of, row in placed if of == day], day=day)
    changed = Settings.model_validate({"landing": {"max_rows_per_user_per_day": cap}})
    report = look(landing, landing={"max_rows_per_user_per_day": cap})
    for name, source in declared_sources(changed).items():
        folders = {
            folder: landing / name / f"date={folder}"
            for folder in (DAY, DAY + timedelta(days=1), DAY + timedelta(days=5))
        }
        folders = {day: folder for day, folder in folders.items() if folder.exists()}
        if not folders:
            assert name not in report["sources"]
            continue
        landed = read_days(source, folders, changed.landing)
        found = report["sources"][name]
        for column in ("rows_read", "rows_accepted", "rows_duplicate", "rows_over_cap", "rows_rejected"):
            assert found[column] == landed.days[column].sum(), (name, column)
        assert found["files"] == landed.days["files"].sum()
        reasons = {each["reason"]: each["rows"] for each in report["rejected"] if each["source"] == name}
        assert reasons == dict(landed.rejected["reason"].value_counts().iter_rows())


def test_batches_and_the_order_of_rows_play_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspected_rows, "SAMPLED_TEXTS", 20)
    rows = [
        [search(f"user-{n % 7}", f"vase {n}", NOON + timedelta(days=day, seconds=n)) for n in range(30)]
        for day in range(4)
    ]
    for day, of_day in enumerate(rows):
        put(tmp_path / "one", "searches", of_day, day=DAY + timedelta(days=day))
        put(tmp_path / "other", "searches", of_day[::-1], day=DAY + timedelta(days=day))
    whole = look(tmp_path / "one")
    monkeypatch.setattr(inspection, "_BATCH_BYTES", 1)
    assert look(tmp_path / "other") | {"landing": ""} == whole | {"landing": ""}
    assert whole["texts"]["searches.query"]["sampled"] == 20


def inspect(*words: str, home: Path) -> Result:
    return CliRunner().invoke(cli, ["inspect", *words], env={"JOURNEYS_HOME": str(home), "COLUMNS": "160"})


def test_the_command_writes_nothing_and_shows_nobody(tmp_path: Path) -> None:
    landing = tmp_path / "home" / "landing"
    put(
        landing,
        "searches",
        [search("mariana", "purple curtain"), search("NULL", "green lamp"), search("mariana", "", "x")],
    )
    put(landing, "engagements", [save("Mariana", "curtain-item")])
    before = {
        path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None) for path in tmp_path.rglob("*")
    }
    results = [inspect(home=tmp_path / "home"), inspect("--json", home=tmp_path / "home")]
    after = {
        path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None) for path in tmp_path.rglob("*")
    }
    assert after == before
    for result in results:
        assert result.exit_code == 0, result.output
        assert not {word for word in ("mariana", "Mariana", "purple", "green", "curtain") if word in result.output}
    assert "not ready" in results[0].stdout
    found = json.loads(results[1].stdout)
    assert found["verdict"] == "not ready"
    assert found["sources"]["searches"]["rows_rejected"] == 2
    assert "would be rejected" in results[0].stdout
    assert "inspect: searches 2025-06-01" in results[0].stderr


def test_the_command_says_what_to_run_next(tmp_path: Path) -> None:
    put(tmp_path / "zone", "searches", searches_of(3))
    put(tmp_path / "zone", "items", [item()])
    put(tmp_path / "zone", "items", [item()], day=DAY - timedelta(days=3))
    result = inspect(str(tmp_path / "zone"), home=tmp_path / "home")
    assert result.exit_code == 0, result.output
    assert "zone: ready" in result.stdout
    assert "2 of 4" in result.stdout
    assert "Next: journeys run --date 2025-06-01 --scope all_users" in result.stdout
    assert not (tmp_path / "home").exists()


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    result = inspect(str(tmp_path / "nowhere"), home=tmp_path)
    assert result.exit_code == 2
    assert "there is no folder" in result.output


def test_the_command_asks_the_embedder_what_it_can_read(tmp_path: Path) -> None:
    put(tmp_path / "zone", "searches", [search("u1"), search("u2", "🪑🪑"), search("u3", "🛋🛋")])
    result = inspect(str(tmp_path / "zone"), "--json", home=tmp_path)
    assert json.loads(result.stdout)["texts"]["searches.query"]["unreadable_share"] == pytest.approx(2 / 3)
