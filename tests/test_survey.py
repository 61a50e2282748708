"""The survey of a landing zone: what is read, what is left out on purpose, and what is passed over, with the cure."""

import io
import os
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from journeys_dagster.cli import landing_reports
from journeys_dagster.resources.landing_zone import LandingZone
from journeys_dagster.settings import Settings
from journeys_dagster.sources.contracts import declared_sources
from journeys_dagster.sources.folder_names import meant_by, meant_source, named_day, not_a_day
from journeys_dagster.sources.survey import Survey, survey

SOURCES = list(declared_sources(Settings()))
DAY = date(2025, 6, 25)


def put(landing: Path, *paths: str) -> Survey:
    for path in paths:
        file = landing / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return survey(landing, SOURCES)


def test_a_zone_in_order_has_nothing_passed_over(tmp_path: Path) -> None:
    found = put(
        tmp_path,
        "searches/date=2025-06-25/part-0.parquet",
        "searches/date=2025-06-25/_SUCCESS",
        "items/date=2025-06-26/part-0.ndjson",
        "SIMULATED.json",
        "_SUCCESS",
        "items/_SUCCESS",
        "searches/.part-0.crc",
        "searches/_temporary/0/part-0.parquet",
        "searches/date=2025-06-25/_committed_12",
        "searches/date=2025-06-25/Thumbs.db",
        "searches/date=2025-06-25/part-1.parquet.inprogress",
        "searches/date=2025-06-25/part-1.csv.tmp",
        "searches/date=2025-06-25/part-2.csv.part",
        "searches/date=2025-06-25/part-2.csv.filepart",
        ".DS_Store",
    )
    assert found.passed_over == []
    assert found.summary() == ""
    assert found.left_out == 12
    assert found.marked_at_root == {"items"}
    zone = LandingZone(path=str(tmp_path))
    assert found.days == zone.landed_days(SOURCES)
    assert {pair: day.is_complete for pair, day in found.days.items()} == {
        ("searches", DAY): True,
        ("items", date(2025, 6, 26)): False,
    }


def test_a_zone_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert survey(tmp_path / "nowhere", SOURCES) == Survey()


@pytest.mark.parametrize(
    ("folder", "cure"),
    [
        ("date=2025-6-25", "rename it to date=2025-06-25"),
        ("dt=2025-06-25", "rename it to date=2025-06-25"),
        ("ds=20250625", "rename it to date=2025-06-25"),
        ("day=2025-06-25", "rename it to date=2025-06-25"),
        ("DATE=2025-06-25", "rename it to date=2025-06-25"),
        ("event_date=2025_06_25", "rename it to date=2025-06-25"),
        ("20250625", "rename it to date=2025-06-25"),
        ("2025-06-25", "rename it to date=2025-06-25"),
        ("2025.06.25", "rename it to date=2025-06-25"),
        ("25.06.2025", "rename it to date=2025-06-25"),
        ("06-25-2025", "rename it to date=2025-06-25"),
        ("2025-176", "rename it to date=2025-06-25"),
        ("date=2025-06-25 00%3A00%3A00", "move its files to searches/date=2025-06-25"),
        ("2025-06-25T13", "move its files to searches/date=2025-06-25"),
        ("2025062513", "move its files to searches/date=2025-06-25"),
        ("searches_2025-06-25", "move its files to searches/date=2025-06-25"),
        ("date=2025-06-25.old", "move its files to searches/date=2025-06-25"),
        ("year=2025/month=06/day=25", "move its files to searches/date=2025-06-25"),
        ("yr=2025/mm=6/dd=25", "move its files to searches/date=2025-06-25"),
        ("2025/06/25", "move its files to searches/date=2025-06-25"),
        ("2025/6/25", "move its files to searches/date=2025-06-25"),
        ("2025-06/25", "move its files to searches/date=2025-06-25"),
        ("month=2025-06/day=25", "move its files to searches/date=2025-06-25"),
        ("region=eu/date=2025-06-25", "move its files to searches/date=2025-06-25"),
        ("date=2025-06-176", "if 176 counts the days of the year, rename it to date=2025-06-25"),
        ("date=2025-02-30", "find out which day its rows arrived on, and rename it to that"),
        ("date=2025-13-01", "find out which day its rows arrived on, and rename it to that"),
        ("05-06-2025", "rename it to date=YYYY-MM-DD"),
        ("date=2025\u201106\u201125", "rename it to date=2025-06-25"),
        ("20250625-20250630", "split its files by day into date=YYYY-MM-DD"),
        ("2025-06-25_2025-06-30", "split its files by day into date=YYYY-MM-DD"),
        ("250625", "if it holds a day's rows, name it date=YYYY-MM-DD; else take it away"),
        ("2025-W26", "split its files by day into date=YYYY-MM-DD"),
        ("year=2025/week=26", "split its files by day into date=YYYY-MM-DD"),
        ("2025-06", "split its files by day into date=YYYY-MM-DD"),
        ("year=2025/month=06", "split its files by day into date=YYYY-MM-DD"),
        ("2025", "split its files by day into date=YYYY-MM-DD"),
        ("date=__HIVE_DEFAULT_PARTITION__", "give each row its day, then write date=YYYY-MM-DD"),
        ("date=null", "give each row its day, then write date=YYYY-MM-DD"),
        ("latest", "if it holds a day's rows, name it date=YYYY-MM-DD; else take it away"),
    ],
)
def test_a_day_by_another_convention_is_told_with_the_name_it_should_have(
    tmp_path: Path, folder: str, cure: str
) -> None:
    found = put(tmp_path, f"searches/{folder}/part-0.csv", f"searches/{folder}/_SUCCESS")
    (passed,) = found.passed_over
    assert (passed.path, passed.files, passed.cure) == (f"searches/{folder}", 1, cure)
    assert (passed.source, passed.day, found.days) == ("searches", None, {})
    assert passed.why


def test_hours_below_a_day_are_one_folder(tmp_path: Path) -> None:
    hours = [f"searches/year=2025/month=06/day={day}/hour={hour:02}/a.csv" for day in (25, 26) for hour in range(24)]
    found = put(tmp_path, *hours)
    assert [(each.path, each.files) for each in found.passed_over] == [
        (f"searches/year=2025/month=06/day={day}", 24) for day in (25, 26)
    ]


def test_a_day_that_is_there_under_its_own_name_too_is_not_renamed_over_it(tmp_path: Path) -> None:
    found = put(tmp_path, "searches/date=2025-06-25/a.csv", "searches/2025-06-25/b.csv")
    assert found.passed_over[0].cure.startswith("date=2025-06-25 is there too")


def test_files_outside_a_days_folder(tmp_path: Path) -> None:
    found = put(
        tmp_path,
        "searches/searches-2025-06-25.csv",
        "searches/dump.parquet",
        "engagements.csv",
        "notes.txt",
    )
    assert {each.path: each.cure for each in found.passed_over} == {
        "searches/searches-2025-06-25.csv": "move it into searches/date=2025-06-25",
        "searches/dump.parquet": "move it into searches/date=YYYY-MM-DD",
        "engagements.csv": "move it into engagements/date=YYYY-MM-DD",
        "notes.txt": "move it into SOURCE/date=YYYY-MM-DD",
    }
    assert found.summary() == "searches: 2 files; engagements.csv, notes.txt"


def test_what_an_interrupted_import_left_is_told_with_what_to_do(tmp_path: Path) -> None:
    found = put(tmp_path, ".import-searches/rows.duckdb", ".import-searches/searches/date=2025-06-25/a.parquet", ".x/y")
    (left,) = found.passed_over
    assert (left.path, left.files, left.source) == (".import-searches", 2, None)
    assert "interrupted" in left.why
    assert "import searches again" in left.cure
    assert found.summary() == ".import-searches"
    assert found.left_out == 1


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("Board_Items", "board_items"),
        ("board-items", "board_items"),
        ("boarditems", "board_items"),
        ("board_item", "board_items"),
        ("search", "searches"),
        ("SEARCHES", "searches"),
        ("Engagement", "engagements"),
        ("search_events", "searches"),
        ("engagments", "engagements"),
        ("search_terms", None),
        ("payments", None),
    ],
)
def test_a_source_in_another_spelling_is_told_by_its_own(tmp_path: Path, name: str, source: str | None) -> None:
    assert meant_source(name, SOURCES) == source
    (passed,) = put(tmp_path, f"{name}/date=2025-06-25/a.csv").passed_over
    assert passed.cure == (
        f"write it as {source}" if source else f"one of {', '.join(sorted(SOURCES))}; else take it away"
    )
    assert passed.path == name


def test_a_zone_one_level_too_deep_or_too_high(tmp_path: Path) -> None:
    (deep,) = put(tmp_path / "deep", "landing/searches/date=2025-06-25/a.csv", "landing/items/x").passed_over
    assert deep.cure == "move items, searches up, out of landing"
    found = put(tmp_path / "high", "date=2025-06-25/a.csv", "dt=2025-06-26/a.csv", "year=2025/month=06/day=27/a.csv")
    assert [(each.path, each.cure) for each in found.passed_over] == [
        ("date=2025-06-25", "move its files to SOURCE/date=2025-06-25"),
        ("dt=2025-06-26", "move its files to SOURCE/date=2025-06-26"),
        ("year=2025/month=06/day=27", "move its files to SOURCE/date=2025-06-27"),
    ]


def test_a_day_that_cannot_be_opened_is_told_and_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "searches/date=2025-06-25/_SUCCESS")
    scandir = os.scandir

    def refuse(path: os.PathLike[str]) -> object:
        if "date=" in os.fspath(path):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = survey(tmp_path, SOURCES)
    assert not found.days["searches", DAY].is_complete
    assert "Permission denied" in found.passed_over[0].why
    assert (found.passed_over[0].day, found.summary()) == (DAY, "searches: 1 day that cannot be opened")


def test_a_link_that_leads_back_up_ends_and_one_to_nothing_is_told(tmp_path: Path) -> None:
    put(tmp_path, "searches/date=2025-06-25/_SUCCESS")
    (tmp_path / "searches" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "searches" / "gone").symlink_to(tmp_path / "nowhere")
    found = survey(tmp_path, SOURCES)
    assert found.passed_over[0].path == "searches/gone"
    assert found.passed_over[0].why == "a link to nothing, or a device"
    assert len(found.passed_over) < 20


def test_names_are_told_as_printable_text(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"se\xffrch\x1b[31m")).mkdir()
    (passed,) = survey(tmp_path, SOURCES).passed_over
    assert passed.path == "se\ufffdrch\ufffd[31m"


@given(st.dates(date(1970, 1, 1), date(2099, 12, 31)), st.sampled_from(["%Y-%m-%d", "%Y%m%d", "%Y/%m/%d", "%Y_%m_%d"]))
def test_every_day_in_a_usual_form_is_understood(day: date, form: str) -> None:
    names = day.strftime(form).split("/")
    meant = meant_by(names)
    assert meant is not None
    assert meant.day == day
    assert meant_by(["date=2025-6-1"]) == meant_by([named_day(date(2025, 6, 1))])


@given(st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=4))
def test_any_name_is_judged_without_an_error(names: list[str]) -> None:
    meant = not_a_day(names)
    assert meant.why
    assert meant.day is not None or meant.cure
    meant_source(names[0], SOURCES)


@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=12).filter(
            lambda name: name not in {".", ".."} and len(name.encode()) < 200
        ),
        min_size=1,
        max_size=6,
        unique=True,
    )
)
def test_everything_in_a_zone_is_a_day_left_out_or_passed_over(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    landing = tmp_path_factory.mktemp("zone")
    for name in names:
        (landing / name).touch()
    found = survey(landing, SOURCES)
    assert found.left_out + len(found.passed_over) == len(names)


@pytest.mark.parametrize("width", [80, 120])
def test_what_to_do_is_not_cut_off_a_table_of_long_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    printed = io.StringIO()
    monkeypatch.setattr(landing_reports, "err", Console(file=printed, width=width))
    landing_reports.print_passed_over(put(tmp_path, "searches/year=2025/month=06/day=25/hour=10/part.csv"), tmp_path)
    lines = printed.getvalue().splitlines()
    assert {len(line) for line in lines} == {width}
    cells = [line.strip("│").split("│") for line in lines if line.startswith("│")]
    assert "".join(row[0].strip() for row in cells) == "searches/year=2025/month=06/day=25"
    assert "".join(row[-1].strip() for row in cells).endswith("searches/date=2025-06-25")
