"""Rewriting the warehouse file: smaller, equal, and whole whenever it is cut off."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from journeys_dagster.resources import compaction
from journeys_dagster.resources.compaction import CompactionError, checkpointed_blocks, compact
from journeys_dagster.resources.warehouse import Warehouse, WarehouseError

ROWS = "select count(*), sum(hash(rows)) from things as rows"


@pytest.fixture
def half_empty(warehouse: Warehouse) -> Warehouse:
    """A table, a view and a macro, and most of the file free."""
    with warehouse.write() as connection:
        connection.execute(
            """
            create macro doubled(x) as x * 2;
            create table things (size bigint not null, tags varchar[] not null, note varchar, ball double default 1);
            create view doubles as select doubled(size) as twice from things;
            create table ballast as select range as a, hash(range) as b from range(600_000);
            insert into things by name select range as size, ['a', range::varchar] as tags, null as note
            from range(5_000);
            """
        ).fetchall()
    with warehouse.write() as connection:
        connection.execute("drop table ballast").fetchall()
    return warehouse


def contents(warehouse: Warehouse) -> list[object]:
    """Rows, the view on them, and what the tables are."""
    queries = (ROWS, "select sum(twice) from doubles", "select sql from duckdb_tables() order by sql")
    with warehouse.read() as connection:
        return [connection.sql(query).fetchall() for query in queries]


def beside(warehouse: Warehouse) -> set[str]:
    return {path.name for path in warehouse.path.parent.iterdir()} - {
        "warehouse.duckdb", "warehouse.duckdb.lock", "warehouse.duckdb.lock.turnstile"
    }  # fmt: skip


def test_a_rewritten_file_is_smaller_and_holds_the_same(half_empty: Warehouse):
    before, size = contents(half_empty), half_empty.path.stat().st_size
    half_empty.path.chmod(0o640)
    was, now = compact(half_empty, above_free_share=0.3)
    assert was.free_share > 0.3 > now.free_share
    assert half_empty.path.stat().st_size < size / 2
    assert half_empty.path.stat().st_mode & 0o777 == 0o640
    assert contents(half_empty) == before
    assert not beside(half_empty)
    with half_empty.write() as connection:
        connection.execute("insert into things by name select 1 as size, [] as tags").fetchall()
        assert connection.sql("select doubled(ball) from things where tags = []").fetchall() == [(2.0,)]


def test_a_file_that_is_full_enough_is_left_alone(half_empty: Warehouse):
    inode = half_empty.path.stat().st_ino
    before, after = compact(half_empty, above_free_share=1.0)
    assert before == after == checkpointed_blocks(half_empty)
    assert half_empty.path.stat().st_ino == inode


def test_too_little_disk_is_told_before_anything_is_written(half_empty: Warehouse, monkeypatch: pytest.MonkeyPatch):
    before = contents(half_empty)
    monkeypatch.setattr(compaction.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 7})())
    with pytest.raises(CompactionError, match=rf"{half_empty.path} could not be rewritten: .* has 7\. The old file"):
        compact(half_empty, above_free_share=0.0)
    assert contents(half_empty) == before
    assert not beside(half_empty)


@pytest.mark.parametrize(
    ("statement", "what"),
    [("delete from {new}.main.things where size = 3", "things"), ("drop view {new}.doubles", "doubles")],
)
def test_a_copy_that_differs_is_thrown_away(
    half_empty: Warehouse, monkeypatch: pytest.MonkeyPatch, statement: str, what: str
):
    before, compare = contents(half_empty), compaction._require_equal

    def spoil(connection, path: Path, copy: Path) -> None:
        connection.execute(statement.format(new=f'"{copy}"')).fetchall()
        compare(connection, path, copy)

    monkeypatch.setattr(compaction, "_require_equal", spoil)
    with pytest.raises(CompactionError, match=f"differs in {what}. The old file stands"):
        compact(half_empty, above_free_share=0.0)
    assert contents(half_empty) == before
    assert not beside(half_empty)


KILLED = """
import os, sys, time
from pathlib import Path
from journeys_dagster.resources import compaction
from journeys_dagster.resources.warehouse import Warehouse
def stop(*arguments):
    print("ready", flush=True)
    time.sleep(60)
{moment}
compaction.compact(Warehouse(database=sys.argv[1], lock_timeout_seconds=60), above_free_share=0.0)
"""
MOMENTS = {
    "copied": "compaction._require_equal = stop",
    "about to be replaced": "compaction.flush_to_disk = stop",
    "replaced": "compaction.flush_to_disk = lambda path: stop() if path.is_dir() else None",
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_process_killed_meanwhile_leaves_the_old_file_or_the_new_one(
    half_empty: Warehouse, moment: str, figures: Callable[..., None]
):
    before, inode = contents(half_empty), half_empty.path.stat().st_ino
    code = KILLED.format(moment=MOMENTS[moment])
    with subprocess.Popen(
        [sys.executable, "-c", code, str(half_empty.path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.kill(process.pid, signal.SIGKILL)
    assert (half_empty.path.stat().st_ino != inode) == (moment == "replaced")
    assert contents(half_empty) == before
    left = beside(half_empty)
    compact(half_empty, above_free_share=1.0)
    assert not beside(half_empty)
    compact(half_empty, above_free_share=0.0)
    assert contents(half_empty) == before
    assert not beside(half_empty)
    figures(left_beside=len(left), rows_lost=0)


def test_a_foreign_shell_that_holds_the_file_is_waited_for_and_named(half_empty: Warehouse):
    impatient = Warehouse(database=str(half_empty.path), lock_timeout_seconds=0.05)
    code = "import duckdb, sys, time; c = duckdb.connect(sys.argv[1]); print('ready', flush=True); time.sleep(60)"
    before = contents(half_empty)
    with subprocess.Popen(
        [sys.executable, "-c", code, str(half_empty.path)], stdout=subprocess.PIPE, text=True
    ) as shell:
        assert shell.stdout is not None
        assert shell.stdout.readline() == "ready\n"
        with pytest.raises(WarehouseError, match="is held open by another program"):
            compact(impatient, above_free_share=0.0)
        shell.kill()
    assert contents(half_empty) == before
