"""Landing files as a power cut, a slow producer or a careless one leaves them: what is taken in, what is said, and
that once the files are mended the tables equal those of a home where nothing ever went wrong.

Faults of single files that need no second run are in `test_landing_reader.py` (zero bytes, no magic, broken pages,
negative sizes, texts that are not UTF-8, files that change while they are read) and `test_bad_input.py`.
"""

import os
import random
import shutil
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from conftest import Pipeline
from test_sensors import tick

from journeys_dagster.orchestration.runs import RunFailedError, missing_days
from journeys_dagster.resources.home import Home
from journeys_dagster.settings import Settings
from journeys_dagster.sources import reader as reader_module
from journeys_dagster.sources.contracts import declared_sources
from journeys_dagster.sources.files import file_groups
from journeys_dagster.sources.reader import LandedRows, read_days
from journeys_dagster.sources.writer import SUCCESS, write_day

DAY = date(2025, 6, 10)
NEXT_DAY = DAY + timedelta(days=1)
ROWS = 40
SETTINGS = Settings.model_validate({"landing": {"first_day": DAY}})
UNREADABLE = "unreadable file: "


def searches(day: date = DAY, *, user: str = "ann") -> pl.DataFrame:
    return pl.DataFrame(
        {
            "user_id": [user] * ROWS,
            # Two bytes in UTF-8 before the last comma of each line.
            "query": [f"küche {number} é" for number in range(ROWS)],
            "occurred_at": [f"{day}T09:{number:02}:00" for number in range(ROWS)],
        }
    )


def write_file(path: Path, frame: pl.DataFrame) -> None:
    {".parquet": frame.write_parquet, ".csv": frame.write_csv, ".ndjson": frame.write_ndjson}[path.suffix](path)


def land(home: Home, second: str) -> Path:
    """A day with one Parquet file and a second file of the given name; returns the second."""
    folder = write_day(home.landing, source="searches", day=DAY, frame=searches())
    write_file(folder / second, searches(user="ben"))
    return folder / second


def tables(pipeline: Pipeline) -> dict[str, list[tuple[Any, ...]]]:
    """What was taken in, as a run leaves it; change times of files differ from home to home."""
    return {
        "searches": pipeline.table("searches").rows(),
        "rejected_rows": pipeline.table("rejected_rows").rows(),
        "landed_days": pipeline.table("landed_days").drop("fingerprint").rows(),
    }


def missing(pipeline: Pipeline) -> list[date]:
    zone = pipeline.home.landing_zone()
    found = missing_days(pipeline.warehouse, zone, ["searches"], up_to=date.max, max_rejected_share=0.05)
    return list(found.fingerprints)


def cut(path: Path, *, back: int) -> None:
    os.truncate(path, path.stat().st_size - back)


def cut_after(text: str) -> Callable[[Path], None]:
    """Cut behind the last time the text is met, in bytes: the last byte of ``é`` is left out."""

    def cut_file(path: Path) -> None:
        content = path.read_bytes()
        mark = text.encode()
        os.truncate(path, content.rindex(mark) + len(mark) - (1 if text == "é" else 0))

    return cut_file


def half_footer(path: Path) -> None:
    content = path.read_bytes()
    footer = int.from_bytes(content[-8:-4], "little")
    os.truncate(path, len(content) - 8 - footer // 2)


def wrong_magic(at: slice) -> Callable[[Path], None]:
    def overwrite(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[at] = b"LOST"
        path.write_bytes(content)

    return overwrite


def tail_of_zeros(path: Path) -> None:
    """As a file system leaves a file whose length was written and whose last block was not."""
    content = path.read_bytes()
    path.write_bytes(content[:-300] + bytes(300))


# Name, what happens to the file, rows of it that are taken in, what is said.
SHAPES: dict[str, tuple[str, Callable[[Path], None], int, str]] = {
    "half a footer": ("b.parquet", half_footer, 0, UNREADABLE),
    "no footer": ("b.parquet", lambda path: cut(path, back=path.stat().st_size // 2), 0, UNREADABLE),
    "wrong magic": ("b.parquet", wrong_magic(slice(-4, None)), 0, UNREADABLE),
    "tail of zeros.parquet": ("b.parquet", tail_of_zeros, 0, UNREADABLE),
    "cut in a record": ("b.csv", cut_after("ben,küche"), ROWS - 1, "the line does not split into the columns"),
    "cut in a time": ("b.csv", cut_after(f"{DAY}T09:"), ROWS - 1, "occurred_at is not a time"),
    "cut in a character.csv": ("b.csv", cut_after("é"), ROWS - 1, "the line is not UTF-8 text"),
    "tail of zeros.csv": ("b.csv", tail_of_zeros, ROWS - 9, "occurred_at is not a time"),
    "cut in a line": ("b.ndjson", cut_after('"query":"küche'), ROWS - 1, "the line is not a JSON object"),
    "cut in a character.ndjson": ("b.ndjson", cut_after("é"), ROWS - 1, "the line is not UTF-8 text"),
    "tail of zeros.ndjson": ("b.ndjson", tail_of_zeros, ROWS - 4, "the line is not a JSON object"),
}


QUICK = {"half a footer", "cut in a record", "cut in a line"}


@pytest.mark.parametrize(
    "shape", [pytest.param(shape, marks=[] if shape in QUICK else [pytest.mark.slow]) for shape in SHAPES]
)
def test_a_cut_file_is_told_and_once_mended_the_day_is_as_if_nothing_had_been(tmp_path: Path, shape: str) -> None:
    name, damage, rows_kept, reason = SHAPES[shape]
    clean, pipeline = Pipeline(Home(tmp_path / "clean"), SETTINGS), Pipeline(Home(tmp_path / "cut"), SETTINGS)
    land(clean.home, name)
    clean.ingest(DAY)
    damaged = land(pipeline.home, name)
    damage(damaged)
    for _ in range(2):  # The second run is stopped too.
        if rows_kept:
            pipeline.ingest(DAY)
        else:
            with pytest.raises(RunFailedError, match=r"^searches: more than 5\.0% rejected"):
                pipeline.ingest(DAY)
            assert missing(pipeline) == [DAY]
    assert len(pipeline.table("searches", "user_id = 'ann'")) == ROWS
    assert len(pipeline.table("searches", "user_id = 'ben'")) == rows_kept
    rejected = pipeline.table("rejected_rows")
    assert set(rejected["file"]) == {name}
    assert all(said.startswith(reason) for said in rejected["reason"])

    write_file(damaged, searches(user="ben"))
    assert missing(pipeline) == [DAY]
    pipeline.ingest(DAY)
    assert missing(pipeline) == []
    assert tables(pipeline) == tables(clean)


def read(folder: Path) -> LandedRows:
    return read_days(declared_sources(Settings())["searches"], {DAY: folder}, Settings().landing)


def test_a_parquet_file_cut_anywhere_is_unreadable(tmp_path: Path, figures: Callable[..., None]) -> None:
    path = tmp_path / "part.parquet"
    searches().write_parquet(path)
    content = path.read_bytes()
    # Of no length it is an empty part file.
    lengths = sorted({*range(1, len(content), 97), *range(len(content) - 12, len(content))})
    for length in lengths:
        path.write_bytes(content[:length])
        landed = read(tmp_path)
        assert landed.days.select("unreadable_files", "rows_read").rows() == [(1, 0)]
    figures(lengths=len(lengths))


@pytest.mark.parametrize("step", [101, pytest.param(7, marks=pytest.mark.slow)])
@pytest.mark.parametrize("suffix", ["csv", "ndjson"])
def test_a_text_file_cut_anywhere_loses_the_cut_line_at_most(
    tmp_path: Path, figures: Callable[..., None], suffix: str, step: int
) -> None:
    path = tmp_path / f"part.{suffix}"
    write_file(path, searches())
    content = path.read_bytes()
    whole = {tuple(row) for row in read(tmp_path).accepted.rows()}
    lengths = range(content.index(b"\n") + 1, len(content), step)
    unnoticed = altered = unreadable = 0
    for length in lengths:
        path.write_bytes(content[:length])
        landed = read(tmp_path)
        if landed.days["unreadable_files"][0]:
            unreadable += 1
            continue
        accepted = {tuple(row) for row in landed.accepted.rows()}
        lines = content[:length].count(b"\n") - (suffix == "csv")
        assert len(accepted & whole) >= lines
        assert len(accepted) <= lines + 1
        unnoticed += landed.rejected.is_empty() and len(accepted) == lines
        altered += len(accepted - whole)
    # A cut between two lines cannot be seen; a CSV line cut in its time may read as an earlier one.
    figures(lengths=len(lengths), unreadable=unreadable, between_lines=unnoticed, altered_rows=altered)
    assert altered <= (0 if suffix == "ndjson" else len(lengths) // 5)


@pytest.mark.parametrize("files", [30, pytest.param(1_000, marks=pytest.mark.slow)])
def test_flipped_bytes_never_stop_the_other_files(tmp_path: Path, figures: Callable[..., None], files: int) -> None:
    rng = random.Random(5)  # noqa: S311 - not for secrets
    unreadable = 0
    for number in range(files):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_file(folder / "good.parquet", searches())
        path = folder / f"flipped.{rng.choice(['parquet', 'parquet', 'csv', 'ndjson'])}"
        write_file(path, searches(user="ben"))
        content = bytearray(path.read_bytes())
        for _ in range(rng.choice([1, 1, 4])):
            content[rng.randrange(len(content))] = rng.randrange(256)
        path.write_bytes(content)
        landed = read(folder)
        (counts,) = landed.days.to_dicts()
        assert landed.accepted.filter(pl.col("user_id") == "ann").height == ROWS
        assert counts["rows_read"] == sum(
            counts[f"rows_{kind}"] for kind in ("accepted", "duplicate", "rejected", "over_cap")
        )
        unreadable += counts["unreadable_files"]
        shutil.rmtree(folder)
    figures(files=files, unreadable_files=unreadable)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        pytest.param(change, name, marks=[] if quick else [pytest.mark.slow])
        for change, quick_name in (("vanishes", "b.parquet"), ("grows", "b.csv"), ("is cut", "b.ndjson"))
        for name in ("b.parquet", "b.csv", "b.ndjson")
        for quick in [name == quick_name]
    ],
)
def test_a_file_that_changes_between_listing_and_reading_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, change: str
) -> None:
    clean, pipeline = Pipeline(Home(tmp_path / "clean"), SETTINGS), Pipeline(Home(tmp_path / "home"), SETTINGS)
    grown = pl.concat([searches(user="ben"), searches(user="zoe")])
    write_file(land(clean.home, name), grown)
    clean.ingest(DAY)
    path = land(pipeline.home, name)

    def change_before_reading(*arguments: Any, **named: Any) -> Any:
        if change == "vanishes":
            path.unlink()
        elif change == "grows":
            write_file(path, grown)
        else:
            cut(path, back=9)
        yield from file_groups(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(reader_module, "file_groups", change_before_reading)
        if change == "vanishes" or (change, name) == ("is cut", "b.parquet"):
            with pytest.raises(RunFailedError, match="rejected"):
                pipeline.ingest(DAY)
            assert pipeline.table("rejected_rows")["reason"][0].startswith(UNREADABLE)
        else:
            pipeline.ingest(DAY)
    assert len(pipeline.table("searches", "user_id = 'ann'")) == ROWS
    assert missing(pipeline) == [DAY]
    write_file(path, grown)
    pipeline.ingest(DAY)
    assert missing(pipeline) == []
    assert tables(pipeline) == tables(clean)


@pytest.mark.slow
def test_data_that_comes_after_success_makes_the_day_a_changed_one(tmp_path: Path) -> None:
    clean, pipeline = Pipeline(Home(tmp_path / "clean"), SETTINGS), Pipeline(Home(tmp_path / "home"), SETTINGS)
    write_day(clean.home.landing, source="searches", day=DAY, frame=searches())
    clean.run(DAY, "all_users")
    folder = pipeline.home.landing_zone().folder("searches", DAY)
    folder.mkdir(parents=True)
    (folder / SUCCESS).touch()
    first = tick(pipeline, "landing_sensor")
    assert isinstance(first, dg.SensorResult)
    assert [request.partition_key for request in first.run_requests or []] == [DAY.isoformat()]
    pipeline.run(DAY, "all_users")
    assert pipeline.table("user_journeys").is_empty()
    quiet = tick(pipeline, "landing_sensor", first.cursor)
    assert isinstance(quiet, dg.SensorResult)
    assert not quiet.run_requests

    searches().write_parquet(folder / "part-0.parquet")
    changed = tick(pipeline, "landing_sensor", quiet.cursor)
    assert isinstance(changed, dg.SensorResult)
    assert [request.partition_key for request in changed.run_requests or []] == [DAY.isoformat()]
    pipeline.run(DAY, "all_users")
    assert tables(pipeline) == tables(clean)
    assert pipeline.table("user_journeys").equals(clean.table("user_journeys"))


@pytest.mark.slow
def test_a_day_whose_success_is_taken_away_again_keeps_its_rows_and_waits(tmp_path: Path) -> None:
    pipeline = Pipeline(Home(tmp_path / "home"), SETTINGS)
    folder = write_day(pipeline.home.landing, source="searches", day=DAY, frame=searches())
    write_day(pipeline.home.landing, source="searches", day=NEXT_DAY, frame=searches(NEXT_DAY))
    pipeline.ingest(NEXT_DAY)
    before = tables(pipeline)
    (folder / SUCCESS).unlink()
    (folder / "part-0.parquet").write_bytes(b"half a file")
    pipeline.run(NEXT_DAY)
    assert tables(pipeline) == before
    waiting = tick(pipeline, "landing_sensor")
    assert isinstance(waiting, dg.SensorResult)
    assert f"without _SUCCESS: searches {DAY}" in str(waiting.skip_reason)
    assert "is not complete" in str(failure(pipeline))
    write_day(pipeline.home.landing, source="searches", day=DAY, frame=searches())
    pipeline.ingest(DAY)
    assert tables(pipeline) == before
    assert missing(pipeline) == []


def failure(pipeline: Pipeline) -> str:
    result = pipeline.materialize("searches", days=(DAY, DAY))
    (event,) = result.filter_events(lambda event: event.is_step_failure)
    return str(event.step_failure_data.user_failure_data)


def test_a_day_that_is_not_over_waits(tmp_path: Path) -> None:
    pipeline = Pipeline(Home(tmp_path / "home"), SETTINGS)
    landing = pipeline.home.landing
    write_day(landing, source="searches", day=DAY, frame=searches())
    for ahead in (0, 1, 4_000):
        write_day(landing, source="searches", day=date.today() + timedelta(days=ahead), frame=searches())
    pipeline.ingest(DAY)
    assert pipeline.table("landed_days")["arrival_day"].to_list() == [DAY]
    assert len(pipeline.table("searches")) == ROWS


@pytest.mark.parametrize("link", ["file", "day", "source"])
def test_links_are_followed(tmp_path: Path, link: str) -> None:
    clean, pipeline = Pipeline(Home(tmp_path / "clean"), SETTINGS), Pipeline(Home(tmp_path / "home"), SETTINGS)
    folder = write_day(clean.home.landing, source="searches", day=DAY, frame=searches())
    clean.ingest(DAY)
    here = pipeline.home.landing_zone().folder("searches", DAY)
    if link == "source":
        here.parent.parent.mkdir(parents=True)
        here.parent.symlink_to(folder.parent)
    elif link == "day":
        here.parent.mkdir(parents=True)
        here.symlink_to(folder)
    else:
        here.mkdir(parents=True)
        (here / SUCCESS).touch()
        (here / "part-0.parquet").symlink_to(folder / "part-0.parquet")
    pipeline.ingest(DAY)
    assert tables(pipeline) == tables(clean)
    assert missing(pipeline) == []


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def nested(path: Path) -> None:
    path.mkdir()
    searches(user="ben").write_parquet(path / "part-0.parquet")


def compressed(path: Path) -> None:
    path.write_bytes(b"\x1f\x8b\x08\x00")


ODD_ENTRIES: dict[str, tuple[Callable[[Path], object], str]] = {
    "loop.csv": (loop, "Too many levels of symbolic links"),
    "loop.parquet": (loop, "Too many levels of symbolic links"),
    "pipe.csv": (os.mkfifo, "it is a pipe or a device, not a file"),
    "hour=12": (nested, "it is a folder; files are read from the day's own folder only"),
    "nested.parquet": (nested, "it is a folder; files are read from the day's own folder only"),
    "part-0.csv.gz": (compressed, "Compressed file ended before the end-of-stream marker was reached"),
    "part-0.avro": (lambda path: path.write_bytes(b"Obj\x01" + bytes(40)), "its format (Avro) is not read"),
    "part-0": (lambda path: path.write_text("ben;oak"), "its first line, of one field, names no column"),
}


@pytest.mark.parametrize("name", list(ODD_ENTRIES))
def test_what_cannot_be_read_is_not_passed_over_in_silence(tmp_path: Path, name: str) -> None:
    make, reason = ODD_ENTRIES[name]
    searches().write_parquet(tmp_path / "good.parquet")
    make(tmp_path / name)
    landed = read(tmp_path)
    assert landed.accepted.height == ROWS
    assert landed.days["unreadable_files"].to_list() == [1]
    ((file, said),) = landed.rejected.select("file", "reason").rows()
    assert file == name
    assert said.startswith(f"{UNREADABLE}{reason}")


def test_the_magic_at_the_beginning_of_a_parquet_file_is_not_needed(tmp_path: Path) -> None:
    searches().write_parquet(tmp_path / "part.parquet")
    wrong_magic(slice(0, 4))(tmp_path / "part.parquet")
    assert read(tmp_path).accepted.height == ROWS
