"""A DuckDB shell or notebook that has the warehouse open: waited for, then named with the way out."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import duckdb
import pytest

from journeys_dagster.resources.home import Home
from journeys_dagster.resources.warehouse import Warehouse, WarehouseError
from journeys_dagster.settings import Settings

FOREIGNER = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "reading")
print(connection.sql("select count(*) from things").fetchall(), flush=True)
sys.stdin.readline()
"""
MODES: dict[str, Callable[[Warehouse], AbstractContextManager[duckdb.DuckDBPyConnection]]] = {
    "read": Warehouse.read,
    "write": Warehouse.write,
}
# Readers do not keep each other out, whoever they are.
conflicts = pytest.mark.parametrize(
    ("foreigner", "mode"), [("writing", "read"), ("writing", "write"), ("reading", "write")]
)


@contextmanager
def foreigner_in(warehouse: Warehouse, mode: str) -> Iterator["subprocess.Popen[str]"]:
    """Another program that has the file open until its standard input is closed."""
    command = [sys.executable, "-c", FOREIGNER, str(warehouse.path), mode]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "[(3,)]\n"
            yield other
        finally:
            other.kill()


def open_warehouse(home: Home, *, patience: float) -> Warehouse:
    return home.warehouse(Settings.model_validate({"run": {"lock_timeout_seconds": patience}}))


@pytest.fixture(autouse=True)
def things(warehouse: Warehouse) -> None:
    with warehouse.write() as connection:
        connection.execute("create table things as select range as thing from range(3)")


@conflicts
def test_a_program_that_keeps_the_file_is_waited_for_and_named(
    home: Home, warehouse: Warehouse, foreigner: str, mode: str, figures: Callable[..., None]
) -> None:
    with foreigner_in(warehouse, foreigner) as other:
        began = time.monotonic()
        with (
            pytest.raises(WarehouseError, match=f"{warehouse.path} is held open by another program") as caught,
            MODES[mode](open_warehouse(home, patience=0.5)),
        ):
            pass
        waited = time.monotonic() - began
        assert waited >= 0.5
        assert "Close it and run again" in str(caught.value)
        assert f"PID {other.pid}" in str(caught.value)
        figures(waited_seconds=waited, patience_seconds=0.5, said=str(caught.value).replace(str(home.path), "…"))


@conflicts
def test_a_program_that_leaves_in_time_holds_nobody_up(
    home: Home, warehouse: Warehouse, foreigner: str, mode: str
) -> None:
    with foreigner_in(warehouse, foreigner) as other:
        assert other.stdin is not None
        leaves = threading.Timer(0.3, other.stdin.close)
        leaves.start()
        with MODES[mode](open_warehouse(home, patience=60)) as connection:
            assert leaves.finished.is_set()
            assert connection.sql("select count(*) from things").fetchall() == [(3,)]
        leaves.join()


def test_readers_of_both_kinds_read_side_by_side(home: Home, warehouse: Warehouse) -> None:
    with foreigner_in(warehouse, "reading"):
        assert len(open_warehouse(home, patience=0.01).query("from things")) == 3
