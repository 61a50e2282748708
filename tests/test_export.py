"""Exports of the marts: whole or not there, equal to the tables, and made while runs go on."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner
from conftest import Pipeline

from journeys_dagster.cli import cli
from journeys_dagster.resources import export as export_module
from journeys_dagster.resources.export import MANIFEST, Export, ExportError, export_tables
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.sql.models import load_models
from journeys_dagster.tables import Column, Table, snapshot_columns

MARTS = [model.table for model in load_models().values() if model.layer == "marts"]
FIRST = date(2025, 6, 1)
JOURNEYS = Table(
    kind="snapshot",
    name="journeys",
    description="",
    grain="",
    columns=snapshot_columns({"thing": Column(type="INTEGER", description="")}),
    key=("as_of", "user_id"),
    partition_column="as_of",
)
SNAPSHOTS = Table(
    kind="snapshot",
    name="user_snapshots",
    description="",
    grain="",
    columns=snapshot_columns({}),
    key=("as_of", "user_id"),
)


def write_day(warehouse: Warehouse, number: int, users: int) -> None:
    """A day of rows in both tables, in one transaction."""
    with warehouse.write() as connection:
        for table in (JOURNEYS, SNAPSHOTS):
            connection.execute(table.create_sql()).fetchall()
            thing = f", {number} as thing" if table is JOURNEYS else ""
            connection.execute(
                f"insert into {table.name} by name select date '{FIRST}' + {number} as as_of, 'u' || i as user_id, "
                f"'all_users' as scope, 'v' as algorithm_version{thing} from range({users}) users(i) order by hash(i)"
            ).fetchall()


@pytest.fixture
def stocked(warehouse: Warehouse) -> Warehouse:
    """Two tables with one day of a hundred users."""
    write_day(warehouse, 0, 100)
    return warehouse


def export(warehouse: Warehouse, to: Path, **options: Any) -> Export:
    return export_tables(warehouse, [JOURNEYS, SNAPSHOTS], to, **options)


def visible(to: Path) -> list[Path]:
    return sorted(path for path in to.iterdir() if not path.name.startswith("."))


def unfinished(to: Path) -> list[Path]:
    return sorted(to.glob(".unfinished*"))


def test_an_export_reads_back_as_the_marts_it_was_made_from(finished: Pipeline, tmp_path: Path):
    made = export_tables(finished.warehouse, MARTS, tmp_path / "exports")
    assert set(made.manifest["tables"]) == {"user_journeys", "user_snapshots", "current_user_journeys"}
    for name, entry in made.manifest["tables"].items():
        read = finished.warehouse.query(f"from read_parquet('{made.folder}/{entry['file']}')")
        expected = finished.table(name)
        assert read.schema == expected.schema
        assert read.select(pl.struct(pl.all()).hash().sort()).equals(expected.select(pl.struct(pl.all()).hash().sort()))
        assert read.select(entry["sorted_by"]).equals(read.select(entry["sorted_by"]).sort(entry["sorted_by"]))
        assert pl.read_parquet(made.folder / entry["file"]).height == entry["rows"] == expected.height > 0


def test_the_manifest_says_what_there_is(stocked: Warehouse, tmp_path: Path):
    made = export(stocked, tmp_path / "exports")
    manifest = json.loads((made.folder / MANIFEST).read_text())
    assert manifest == made.manifest
    assert (manifest["as_of"], manifest["algorithm_version"]) == (str(FIRST), "v")
    assert {path.name for path in made.folder.iterdir()} == {
        MANIFEST, "_SUCCESS", "journeys.parquet", "user_snapshots.parquet"
    }  # fmt: skip
    for name, entry in manifest["tables"].items():
        file = made.folder / entry["file"]
        assert entry["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
        assert entry["bytes"] == file.stat().st_size
        assert entry["rows"] == 100
        columns = stocked.query(f"select column_name, column_type from (describe {name})")
        assert entry["columns"] == dict(columns.iter_rows())


def test_an_export_touches_no_other_one_unless_told_how_many_to_keep(stocked: Warehouse, tmp_path: Path):
    to = tmp_path / "exports"
    folders = [export(stocked, to).folder for _ in range(3)]
    assert visible(to) == folders
    newest = export(stocked, to, keep=2).folder
    assert visible(to) == [folders[2], newest]
    assert not unfinished(to)


def test_other_files_in_the_folder_stay(stocked: Warehouse, tmp_path: Path):
    to = tmp_path / "exports"
    (to / "marts_as_of_mine").mkdir(parents=True)
    (to / "notes.txt").touch()
    made = export(stocked, to, keep=1)
    assert visible(to) == sorted([to / "marts_as_of_mine", to / "notes.txt", made.folder])


def test_a_warehouse_without_marts_says_so(warehouse: Warehouse, tmp_path: Path):
    with warehouse.write():
        pass
    with pytest.raises(ExportError, match=rf"{warehouse.path} has nothing to export yet: use `journeys run` first"):
        export(warehouse, tmp_path / "exports")
    write_day(warehouse, 0, 0)
    with pytest.raises(ExportError, match=rf"{warehouse.path} has no snapshots to export yet: use `journeys run`"):
        export(warehouse, tmp_path / "exports")
    assert not visible(tmp_path / "exports")
    assert not unfinished(tmp_path / "exports")


def test_a_folder_that_cannot_be_written_to_is_named(stocked: Warehouse, tmp_path: Path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ExportError, match=f"export to {file}/exports failed: .*Nothing of it was left"):
        export(stocked, file / "exports")


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyError("unforeseen")])
def test_a_failed_export_leaves_nothing(
    stocked: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
):
    def fail(path: Path) -> None:
        raise fault

    to = tmp_path / "exports"
    earlier = export(stocked, to).folder
    monkeypatch.setattr(export_module, "flush_to_disk", fail)
    with pytest.raises(ExportError if isinstance(fault, OSError) else KeyError, match=r"exports failed|unforeseen"):
        export(stocked, to, keep=1)
    assert visible(to) == [earlier]
    assert not unfinished(to)


def test_a_full_disk_while_a_table_is_written_is_told(
    stocked: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # Every write to this device fails as on a full disk.
    monkeypatch.setattr(export_module, "_file", lambda table: "../../full" if table is SNAPSHOTS else "j.parquet")
    (tmp_path / "full").symlink_to("/dev/full")
    to = tmp_path / "exports"
    with pytest.raises(ExportError, match=f"export to {to} failed: .*[Nn]o space left"):
        export(stocked, to)
    assert not visible(to)
    assert not unfinished(to)


def test_the_command_prints_what_was_written_and_where(finished: Pipeline, tmp_path: Path):
    def journeys(*words: str) -> str:
        found = CliRunner().invoke(cli, words, env={"JOURNEYS_HOME": str(finished.home.path), "COLUMNS": "120"})
        assert found.exit_code == 0, found.output
        return found.stdout

    to = tmp_path / "exports"
    assert "current_user_journeys" in journeys("export", "--to", str(to))
    said = json.loads(journeys("export", "--to", str(to), "--json"))
    assert Path(said["folder"]) == visible(to)[-1]
    assert said["tables"]["current_user_journeys"]["rows"] == len(finished.table("current_user_journeys"))


# Other processes

PREPARE = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_export import JOURNEYS, SNAPSHOTS, write_day
from journeys_dagster.resources import export
from journeys_dagster.resources.warehouse import Warehouse
warehouse = Warehouse(database=sys.argv[1], lock_timeout_seconds=60)
to = Path(sys.argv[2])
def stop(*arguments):
    print("ready", flush=True)
    time.sleep(60)
"""
MOMENTS = {
    "tables written": "export._describe = stop",
    "about to be renamed": "export.flush_to_disk = lambda path: stop() if (path / '_SUCCESS').exists() else None",
    "renamed": "export.flush_to_disk = lambda path: stop() if list(path.glob('marts*')) else None",
}
EXPORT = "export.export_tables(warehouse, [JOURNEYS, SNAPSHOTS], to)"
WRITE_DAYS = """
print("ready", flush=True)
for number in range(1, 60):
    write_day(warehouse, number, 100)
    time.sleep(0.02)
"""


def start(code: str, warehouse: Warehouse, to: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PREPARE + code, str(warehouse.path), str(to), str(Path(__file__).parent)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    return running


@pytest.mark.parametrize(
    "moment",
    [name if name == "about to be renamed" else pytest.param(name, marks=pytest.mark.slow) for name in MOMENTS],
)
def test_a_killed_export_is_whole_or_not_there_and_the_next_one_clears_up(
    stocked: Warehouse, tmp_path: Path, moment: str
):
    to = tmp_path / "exports"
    earlier = export(stocked, to).folder
    with start(f"{MOMENTS[moment]}\n{EXPORT}", stocked, to) as process:
        os.kill(process.pid, signal.SIGKILL)
    found = visible(to)
    assert found[0] == earlier
    assert len(found) == (2 if moment == "renamed" else 1)
    assert all((folder / "_SUCCESS").exists() for folder in found)
    assert len(unfinished(to)) == (0 if moment == "renamed" else 1)
    made = export(stocked, to)
    assert made.manifest["tables"]["journeys"]["rows"] == 100
    assert not unfinished(to)


def test_exports_made_while_another_process_writes_hold_whole_days_of_all_tables(
    stocked: Warehouse, tmp_path: Path, figures: Callable[..., None]
):
    to = tmp_path / "exports"
    rows, seconds = [], []
    with start(WRITE_DAYS, stocked, to) as process:
        while process.poll() is None:
            began = time.monotonic()
            made = export(stocked, to)
            seconds.append(time.monotonic() - began)
            tables = [pl.read_parquet(made.folder / f"{name}.parquet") for name in ("journeys", "user_snapshots")]
            newest = FIRST + timedelta(days=len(tables[0]) // 100 - 1)
            assert len(tables[0]) == len(tables[1]) > 0
            assert len(tables[0]) % 100 == 0
            assert made.manifest["as_of"] == str(newest)
            rows.append(len(tables[0]))
        assert process.returncode == 0
    assert rows == sorted(rows)
    assert len(set(rows)) > 1
    figures(exports=len(rows), half_days=0, longest_seconds=max(seconds))
