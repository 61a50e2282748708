"""Warehouses of other table versions: migrated whole or not at all, or refused with the way out."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import duckdb
import pytest
from click.testing import CliRunner
from conftest import Pipeline

from journeys_dagster.cli import cli
from journeys_dagster.definitions import declared_tables
from journeys_dagster.resources import migrations
from journeys_dagster.resources.home import Home
from journeys_dagster.resources.migrations import MigrationError, load_migrations
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import Settings

VERSION_1 = Path(__file__).with_name("warehouse_version_1.sql")
ADD_COLOUR = """
alter table if exists landed_days add column if not exists colour varchar default '';
alter table if exists landed_days alter column colour set not null;
alter table if exists landed_days alter column colour drop default;
"""
COUNT_USERS = "alter table if exists users_in_scope add column visits bigint default 0;"
LANDED = (
    "insert into landed_days by name select date '2025-06-30' as arrival_day, 'items' as source, 'f' as fingerprint, "
    "1 as files, 0 as unreadable_files, 1 as rows_read, 1 as rows_accepted, 0 as rows_duplicate, 0 as rows_rejected"
)
Folder = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """Make a folder of migrations, by the names of its files, and use it."""

    def make(**files: str) -> Path:
        path = tmp_path / "migrations"
        path.mkdir(exist_ok=True)
        for name, sql in files.items():
            (path / f"{name.removeprefix('m')}.sql").write_text(sql)
        monkeypatch.setattr(migrations, "FOLDER", path)
        migrations._loaded.cache_clear()
        return path

    return make


@pytest.fixture
def older(warehouse: Warehouse) -> Warehouse:
    """A warehouse of version 1, with a day that was taken in."""
    make_version_1(warehouse.path)
    return warehouse


def make_version_1(path: Path) -> None:
    with duckdb.connect(path) as connection:
        connection.execute(VERSION_1.read_text(encoding="utf-8"))
        connection.execute(LANDED)


def version_of(path: Path) -> int:
    """The version that the file holds, read without the project's code."""
    with duckdb.connect(path, read_only=True) as connection:
        return connection.sql("select version from table_version").fetchall()[0][0]


def columns_of(path: Path, table: str) -> list[str]:
    with duckdb.connect(path, read_only=True) as connection:
        return [row[0] for row in connection.sql(f"describe {table}").fetchall()]


def test_a_new_warehouse_has_the_newest_version(warehouse: Warehouse, folder: Folder):
    folder(m0002_add_colour=ADD_COLOUR)
    assert warehouse.migrate() is None
    with warehouse.write() as connection:
        connection.execute("create table things (a int)")
    assert version_of(warehouse.path) == 2
    assert warehouse.query("select version from table_version")["version"].to_list() == [2]


def test_the_first_write_migrates_and_the_rows_stay(older: Warehouse, folder: Folder):
    folder(m0002_add_colour=ADD_COLOUR, m0003_count_users=COUNT_USERS)
    with duckdb.connect(older.path) as connection:
        connection.execute("create view marks as select fingerprint from landed_days")
    with older.write() as connection:
        assert connection.sql("select fingerprint, colour from landed_days").fetchall() == [("f", "")]
        assert connection.sql("from marks").fetchall() == [("f",)]
    assert version_of(older.path) == 3
    assert "visits" in columns_of(older.path, "users_in_scope")
    with older.write() as connection, pytest.raises(duckdb.ConstraintException, match="colour"):
        connection.execute(LANDED)


def test_a_migrated_warehouse_gets_only_what_is_new(older: Warehouse, folder: Folder):
    folder(m0002_add_colour=ADD_COLOUR)
    assert older.migrate() == (1, 2)
    assert older.migrate() == (2, 2)
    folder(m0003_count_users=COUNT_USERS)
    assert older.migrate() == (2, 3)


def test_a_warehouse_that_lacks_the_table_is_migrated_too(warehouse: Warehouse, folder: Folder):
    with duckdb.connect(warehouse.path) as connection:
        connection.execute("create table things (a int)")
    folder(m0002_add_colour=ADD_COLOUR)
    assert warehouse.migrate() == (1, 2)


def test_reading_an_older_warehouse_changes_nothing_and_says_what_to_do(older: Warehouse, folder: Folder):
    folder(m0002_add_colour=ADD_COLOUR)
    before = older.path.read_bytes()
    with pytest.raises(MigrationError, match=rf"{older.path} was made by an older version .*`journeys migrate`"):
        older.query("from landed_days")
    assert older.path.read_bytes() == before


def test_a_newer_warehouse_is_refused_whatever_is_done_with_it(older: Warehouse, folder: Folder):
    older.migrate()
    with older.write() as connection:
        connection.execute("update table_version set version = 99")
    for use in (older.migrate, lambda: older.query("select 1"), lambda: older.write().__enter__()):
        with pytest.raises(MigrationError, match=rf"{older.path} has table version 99, .* up to {newest()}\. Install"):
            use()


def newest() -> int:
    return migrations.newest_version()


@pytest.mark.parametrize("fault", ["alter table landed_days drop column nothing;", "no sql;"])
def test_a_migration_that_fails_leaves_the_old_version_whole(older: Warehouse, folder: Folder, fault: str):
    folder(m0002_add_colour=ADD_COLOUR, m0003_fault=fault)
    with pytest.raises(
        MigrationError, match=r"from table version 1 to 3: migration 0003_fault failed: (.|\n)*Nothing was"
    ):
        older.migrate()
    assert "colour" not in columns_of(older.path, "landed_days")
    with pytest.raises(duckdb.CatalogException):
        version_of(older.path)


@pytest.mark.parametrize("name", ["m0003_gap", "m0002", "m2_short"])
def test_a_migration_that_is_misnamed_is_told(folder: Folder, name: str):
    with pytest.raises(ValueError, match="the next migration is to be called 0002_what_it_does"):
        load_migrations(folder(**{name: "select 1"}))


MIGRATE = """
import sys
from pathlib import Path
from journeys_dagster.resources import migrations
from journeys_dagster.resources.warehouse import Warehouse
migrations.FOLDER = Path(sys.argv[2])
print("ready", flush=True)
print(Warehouse(database=sys.argv[1], lock_timeout_seconds=60).migrate(), flush=True)
"""
# The commit never comes: the process prints that it is in the middle, and works on.
NEVER_DONE = ADD_COLOUR + "copy (select 1) to '{signal}'; select sum(hash(a)) from range(1000000000000) t(a);"


def migrate_in_process(warehouse: Warehouse, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", MIGRATE, str(warehouse.path), str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_process_killed_in_the_middle_leaves_the_old_version_whole(older: Warehouse, folder: Folder, tmp_path: Path):
    signal_file = tmp_path / "in the middle.csv"
    path = folder(m0002_never_done=NEVER_DONE.format(signal=signal_file))
    with migrate_in_process(older, path) as process:
        deadline = time.monotonic() + 600
        while not signal_file.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
    assert signal_file.exists()
    assert "colour" not in columns_of(older.path, "landed_days")
    folder(m0002_never_done=ADD_COLOUR)
    assert older.migrate() == (1, 2)
    assert older.query("select colour from landed_days")["colour"].to_list() == [""]


def test_of_several_processes_one_migrates_and_the_others_wait(older: Warehouse, folder: Folder):
    # Not repeatable: a second migration of the same warehouse would fail.
    path = folder(m0002_once="alter table landed_days add column colour varchar default '';")
    processes = [migrate_in_process(older, path) for _ in range(3)]
    said = sorted(process.communicate(timeout=60)[0].splitlines()[1] for process in processes)
    assert said.count("(1, 2)") >= 1
    assert set(said) <= {"(1, 2)", "(2, 2)"}
    assert all(process.returncode == 0 for process in processes)
    assert columns_of(older.path, "landed_days").count("colour") == 1


def test_dagster_migrates_before_a_run_uses_the_warehouse(empty_pipeline: Pipeline, folder: Folder):
    make_version_1(empty_pipeline.warehouse.path)
    folder(m0002_more="create table more (a int);")

    @dg.op
    def read(warehouse: Warehouse) -> None:
        warehouse.query("from more")

    @dg.job(resource_defs={"warehouse": empty_pipeline.warehouse})
    def reading() -> None:
        read()

    assert reading.execute_in_process(instance=empty_pipeline.instance).success


def test_the_commands_say_what_to_do_and_do_it(home: Home, folder: Folder):
    make_version_1(home.warehouse(Settings()).path)
    folder(m0002_add_colour=ADD_COLOUR)

    def journeys(*words: str) -> str:
        return " ".join(CliRunner().invoke(cli, words, env={"JOURNEYS_HOME": str(home.path)}).output.split())

    assert "was made by an older version of this code" in journeys("show", "ann")
    assert "from table version 1 to 2" in journeys("migrate")
    assert "has table version 2, the newest" in journeys("migrate")
    assert "has no journeys yet" in journeys("show", "ann")


def test_a_migrated_warehouse_has_the_tables_of_a_new_one(older: Warehouse, home: Home, tmp_path: Path):
    """A change of a table that exists in warehouses needs a migration; this test fails without."""
    older.migrate()
    new = Home(tmp_path / "new").warehouse(Settings())
    with new.write() as connection:
        for table in declared_tables(Settings()).values():
            if table.kind != "view":
                connection.execute(table.create_sql())
    shapes = [
        set(
            warehouse.query(
                "select table_name, column_name, data_type, is_nullable, column_default from duckdb_columns() "
                "where database_name = current_database() and not internal"
            ).iter_rows()
        )
        for warehouse in (older, new)
    ]
    migrated, fresh = shapes
    known = {row[0] for row in migrated}
    assert {row for row in fresh if row[0] in known} == migrated
    assert older.query("select count(*) as n from landed_days")["n"][0] == 1


def test_the_former_confidence_becomes_the_probability_of_a_return(older: Warehouse):
    tables = ("rankings", "user_journeys")
    with duckdb.connect(older.path) as connection:
        for table in tables:
            columns = connection.sql(f"select column_name, column_type from (describe {table})").fetchall()
            values = {"confidence": "0.75", "return_probability": "0.1", "evergreen_until": "null"}
            usual = {"DATE": "date '2025-06-30'", "TIMESTAMP": "timestamp '2025-06-30'", "VARCHAR": "'x'"}
            row = [values.get(name, usual.get(kind, "[]" if kind.endswith("[]") else "1")) for name, kind in columns]
            connection.execute(f"insert into {table} values ({', '.join(row)})")
    older.migrate()
    for table in tables:
        found = older.query(f"select confidence, return_probability from {table}")
        assert found.rows() == [(0.75, 0.75)]


def test_keywords_of_before_are_shown_as_they_were_typed(older: Warehouse):
    keyword = "{'keyword': 'oak', 'weight': 1.5, 'sources': ['search'], 'last_seen': timestamp '2025-06-30'}"
    with duckdb.connect(older.path) as connection:
        columns = connection.sql("select column_name, column_type from (describe user_journeys)").fetchall()
        usual = {"DATE": "date '2025-06-30'", "TIMESTAMP": "timestamp '2025-06-30'", "VARCHAR": "'x'"}
        row = [f"[{keyword}]" if name == "keywords" else usual.get(kind, "1") for name, kind in columns]
        connection.execute(f"insert into user_journeys values ({', '.join(row)})")
    older.migrate()
    (listed,) = older.query("select keywords from user_journeys")["keywords"][0]
    assert (listed["keyword"], listed["shown"], listed["weight"], listed["sources"]) == ("oak", "oak", 1.5, ["search"])


def test_what_the_check_costs(older: Warehouse, figures: Callable[..., None]):
    older.migrate()
    rounds = 200
    with older.read() as connection:
        began = time.perf_counter()
        for _ in range(rounds):
            migrations.require_current(connection, older.path)
        check = (time.perf_counter() - began) / rounds
    began = time.perf_counter()
    for _ in range(rounds):
        with older.read():
            pass
    figures(check_ms=check * 1000, open_ms=(time.perf_counter() - began) / rounds * 1000)
