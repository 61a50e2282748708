"""Disks that are full, read-only or forbidden: the old rows stand, the error says what to do, and then it goes on."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner, Result
from warm_command import warm_command
from whole_tables import all_tables, differing_rows

from journeys_dagster.cli import cli
from journeys_dagster.resources.home import Home
from journeys_dagster.resources.warehouse import Warehouse, WarehouseError
from journeys_dagster.settings import Settings
from journeys_dagster.tables import Column, Table, snapshot_columns

DAY = date(2025, 6, 10)
MEGABYTE = 1_000_000
CONSTANTS = {"scope": "all_users", "algorithm_version": "v1"}
THINGS = Table(
    kind="snapshot",
    name="things",
    description="",
    grain="",
    columns=snapshot_columns({"thing": Column(type="VARCHAR", description="")}),
    partition_column="as_of",
)
VISITS = Table(
    kind="landed",
    name="visits",
    description="",
    grain="",
    columns={"arrival_day": Column(type="DATE", description=""), "visitor": Column(type="VARCHAR", description="")},
    partition_column="arrival_day",
)


class Disk:
    """A small disk of its own, in memory."""

    def __init__(self, path: Path, size: int) -> None:
        path.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)]
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
        if mounted.returncode:
            pytest.skip(f"a small disk cannot be mounted: {mounted.stderr.strip()}")
        self.path = path

    def fill(self, *, leave: int) -> None:
        """Fill it up to some bytes."""
        state = os.statvfs(self.path)
        (self.path / "other people's files").write_bytes(bytes(max(0, state.f_bavail * state.f_frsize - leave)))

    def free(self) -> None:
        """Free it again."""
        (self.path / "other people's files").unlink()

    def remount(self, mode: str) -> None:
        """Make it read-only (ro) or writable (rw)."""
        subprocess.run(["mount", "-o", f"remount,{mode}", str(self.path)], check=True)

    def unmount(self) -> None:
        """Take it away, whoever still uses it."""
        subprocess.run(["umount", "--lazy", str(self.path)], check=True)


@pytest.fixture
def make_disk(tmp_path: Path) -> Iterator[Callable[[int], Disk]]:
    if sys.platform != "linux" or shutil.which("mount") is None:
        pytest.skip("needs Linux with mount")
    made: list[Disk] = []

    def make(size: int) -> Disk:
        made.append(Disk(tmp_path / "disk", size))
        return made[-1]

    yield make
    for disk in made:
        disk.unmount()


def texts(count: int) -> list[str]:
    """Texts that do not compress, the same ones each time."""
    return [hashlib.sha512(str(number).encode()).hexdigest() for number in range(count)]


def write_snapshot(warehouse: Warehouse, rows: int) -> None:
    frame = pl.DataFrame({"user_id": [f"user-{each}" for each in range(rows)], "thing": texts(rows)})
    warehouse.replace_snapshot(THINGS, [frame], as_of=DAY, constants=CONSTANTS)


def write_days(warehouse: Warehouse, rows: int) -> None:
    frame = pl.DataFrame({"arrival_day": [DAY] * rows, "visitor": texts(rows)})
    warehouse.replace_days([(VISITS, frame, {})], [DAY])


def stocked_warehouse(folder: Path) -> Warehouse:
    warehouse = Home(folder).warehouse(Settings())
    with warehouse.write() as connection:
        connection.execute(
            "create table users_in_scope as select $day as as_of, 'user-' || range as user_id, 0 as batch, "
            "'all_users' as scope, 'v1' as algorithm_version from range(200_000)",
            {"day": DAY},
        )
    write_snapshot(warehouse, 100)
    write_days(warehouse, 100)
    return warehouse


def counts(warehouse: Warehouse) -> tuple[int, int]:
    found = warehouse.query("select (select count(*) from things), (select count(*) from visits)").row(0)
    return found[0], found[1]


# Full


@pytest.mark.parametrize(
    ("write", "rows", "leave", "afterwards"),
    [
        pytest.param(write_snapshot, 10_000, 300_000, {(100, 100)}, id="while frames are put on disk"),
        pytest.param(write_snapshot, 10_000, 1_600_000, {(100, 100)}, id="while a snapshot is committed"),
        # Committed to the log, which cannot be folded in: the next to open the warehouse does that.
        pytest.param(write_snapshot, 10_000, 3_000_000, {(100, 100), (10_000, 100)}, id="while the log is folded in"),
        pytest.param(write_days, 10_000, 300_000, {(100, 100)}, id="while a landing day is committed"),
        pytest.param(write_days, 200_000, 6_000_000, {(100, 100)}, id="while much of a landing day is written"),
        pytest.param(write_days, 10_000, 0, {(100, 100)}, id="before anything is written"),
    ],
)
def test_a_full_disk_leaves_whole_rows_and_the_same_write_succeeds_later(
    make_disk: Callable[[int], Disk],
    write: Callable[[Warehouse, int], None],
    rows: int,
    leave: int,
    afterwards: set[tuple[int, int]],
) -> None:
    disk = make_disk(60 * MEGABYTE)
    warehouse = stocked_warehouse(disk.path / "home")
    disk.fill(leave=leave)
    with pytest.raises(
        WarehouseError, match=rf"disk of warehouse {warehouse.path} is full: free some space.*run again"
    ):
        write(warehouse, rows)
    assert counts(warehouse) in afterwards, "on the full disk"
    assert list(warehouse.path.parent.glob("spool-*")) == []
    disk.free()
    assert counts(warehouse) in afterwards
    write(warehouse, rows)
    assert rows in counts(warehouse)


LIMITED = """
import resource, sys
from pathlib import Path
sys.path[:0] = sys.argv[3:]
from test_disk import WarehouseError, counts, stocked_warehouse, write_days, write_snapshot
folder, limit = Path(sys.argv[1]), int(sys.argv[2])
warehouse = stocked_warehouse(folder)
size = warehouse.path.stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (limit if limit else size, resource.RLIM_INFINITY))
for write in (write_snapshot, write_days):
    try:
        write(warehouse, 50_000)
    except WarehouseError as error:
        print(error)
    print(counts(warehouse))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
write_snapshot(warehouse, 50_000)
write_days(warehouse, 50_000)
print(counts(warehouse))
"""


@pytest.mark.parametrize(
    "limit",
    [pytest.param(0, id="of the warehouse", marks=pytest.mark.slow), pytest.param(200_000, id="of anything")],
)
def test_a_limit_on_file_sizes_is_named_and_the_old_rows_stand(tmp_path: Path, limit: int) -> None:
    """As where a user has a quota; needs no privilege."""
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "home"), str(limit), *folders]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    errors = [line for line in done.stdout.splitlines() if "takes no file of that size" in line]
    assert len(errors) == 2, done.stdout
    assert all("warehouse.duckdb" in error and "ulimit -f" in error and "run again" in error for error in errors)
    assert [line for line in done.stdout.splitlines() if line.startswith("(")] == [
        "(100, 100)",
        "(100, 100)",
        "(50000, 50000)",
    ]


@pytest.mark.slow
def test_a_run_on_a_full_disk_says_so_and_succeeds_once_there_is_space(
    *,
    make_disk: Callable[[int], Disk],
    tmp_path: Path,
    world_home: Path,
    finished_home: Path,
    world_days: list[date],
    figures: Callable[..., None],
) -> None:
    """Whatever stops first: Dagster's records, what is put on disk, the warehouse."""
    disk = make_disk(400 * MEGABYTE)
    expected, failures = all_tables(finished_home / "warehouse.duckdb"), []
    before = all_tables(world_home / "warehouse.duckdb")["current_user_journeys"]
    log = tmp_path / "log"
    words = ("run", "--date", str(world_days[-1]))
    with warm_command() as command:
        for leave in (0, 40_000, 1 * MEGABYTE, 2 * MEGABYTE, 3 * MEGABYTE, 4 * MEGABYTE):
            home = disk.path / f"home-{leave}"
            shutil.copytree(world_home, home)
            disk.fill(leave=leave)
            log.unlink(missing_ok=True)
            status = command.start(*words, home=home, log=log).wait()
            disk.free()
            if status:
                said = " ".join(log.read_text().split())
                assert "full: free some space" in said, said
                assert "Traceback" not in said, said
                failures.append(said[said.index("Error: ") :].replace(str(disk.path), "…")[:200])
                found = all_tables(home / "warehouse.duckdb")["current_user_journeys"]
                assert found.equals(before), "nothing was announced"
            command.run(*words, home=home, log=log)
            assert differing_rows(expected, all_tables(home / "warehouse.duckdb")) == {}, leave
            shutil.rmtree(home)
    assert len(failures) >= 3
    figures(failed_runs=len(failures), differing_rows=0, said=" | ".join(failures))


# Read-only


def journeys(home: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, words, env={"JOURNEYS_HOME": str(home), "COLUMNS": "400"})


@pytest.mark.parametrize("lock_files", [True, False], ids=["with lock files", "without"])
def test_a_read_only_disk_can_be_read_and_says_that_it_cannot_be_written(
    make_disk: Callable[[int], Disk], finished_home: Path, world_days: list[date], lock_files: bool
) -> None:
    disk = make_disk(400 * MEGABYTE)
    home = disk.path / "home"
    shutil.copytree(finished_home, home)
    if not lock_files:
        for lock in home.glob("*.lock*"):
            lock.unlink()
    disk.remount("ro")
    shown = journeys(home, "show", "--sample", "2", "--json")
    assert shown.exit_code == 0, shown.output
    assert shown.stdout == journeys(finished_home, "show", "--sample", "2", "--json").stdout
    refused = journeys(home, "run", "--date", str(world_days[-1]))
    assert refused.exit_code == 1
    said = " ".join(refused.output.split())
    assert f"disk of {home} cannot be written, it is read-only: make it writable" in said
    with pytest.raises(WarehouseError, match="read-only: make it writable"), Home(home).warehouse(Settings()).write():
        pass


def test_the_log_of_a_killed_writer_is_read_on_a_read_only_disk(make_disk: Callable[[int], Disk]) -> None:
    disk = make_disk(60 * MEGABYTE)
    warehouse = stocked_warehouse(disk.path / "home")
    killed = "import os, sys; from journeys_dagster.resources.warehouse import Warehouse\n" + (
        "with Warehouse(database=sys.argv[1]).get_connection() as connection:\n"
        "    connection.execute(\"insert into visits values ('2025-06-11', 'late')\")\n"
        "    os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", killed, str(warehouse.path)], check=True)
    assert warehouse.path.with_name("warehouse.duckdb.wal").exists()
    disk.remount("ro")
    assert counts(warehouse) == (100, 101)


def without_privileges(*command: str) -> list[str]:
    """A command for which permissions count, whoever runs it."""
    if os.geteuid():
        return list(command)
    if shutil.which("setpriv") is None:
        pytest.skip("runs as root, for whom permissions do not count, and setpriv is not there")
    return ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", *command]


def test_a_user_who_may_only_read_reads_and_is_told_that_he_may_not_write(
    tmp_path: Path, finished_home: Path, world_days: list[date]
) -> None:
    home = tmp_path / "home"
    shutil.copytree(finished_home, home)
    for path in (home, *home.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)

    def as_reader(*words: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-c", "from journeys_dagster.cli import main; main()", *words]
        return subprocess.run(
            without_privileges(*command),
            env={**os.environ, "JOURNEYS_HOME": str(home), "COLUMNS": "400"},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    shown = as_reader("show", "--sample", "2", "--json")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout == journeys(finished_home, "show", "--sample", "2", "--json").stdout
    refused = as_reader("run", "--date", str(world_days[-1]))
    assert refused.returncode == 1
    assert f"disk of {home} may not be written by this user: change its owner" in " ".join(refused.stderr.split())
    for path in (home, *home.rglob("*")):
        path.chmod(0o755)
