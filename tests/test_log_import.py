"""One file becomes a landing zone by day: whole or not at all, by the same contract as a run."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner
from rich.console import Console

from journeys_dagster.cli import cli
from journeys_dagster.cli import import_log as import_log_module
from journeys_dagster.environment import HOME_VARIABLE
from journeys_dagster.settings import Settings
from journeys_dagster.sources import log_import
from journeys_dagster.sources.columns import guess_columns
from journeys_dagster.sources.contracts import declared_sources
from journeys_dagster.sources.log_import import LogImportError
from journeys_dagster.sources.reader import read_days
from journeys_dagster.sources.survey import survey
from journeys_dagster.sources.writer import SIMULATED_MARKER

SOURCES = declared_sources(Settings())
DAYS = [date(2025, 6, 1), date(2025, 6, 2), date(2025, 6, 4)]
LOG = "customer;search term;ts\n" + "".join(
    f"u{number};oak {number};{day} 10:00:0{number} UTC\n" for day in DAYS for number in range(3)
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    # So that no line of a table is broken.
    monkeypatch.setattr(import_log_module, "err", Console(stderr=True, width=240))
    return tmp_path / "home"


def run(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["import", "log", *map(str, arguments)])
    return result.exit_code, " ".join(result.output.split())


def landed(home: Path, source: str = "searches") -> pl.DataFrame:
    days = {
        date.fromisoformat(folder.name.removeprefix("date=")): folder
        for folder in (home / "landing" / source).iterdir()
        if (folder / "_SUCCESS").exists()
    }
    return read_days(SOURCES[source], days, Settings().landing).accepted


def hidden(home: Path) -> list[str]:
    """What an import leaves below the landing zone besides its source and its lock."""
    return [path.name for path in (home / "landing").iterdir() if "lock" not in path.name and path.name not in SOURCES]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_log_lands_by_day_and_says_what_it_guessed(home: Path, tmp_path: Path, pack: type[bytes]) -> None:
    (tmp_path / "log").write_bytes(pack(LOG.encode()))
    status, said = run(tmp_path / "log", "--source", "searches")
    assert status == 0, said
    assert "guessed by its name" in said
    assert "9 of 9 rows of searches on 3 days, 2025-06-01 to 2025-06-04" in said
    rows = landed(home)
    assert rows["arrival_day"].to_list() == sorted(DAYS * 3)
    assert (rows["arrival_day"] == rows["occurred_at"].dt.date()).all()
    assert hidden(home) == []


def test_the_formats_land_the_same_rows(home: Path, tmp_path: Path) -> None:
    frame = pl.read_csv(LOG.encode(), separator=";")
    frames = []
    for name in ("log.csv", "log.parquet", "log.ndjson"):
        write = {".csv": frame.write_csv, ".parquet": frame.write_parquet, ".ndjson": frame.write_ndjson}
        write[Path(name).suffix](tmp_path / name)
        status, said = run(tmp_path / name, "--source", "searches", "--user", "customer", "--query", "search term")
        assert status == 0, said
        frames.append(landed(home))
        subprocess.run(["rm", "-r", str(home)], check=True)
    assert frames[0].equals(frames[1])
    assert frames[0].equals(frames[2])


def test_several_files_are_one_log(home: Path, tmp_path: Path) -> None:
    header, *lines = LOG.splitlines(keepends=True)
    for number in range(2):
        (tmp_path / f"{number}.csv").write_text(header + "".join(lines[number::2]))
    status, said = run(tmp_path / "0.csv", tmp_path / "1.csv", "--source", "searches")
    assert status == 0, said
    assert len(landed(home)) == 9


def test_a_column_may_be_told_or_be_one_value(home: Path, tmp_path: Path) -> None:
    (tmp_path / "sales.csv").write_text("who,what,when\nann,i1,1748772000000\n")
    told = ("--user", "who", "--item", "what", "--column", "occurred_at=when", "--time-unit", "ms")
    status, said = run(tmp_path / "sales.csv", "--source", "engagements", *told, "--constant", "action=purchase")
    assert status == 0, said
    assert landed(home, "engagements").select("user_id", "item_id", "action").rows() == [("ann", "i1", "purchase")]


def test_rows_without_a_time_arrive_on_the_day_that_is_told(home: Path, tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("sku,name,tags\ni1,Oak table,oak|table\n")
    status, said = run(tmp_path / "items.csv", "--source", "items")
    assert status == 1
    assert "--day" in said
    status, said = run(tmp_path / "items.csv", "--source", "items", "--day", "2025-06-01")
    assert status == 0, said
    (row,) = landed(home, "items").to_dicts()
    assert (row["arrival_day"], row["annotations"]) == (DAYS[0], ["oak", "table"])


def test_too_many_bad_rows_write_nothing_and_are_listed_by_reason(home: Path, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(LOG + "u9;oak;30.06.2025\n;oak;2025-06-01\n")
    status, said = run(tmp_path / "log.csv", "--source", "searches")
    assert status == 1
    assert "2 of 11 rows break the contract of searches; nothing was written" in said
    assert "does not tell the day from the month" in said
    assert "user_id is missing" in said
    assert hidden(home) == []
    assert not (home / "landing" / "searches").exists()


def test_a_few_bad_rows_are_counted_and_the_others_land(home: Path, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(LOG + "".join(LOG.splitlines(keepends=True)[1:]) * 3 + "u9;;2025-06-01\n")
    status, said = run(tmp_path / "log.csv", "--source", "searches")
    assert status == 0, said
    assert "query is missing" in said
    assert "36 of 37 rows" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--source", "serches"], "there is no source 'serches'"),
        (["--source", "searches", "--user", "client"], "there is no column 'client' for user_id"),
        (["--source", "searches", "--column", "client=x"], "client is no column of searches"),
        (["--source", "searches", "--column", "client"], "is not FIELD=…"),
    ],
)
def test_what_is_wrong_with_the_command_is_named(
    home: Path, tmp_path: Path, arguments: Sequence[str], said: str
) -> None:
    (tmp_path / "log.csv").write_text(LOG)
    status, output = run(tmp_path / "log.csv", *arguments)
    assert status > 0
    assert said in output
    assert not (home / "landing" / "searches").exists()


def test_days_that_are_there_are_not_touched(home: Path, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(LOG)
    assert run(tmp_path / "log.csv", "--source", "searches")[0] == 0
    before = landed(home)
    status, said = run(tmp_path / "log.csv", "--source", "searches")
    assert status == 1
    assert "holds days of searches already" in said
    assert landed(home).equals(before)


def test_a_simulated_zone_takes_no_log(home: Path, tmp_path: Path) -> None:
    (home / "landing").mkdir(parents=True)
    (home / "landing" / SIMULATED_MARKER).touch()
    (tmp_path / "log.csv").write_text(LOG)
    assert "simulated" in run(tmp_path / "log.csv", "--source", "searches")[1]


def test_a_file_that_cannot_be_read_is_named(home: Path, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_bytes(gzip.compress(LOG.encode() * 50)[:60])
    status, said = run(tmp_path / "log.csv", "--source", "searches")
    assert status == 1
    assert "log.csv cannot be read" in said
    assert not (home / "landing" / "searches").exists()


def test_an_import_that_is_killed_leaves_nothing_and_can_be_run_again(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "log.csv").write_text(LOG)
    monkeypatch.setenv("LOG", str(tmp_path / "log.csv"))
    # Waits for ever once the days are written and before they are in place.
    code = (
        "import os, time\n"
        "from journeys_dagster.sources import log_import\n"
        "from journeys_dagster.cli import cli\n"
        "write = log_import._write\n"
        "def wait(*arguments):\n"
        "    write(*arguments)\n"
        "    open(os.environ['LOG'] + '.reached', 'w').close()\n"
        "    time.sleep(3600)\n"
        "log_import._write = wait\n"
        "cli(['import', 'log', os.environ['LOG'], '--source', 'searches'])\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (tmp_path / "log.csv.reached").exists():
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (home / "landing" / "searches").exists()
    assert hidden(home) == [".import-searches"]
    (left,) = survey(home / "landing", SOURCES).passed_over
    assert left.path == ".import-searches"
    assert run(tmp_path / "log.csv", "--source", "searches")[0] == 0
    assert len(landed(home)) == 9
    assert hidden(home) == []
    assert not survey(home / "landing", SOURCES).passed_over


def test_an_answer_of_a_service_is_a_log(home: Path, tmp_path: Path) -> None:
    rows = [{"customer": f"u{day.day}", "search term": "oak", "ts": f"{day} 10:00:00"} for day in DAYS]
    (tmp_path / "log.json").write_text(json.dumps({"count": 3, "date": "2025-06-05", "events": rows}))
    status, said = run(tmp_path / "log.json", "--source", "searches")
    assert status == 0, said
    assert landed(home)["user_id"].to_list() == ["u1", "u2", "u4"]


def test_names_are_guessed_in_order_and_no_column_twice() -> None:
    fields = SOURCES["items"].fields
    assert guess_columns(["sku", "name", "tags", "category"], fields, {}) == {
        "item_id": "sku",
        "title": "name",
        "annotations": "tags",
        "interests": "category",
    }
    assert guess_columns(["item_id", "title", "name"], fields, {}) == {}
    assert guess_columns(["sku", "product_name", "product"], fields, {"title": "product_name"}) == {
        "item_id": "product"
    }
    assert guess_columns(["User", "user ", "query", "time"], SOURCES["searches"].fields, {}) == {"occurred_at": "time"}


def test_reasons_are_part_of_the_error(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("user_id,query,occurred_at\nu1,,2025-06-01\n")
    with pytest.raises(LogImportError) as error:
        log_import.import_log(
            [tmp_path / "log.csv"],
            tmp_path / "zone",
            SOURCES["searches"],
            Settings().landing,
            named={},
            constants={},
            day=None,
            advance=lambda what, done: None,
        )
    assert error.value.reasons is not None
    assert error.value.reasons.rows() == [("query is missing", 1, "log.csv", 1)]
