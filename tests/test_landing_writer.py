"""The landing zone writer: never half a day, same frame same bytes."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from journeys_dagster.sources.writer import LandingWriteError, write_day, write_days

DAY = date(2025, 6, 1)
ROWS = pl.DataFrame({"user_id": ["u1", "u2"], "query": ["oak table", "tent"]})


def test_a_day_is_data_and_success(tmp_path: Path) -> None:
    folder = write_day(tmp_path, source="searches", day=DAY, frame=ROWS)
    assert folder == tmp_path / "searches" / "date=2025-06-01"
    assert sorted(path.name for path in folder.iterdir()) == ["_SUCCESS", "part-0.parquet"]
    assert (folder / "_SUCCESS").read_bytes() == b""
    assert pl.read_parquet(folder / "part-0.parquet").equals(ROWS)


def test_a_day_without_rows_keeps_its_columns(tmp_path: Path) -> None:
    folder = write_day(tmp_path, source="searches", day=DAY, frame=ROWS.clear())
    assert (folder / "_SUCCESS").exists()
    assert pl.read_parquet(folder / "part-0.parquet").schema == ROWS.schema


def test_same_frame_same_bytes(tmp_path: Path) -> None:
    contents = [
        (write_day(tmp_path / name, source="searches", day=DAY, frame=ROWS.clone()) / "part-0.parquet").read_bytes()
        for name in ("a", "b")
    ]
    assert contents[0] == contents[1]


def test_rewriting_replaces_every_earlier_file(tmp_path: Path) -> None:
    folder = write_day(tmp_path, source="searches", day=DAY, frame=ROWS)
    (folder / "part-1.csv").write_text("user_id,query\nu9,old\n")
    write_day(tmp_path, source="searches", day=DAY, frame=ROWS.head(1))
    assert sorted(path.name for path in folder.iterdir()) == ["_SUCCESS", "part-0.parquet"]
    assert pl.read_parquet(folder / "part-0.parquet").height == 1


def test_a_failed_write_leaves_the_earlier_day_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_day(tmp_path, source="searches", day=DAY, frame=ROWS)

    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(pl.DataFrame, "write_parquet", fail)
    with pytest.raises(OSError, match="disk full"):
        write_day(tmp_path, source="searches", day=DAY, frame=ROWS.head(1))
    assert sorted(path.name for path in folder.iterdir()) == ["_SUCCESS", "part-0.parquet"]
    assert pl.read_parquet(folder / "part-0.parquet").equals(ROWS)


@pytest.mark.parametrize("existing", [False, True])
def test_no_success_while_data_is_moved_into_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existing: bool
) -> None:
    folder = tmp_path / "searches" / "date=2025-06-01"
    if existing:
        write_day(tmp_path, source="searches", day=DAY, frame=ROWS)
    seen: list[bool] = []
    replace = Path.replace

    def watched(self: Path, target: Path) -> Path:
        seen.append((folder / "_SUCCESS").exists())
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watched)
    write_day(tmp_path, source="searches", day=DAY, frame=ROWS)
    assert seen == [False]
    assert (folder / "_SUCCESS").exists()


def test_a_crash_between_data_and_success_leaves_the_day_incomplete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_day(tmp_path, source="searches", day=DAY, frame=ROWS)

    def fail(*_: object, **__: object) -> None:
        raise OSError("killed")

    monkeypatch.setattr(Path, "touch", fail)
    with pytest.raises(OSError, match="killed"):
        write_day(tmp_path, source="searches", day=DAY, frame=ROWS)
    assert [path.name for path in folder.iterdir()] == ["part-0.parquet"]


def test_days_are_split_and_the_day_column_is_not_written(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user_id": ["a", "b", "c"], "arrival_day": [date(2025, 6, 2), DAY, date(2025, 6, 2)]})
    assert write_days(tmp_path, source="searches", frame=frame) == {DAY: 1, date(2025, 6, 2): 2}
    second = pl.read_parquet(tmp_path / "searches" / "date=2025-06-02" / "part-0.parquet", hive_partitioning=False)
    assert second.to_dict(as_series=False) == {"user_id": ["a", "c"]}


def test_no_rows_no_days(tmp_path: Path) -> None:
    frame = pl.DataFrame(schema={"user_id": pl.String, "arrival_day": pl.Date})
    assert write_days(tmp_path, source="searches", frame=frame) == {}


@pytest.mark.parametrize(
    ("frame", "fault"),
    [
        (ROWS, "searches: column 'arrival_day' is missing"),
        (ROWS.with_columns(arrival_day=pl.lit("2025-06-01")), "searches: column 'arrival_day' is a String"),
        (
            ROWS.with_columns(arrival_day=pl.Series([DAY, None])),
            "searches: column 'arrival_day' is null in 1 rows",
        ),
    ],
)
def test_a_useless_day_column_is_named(tmp_path: Path, frame: pl.DataFrame, fault: str) -> None:
    with pytest.raises(LandingWriteError, match=fault):
        write_days(tmp_path, source="searches", frame=frame)


@pytest.mark.parametrize("source", ["", "..", "a/b", "/tmp"])  # noqa: S108
def test_a_source_is_a_plain_folder_name(tmp_path: Path, source: str) -> None:
    with pytest.raises(LandingWriteError, match="no folder name"):
        write_day(tmp_path, source=source, day=DAY, frame=ROWS)
