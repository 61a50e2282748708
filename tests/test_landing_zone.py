"""The landing zone resource: which days have arrived, and which are complete."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from journeys_dagster.resources.landing_zone import IncompleteDayError, LandingZone, complete_days
from journeys_dagster.sources.writer import SUCCESS, day_folder, write_day

FIRST, SECOND, THIRD = (date(2025, 6, day) for day in (1, 2, 3))


@pytest.fixture
def zone(tmp_path: Path) -> LandingZone:
    return LandingZone(path=str(tmp_path))


def land(zone: LandingZone, source: str, day: date, *, complete: bool = True) -> Path:
    folder = zone.folder(source, day)
    folder.mkdir(parents=True)
    if complete:
        (folder / SUCCESS).touch()
    return folder


def test_a_day_lies_in_a_folder_of_its_source(zone: LandingZone, tmp_path: Path) -> None:
    assert zone.folder("searches", date(987, 6, 5)) == tmp_path / "searches" / "date=0987-06-05"


def test_reader_and_writer_agree_on_folder_and_completeness(zone: LandingZone, tmp_path: Path) -> None:
    assert zone.folder("searches", FIRST) == day_folder(tmp_path, source="searches", day=FIRST)
    write_day(tmp_path, source="searches", day=FIRST, frame=pl.DataFrame({"user_id": ["u1"]}))
    assert zone.days("searches") == {FIRST}
    assert zone.is_complete("searches", FIRST)


def test_days_are_those_of_the_source(zone: LandingZone) -> None:
    land(zone, "searches", FIRST)
    land(zone, "searches", SECOND, complete=False)
    land(zone, "items", THIRD)
    assert zone.days("searches") == {FIRST, SECOND}


def test_a_source_without_folder_has_no_days(zone: LandingZone) -> None:
    assert zone.days("searches") == set()
    assert zone.landed_folders("searches", [FIRST]) == {}


def test_a_landing_zone_that_does_not_exist_has_no_days(tmp_path: Path) -> None:
    zone = LandingZone(path=str(tmp_path / "nowhere"))
    assert zone.days("searches") == set()
    assert complete_days(zone.landed_days(["searches"])) == (set(), set())


@pytest.mark.parametrize(
    "name",
    [
        "2025-06-01",
        "day=2025-06-01",
        "date=2025-6-1",
        "date=20250601",
        "date=2025-02-30",
        "date=2025-06-01.tmp",
        " date=2025-06-01",
        "date=2025-06-01\n",
        "DATE=2025-06-01",
        "date=２０２５-06-01",
        "date=__HIVE_DEFAULT_PARTITION__",
        ".date=2025-06-01",
    ],
)
def test_a_folder_with_another_name_is_no_day(zone: LandingZone, tmp_path: Path, name: str) -> None:
    (tmp_path / "searches" / name).mkdir(parents=True)
    (tmp_path / "searches" / name / SUCCESS).touch()
    assert zone.days("searches") == set()
    assert complete_days(zone.landed_days(["searches"])) == (set(), set())


def test_a_file_with_the_name_of_a_day_is_no_day(zone: LandingZone, tmp_path: Path) -> None:
    (tmp_path / "searches").mkdir()
    (tmp_path / "searches" / "date=2025-06-01").touch()
    assert zone.days("searches") == set()


def test_a_file_with_the_name_of_a_source_has_no_days(zone: LandingZone, tmp_path: Path) -> None:
    (tmp_path / "searches").touch()
    assert zone.days("searches") == set()


def test_a_day_is_complete_once_success_is_there(zone: LandingZone) -> None:
    folder = land(zone, "searches", FIRST, complete=False)
    assert not zone.is_complete("searches", FIRST)
    (folder / "_SUCCESS").touch()
    assert zone.is_complete("searches", FIRST)


@pytest.mark.parametrize("name", ["_success", "SUCCESS", "_SUCCESS.tmp", "._SUCCESS.crc"])
def test_another_marker_does_not_complete_a_day(zone: LandingZone, name: str) -> None:
    (land(zone, "searches", FIRST, complete=False) / name).touch()
    assert not zone.is_complete("searches", FIRST)


def test_a_day_that_is_not_there_is_not_complete(zone: LandingZone) -> None:
    assert not zone.is_complete("searches", FIRST)


def test_a_day_counts_when_every_source_that_has_it_is_complete(zone: LandingZone) -> None:
    land(zone, "searches", FIRST)
    land(zone, "searches", SECOND)
    land(zone, "items", SECOND, complete=False)
    land(zone, "items", THIRD)
    assert complete_days(zone.landed_days(["searches", "items"])) == ({FIRST, THIRD}, {("items", SECOND)})


def test_sources_that_are_not_asked_for_hold_up_nothing(zone: LandingZone) -> None:
    land(zone, "searches", FIRST)
    land(zone, "items", FIRST, complete=False)
    assert complete_days(zone.landed_days(source for source in ["searches"])) == ({FIRST}, set())


def test_folders_are_those_of_the_asked_days_that_have_landed(zone: LandingZone) -> None:
    first = land(zone, "searches", FIRST)
    land(zone, "searches", SECOND)
    assert zone.landed_folders("searches", [THIRD, FIRST]) == {FIRST: first}


def test_an_incomplete_day_among_the_asked_ones_is_an_error(zone: LandingZone) -> None:
    land(zone, "searches", FIRST)
    folder = land(zone, "searches", SECOND, complete=False)
    (folder / "part-0.csv").write_text("user_id,query,occurred_at\n")
    with pytest.raises(IncompleteDayError) as error:
        zone.landed_folders("searches", [FIRST, SECOND])
    assert str(folder) in str(error.value)
    assert "2025-06-02" in str(error.value)
    assert "_SUCCESS" in str(error.value)


def test_an_incomplete_day_that_is_not_asked_for_does_no_harm(zone: LandingZone) -> None:
    first = land(zone, "searches", FIRST)
    land(zone, "searches", SECOND, complete=False)
    assert zone.landed_folders("searches", [FIRST]) == {FIRST: first}


def test_the_landing_zone_may_lie_in_a_folder_of_any_name(tmp_path: Path) -> None:
    zone = LandingZone(path=str(tmp_path / "it's [the] küche"))
    land(zone, "searches", FIRST)
    assert complete_days(zone.landed_days(["searches"])) == ({FIRST}, set())
