"""The warehouse: writes are all or nothing and touch what they should, and processes can share one file."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from conftest import crowd

from assets.users_in_scope import TABLE as USERS_IN_SCOPE
from journeys_dagster.resources.home import Home
from journeys_dagster.resources.warehouse import Warehouse, WarehouseError
from journeys_dagster.settings import Settings
from journeys_dagster.sql.audits import Audit, AuditFailedError, AuditResult
from journeys_dagster.sql.connection import used_params
from journeys_dagster.tables import Column, Table, snapshot_columns

DAY, OTHER_DAY = date(2025, 6, 10), date(2025, 6, 9)
CONSTANTS = {"scope": "all_users", "algorithm_version": "v1"}
Rows = Sequence[Mapping[str, Any]]
OLD_ROWS: Rows = [
    {"user_id": "ann", "thing": "old", "size": 1, "note": "n"},
    {"user_id": "bob", "thing": "old", "size": 2, "note": "n"},
]

THINGS = Table(
    kind="snapshot",
    name="things",
    description="",
    grain="",
    columns=snapshot_columns(
        {
            "thing": Column(type="VARCHAR", description=""),
            "size": Column(type="INTEGER", description=""),
            "note": Column(type="VARCHAR", description="", nullable=True),
        }
    ),
    partition_column="as_of",
)
VISITS = Table(
    kind="landed",
    name="visits",
    description="",
    grain="",
    columns={
        "arrival_day": Column(type="DATE", description=""),
        "source": Column(type="VARCHAR", description=""),
        "visitor": Column(type="VARCHAR", description=""),
    },
    partition_column="arrival_day",
)

Replace = Callable[..., list[AuditResult]]


def replace_from_frames(
    warehouse: Warehouse, rows: Rows, *, as_of: date = DAY, audits: Sequence[Audit] = ()
) -> list[AuditResult]:
    """Write rows as a Python step does, one frame per row."""
    frames = [pl.DataFrame([row]) for row in rows]
    return warehouse.replace_snapshot(THINGS, frames, as_of=as_of, constants=CONSTANTS, audits=audits)


def replace_from_sql(
    warehouse: Warehouse, rows: Rows, *, as_of: date = DAY, audits: Sequence[Audit] = ()
) -> list[AuditResult]:
    """Write rows as an SQL model does."""
    constants = CONSTANTS | {"as_of": as_of.isoformat()}
    literals = [
        ", ".join(
            f'{"null" if value is None else repr(value)} as "{name}"' for name, value in (row | constants).items()
        )
        for row in map(dict, rows)
    ]
    nothing = "select user_id, as_of from users_in_scope where false and as_of = $as_of"
    select = "\nunion all by name ".join([*(f"select {literal}" for literal in literals), nothing])
    return warehouse.replace_snapshot_sql(THINGS, f"{select} -- rows", params={"as_of": as_of}, audits=audits)


either_way = pytest.mark.parametrize("replace", [replace_from_frames, replace_from_sql], ids=["frames", "SQL"])


def put_in_scope(warehouse: Warehouse, *users: str, as_of: date = DAY) -> None:
    select = (
        "select $as_of as as_of, unnest($users) as user_id, 0 as batch, 'f' as landing_fingerprint, "
        "'all_users' as scope, 'v1' as algorithm_version"
    )
    warehouse.replace_snapshot_sql(USERS_IN_SCOPE, select, params={"as_of": as_of, "users": list(users)})


def test_rows_of_frames_lie_in_the_order_in_which_they_come(warehouse: Warehouse):
    # More rows than DuckDB has in hand at once, so that threads would mix them up.
    users = [f"u{number:06}" for number in range(300_000)]
    put_in_scope(warehouse, *users)
    frame = pl.DataFrame({"user_id": users, "thing": "thing", "size": 1})
    warehouse.replace_snapshot(THINGS, frame.iter_slices(100_000), as_of=DAY, constants=CONSTANTS)
    assert warehouse.query("select user_id from things")["user_id"].to_list() == users


def things(warehouse: Warehouse) -> set[tuple[Any, ...]]:
    return set(warehouse.query("select as_of, user_id, thing, size from things").iter_rows())


def spools(warehouse: Warehouse) -> list[Path]:
    return [path for path in warehouse.path.parent.iterdir() if path.is_dir()]


@pytest.fixture
def stocked(warehouse: Warehouse) -> Warehouse:
    """A warehouse in which ann and bob are in scope and have one thing each."""
    put_in_scope(warehouse, "ann", "bob")
    replace_from_frames(warehouse, OLD_ROWS)
    return warehouse


OLD = {(DAY, "ann", "old", 1), (DAY, "bob", "old", 2)}


@pytest.fixture
def impatient(home: Home) -> Warehouse:
    """A warehouse that waits for a twentieth of a second."""
    return home.warehouse(Settings.model_validate({"run": {"lock_timeout_seconds": 0.05}}))


# What a write replaces


@either_way
def test_a_write_replaces_the_day_of_the_users_in_scope_and_nothing_else(warehouse: Warehouse, replace: Replace):
    put_in_scope(warehouse, "ann", "bob", as_of=OTHER_DAY)
    replace(warehouse, OLD_ROWS, as_of=OTHER_DAY)
    put_in_scope(warehouse, "ann", "bob")
    replace(warehouse, OLD_ROWS)
    put_in_scope(warehouse, "ann")

    replace(warehouse, [{"user_id": "ann", "thing": "new", "size": 3}])

    assert things(warehouse) == {
        (OTHER_DAY, "ann", "old", 1),
        (OTHER_DAY, "bob", "old", 2),
        (DAY, "ann", "new", 3),
        (DAY, "bob", "old", 2),
    }


@either_way
def test_a_user_in_scope_without_new_rows_loses_the_old_ones(stocked: Warehouse, replace: Replace):
    replace(stocked, [{"user_id": "ann", "thing": "new", "size": 3}])
    assert things(stocked) == {(DAY, "ann", "new", 3)}


@either_way
def test_no_rows_at_all_empty_the_scope(stocked: Warehouse, replace: Replace):
    put_in_scope(stocked, "bob")
    replace(stocked, [])
    assert things(stocked) == {(DAY, "ann", "old", 1)}


def test_rows_of_users_outside_the_scope_are_never_written(stocked: Warehouse):
    put_in_scope(stocked, "cy", as_of=OTHER_DAY)
    new = [{"user_id": user, "thing": "new", "size": 3} for user in ("ann", "cy")]
    replace_from_frames(stocked, new)
    assert things(stocked) == {(DAY, "ann", "new", 3)}
    with pytest.raises(WarehouseError, match="the query of things gives rows of users who are not in scope"):
        replace_from_sql(stocked, new)
    assert things(stocked) == {(DAY, "ann", "new", 3)}


def test_the_scope_itself_is_replaced_as_a_whole(warehouse: Warehouse):
    put_in_scope(warehouse, "ann", "bob")
    put_in_scope(warehouse, "bob", "cy")
    users = warehouse.query("select user_id from users_in_scope order by user_id")["user_id"]
    assert users.to_list() == ["bob", "cy"]


def test_a_snapshot_that_is_not_about_users_is_replaced_as_a_whole(warehouse: Warehouse):
    rarity = Table(
        kind="population",
        name="rarity",
        description="",
        grain="",
        columns={
            "as_of": Column(type="DATE", description=""),
            "keyword": Column(type="VARCHAR", description=""),
        },
    )
    for keyword in ("sofa", "rug"):
        select = "select $as_of as as_of, $keyword as keyword"
        warehouse.replace_snapshot_sql(rarity, select, params={"as_of": DAY, "keyword": keyword})
    assert warehouse.query("from rarity").rows() == [(DAY, "rug")]


@either_way
def test_columns_are_matched_by_name_whatever_their_order(stocked: Warehouse, replace: Replace):
    replace(stocked, [{"note": "n", "size": 3, "thing": "new", "user_id": "ann"}])
    row = stocked.query("from things").row(0, named=True)
    assert row == {"as_of": DAY, "user_id": "ann", "thing": "new", "size": 3, "note": "n"} | CONSTANTS


def test_frames_may_differ_in_the_nullable_columns_they_have(stocked: Warehouse):
    replace_from_frames(
        stocked,
        [
            {"user_id": "ann", "thing": "a", "size": 1, "note": None},
            {"user_id": "ann", "thing": "b", "size": 2},
            {"user_id": "bob", "thing": "c", "size": 3, "note": "text"},
        ],
    )
    assert stocked.query("select thing, note from things order by thing").rows() == [
        ("a", None),
        ("b", None),
        ("c", "text"),
    ]


def test_texts_with_quotes_are_data_wherever_they_stand(warehouse: Warehouse):
    nasty = "x' or '1'='1\"; drop table things; --"
    put_in_scope(warehouse, nasty, "ann")
    frame = pl.DataFrame({"user_id": [nasty], "thing": [nasty], "size": [1]})
    warehouse.replace_snapshot(THINGS, [frame], as_of=DAY, constants={"scope": nasty, "algorithm_version": "$as_of"})
    found = warehouse.query("select * from things where thing = $thing", {"thing": nasty})
    assert found.select("user_id", "scope", "algorithm_version").rows() == [(nasty, nasty, "$as_of")]
    assert warehouse.query("select * from things where thing = $thing", {"thing": "' or 1=1 --"}).is_empty()


@pytest.mark.parametrize("name", ["with space", "[brackets]", "it's", "star*", "größe"])
def test_a_home_may_have_any_name(tmp_path: Path, name: str):
    warehouse = Home(tmp_path / name).warehouse(Settings())
    put_in_scope(warehouse, "ann", "bob")
    replace_from_frames(warehouse, OLD_ROWS)
    assert things(warehouse) == OLD


# Writes that fail


@either_way
@pytest.mark.parametrize(
    "row",
    [
        {"user_id": "ann", "thing": "new"},
        {"user_id": "ann", "thing": None, "size": 3},
        {"user_id": "ann", "thing": "new", "size": 3, "colour": "red"},
        {"user_id": "ann", "thing": "new", "size": "big"},
    ],
    ids=["column missing", "null", "unknown column", "wrong type"],
)
def test_rows_that_do_not_fit_the_table_are_an_error_and_the_old_ones_stay(
    stocked: Warehouse, replace: Replace, row: Mapping[str, Any]
):
    good = {"user_id": "bob", "thing": "new", "size": 3}
    with pytest.raises(duckdb.Error):
        replace(stocked, [good, row])
    assert things(stocked) == OLD


def test_an_exception_while_frames_are_computed_leaves_the_old_rows_and_no_files(stocked: Warehouse):
    def frames() -> Iterator[pl.DataFrame]:
        yield pl.DataFrame({"user_id": ["ann"], "thing": ["new"], "size": [3]})
        assert len(spools(stocked)) == 1
        raise KeyError("model")

    with pytest.raises(KeyError, match="model"):
        stocked.replace_snapshot(THINGS, frames(), as_of=DAY, constants=CONSTANTS)
    assert things(stocked) == OLD
    assert spools(stocked) == []


def test_the_warehouse_is_free_while_frames_are_computed(stocked: Warehouse):
    seen = []

    def frames() -> Iterator[pl.DataFrame]:
        for size in (3, 4):
            seen.append(things(stocked))
            yield pl.DataFrame({"user_id": ["ann"], "thing": ["new"], "size": [size]})

    stocked.replace_snapshot(THINGS, frames(), as_of=DAY, constants=CONSTANTS)
    assert seen == [OLD, OLD]
    assert things(stocked) == {(DAY, "ann", "new", 3), (DAY, "ann", "new", 4)}
    assert spools(stocked) == []


def test_files_of_a_process_that_was_killed_a_day_ago_are_removed_and_those_of_a_live_one_are_not(stocked: Warehouse):
    abandoned, in_use = (stocked.path.parent / name for name in ("spool-abandoned", "spool-in-use"))
    for folder in (abandoned, in_use):
        folder.mkdir()
        (folder / "000000.parquet").touch()
    yesterday = time.time() - 25 * 3600
    os.utime(abandoned, (yesterday, yesterday))

    replace_from_frames(stocked, OLD_ROWS)

    assert spools(stocked) == [in_use]


def fail_in_a_write(warehouse: Warehouse, statement: str, error: Exception) -> None:
    with warehouse.write() as connection:
        with suppress(duckdb.Error):
            connection.execute(statement)
        raise error


def test_what_a_failed_block_wrote_is_undone(stocked: Warehouse):
    with pytest.raises(KeyError, match="mine"):
        fail_in_a_write(stocked, "delete from things", KeyError("mine"))
    assert things(stocked) == OLD


@pytest.mark.parametrize(
    "statement", ["rollback", "commit", "select * from nowhere", "insert into things default values"]
)
def test_the_first_error_of_a_block_is_the_one_that_is_seen(stocked: Warehouse, statement: str):
    with pytest.raises(KeyError, match="first"):
        fail_in_a_write(stocked, statement, KeyError("first"))
    assert things(stocked) == OLD


def test_tables_made_in_a_failed_block_are_gone(stocked: Warehouse):
    with pytest.raises(KeyError):
        fail_in_a_write(stocked, "create table other (a int)", KeyError())
    assert not stocked.has_table("other")


@either_way
def test_a_table_of_another_version_of_the_code_is_named(stocked: Warehouse, replace: Replace):
    with stocked.write() as connection:
        connection.execute("alter table things add column colour varchar")
        connection.execute("alter table things drop column note")
    with pytest.raises(WarehouseError, match=r"table things in .*warehouse\.duckdb .*: colour, note\. Drop the table"):
        replace(stocked, OLD_ROWS)


# Audits


def audit(sql: str, *, blocking: bool) -> Audit:
    return Audit(name="sizes_are_small", sql=sql, blocking=blocking)


FINDS_ROWS = "select * from things where as_of = $as_of and size > 2"
NEW_ROWS: Rows = [{"user_id": user, "thing": "new", "size": size} for user in ("ann", "bob") for size in range(1, 7)]


@either_way
def test_a_blocking_audit_that_finds_rows_undoes_the_write(stocked: Warehouse, replace: Replace):
    with pytest.raises(AuditFailedError, match=r"things: blocking audit failed: sizes_are_small \(8 rows\)"):
        replace(stocked, NEW_ROWS, audits=[audit(FINDS_ROWS, blocking=True)])
    assert things(stocked) == OLD


@either_way
def test_another_audit_that_finds_rows_reports_them_and_the_write_stands(stocked: Warehouse, replace: Replace):
    (result,) = replace(stocked, NEW_ROWS, audits=[audit(FINDS_ROWS, blocking=False)])
    assert (result.name, result.blocking, result.passed, result.rows) == ("sizes_are_small", False, False, 8)
    assert len(result.sample) == 5
    assert len(things(stocked)) == len(NEW_ROWS)


@either_way
def test_a_blocking_audit_that_finds_nothing_lets_the_write_stand(stocked: Warehouse, replace: Replace):
    (result,) = replace(stocked, OLD_ROWS, audits=[audit(FINDS_ROWS, blocking=True)])
    assert result.passed
    assert things(stocked) == OLD


def test_a_failed_audit_carries_the_results_of_all(stocked: Warehouse):
    audits = [Audit("first", FINDS_ROWS, blocking=True), Audit("second", "select 1 where false", blocking=False)]
    with pytest.raises(AuditFailedError) as caught:
        replace_from_frames(stocked, NEW_ROWS, audits=audits)
    assert [(result.name, result.passed) for result in caught.value.results] == [("first", False), ("second", True)]


@either_way
def test_an_audit_that_cannot_run_undoes_the_write(stocked: Warehouse, replace: Replace):
    with pytest.raises(duckdb.CatalogException):
        replace(stocked, NEW_ROWS, audits=[audit("select * from nowhere", blocking=False)])
    assert things(stocked) == OLD


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("select $as_of", {"as_of"}),
        ("select $as_of_day, $days", {"days"}),
        ("select '$as_of' -- $as_of\n, $days /* $as_of */", {"days"}),
        ("select 1", set()),
    ],
)
def test_a_query_is_given_the_parameters_it_names_and_no_others(sql: str, names: set[str]):
    assert used_params(sql, {"as_of": DAY, "days": 3}).keys() == names


# Days and views


def visit(day: date, visitor: str, source: str = "web") -> dict[str, Any]:
    return {"arrival_day": day, "visitor": visitor, "source": source}


def visits(warehouse: Warehouse) -> list[tuple[Any, ...]]:
    return warehouse.query("select arrival_day, source, visitor from visits order by all").rows()


def test_days_are_replaced_and_others_stay(warehouse: Warehouse):
    first = pl.DataFrame([visit(OTHER_DAY, "ann"), visit(DAY, "ann"), visit(DAY, "bob")])
    warehouse.replace_days([(VISITS, first, {})], [OTHER_DAY, DAY])
    warehouse.replace_days([(VISITS, pl.DataFrame([visit(DAY, "cy")]), {})], [DAY])
    assert visits(warehouse) == [(OTHER_DAY, "web", "ann"), (DAY, "web", "cy")]


def test_a_day_without_new_rows_is_emptied(warehouse: Warehouse):
    warehouse.replace_days([(VISITS, pl.DataFrame([visit(OTHER_DAY, "ann"), visit(DAY, "bob")]), {})], [OTHER_DAY, DAY])
    warehouse.replace_days([(VISITS, pl.DataFrame(), {})], [DAY])
    assert visits(warehouse) == [(OTHER_DAY, "web", "ann")]


def test_days_may_be_replaced_for_one_source_only(warehouse: Warehouse):
    source = 'it\'s "the" app'
    first = pl.DataFrame([visit(DAY, "ann"), visit(DAY, "bob", source)])
    warehouse.replace_days([(VISITS, first, {})], [DAY])
    warehouse.replace_days([(VISITS, pl.DataFrame([visit(DAY, "cy", source)]), {"source": source})], [DAY])
    assert visits(warehouse) == [(DAY, source, "cy"), (DAY, "web", "ann")]


def test_no_days_at_all_make_the_table(warehouse: Warehouse):
    warehouse.replace_days([(VISITS, pl.DataFrame(), {})], [])
    assert visits(warehouse) == []


def test_parts_are_replaced_together_or_not_at_all(stocked: Warehouse):
    stocked.replace_days([(VISITS, pl.DataFrame([visit(DAY, "ann")]), {})], [DAY])
    good, bad = pl.DataFrame([visit(DAY, "bob")]), pl.DataFrame({"arrival_day": [DAY]})
    again = Table(
        kind="landed",
        name="more_visits",
        description="",
        grain="",
        columns=VISITS.columns,
        partition_column="arrival_day",
    )
    with pytest.raises(duckdb.ConstraintException):
        stocked.replace_days([(VISITS, good, {}), (again, bad, {})], [DAY])
    assert visits(stocked) == [(DAY, "web", "ann")]
    assert not stocked.has_table("more_visits")


def test_a_view_and_its_macros_are_defined_anew(stocked: Warehouse):
    for factor in (10, 100):
        macro = f"create or replace macro scaled(x) as x * {factor}"
        stocked.replace_view("scaled_things", "select scaled(size) as size from things", macros=[macro], params={})
    assert set(stocked.query("from scaled_things")["size"]) == {100, 200}


def test_a_blocking_audit_keeps_the_old_view(stocked: Warehouse):
    stocked.replace_view("small_things", "from things where size < 2", params={"as_of": DAY})
    with pytest.raises(AuditFailedError):
        stocked.replace_view(
            "small_things",
            "from things",
            audits=[Audit("small", "from small_things where as_of = $as_of and size > 1", blocking=True)],
            params={"as_of": DAY},
        )
    assert stocked.query("from small_things")["size"].to_list() == [1]


# Opening the file


def test_reading_a_warehouse_that_does_not_exist_says_so(warehouse: Warehouse):
    with pytest.raises(WarehouseError, match=f"no warehouse at {warehouse.path}: nothing has been run"):
        warehouse.query("select 1")
    assert not warehouse.path.exists()


def test_a_warehouse_that_does_not_exist_has_no_tables(warehouse: Warehouse):
    assert not warehouse.has_table("things")


def test_tables_and_views_are_found_by_name(stocked: Warehouse):
    stocked.replace_view("seen", "from things", params={})
    assert [stocked.has_table(name) for name in ("things", "seen", "nothing", "th%")] == [True, True, False, False]


def test_two_homes_may_be_open_at_once(stocked: Warehouse, tmp_path: Path):
    other = Warehouse(database=str(tmp_path / "other" / stocked.path.name), lock_timeout_seconds=60)
    with stocked.read() as connection, other.write() as elsewhere:
        elsewhere.execute("create table only_there as select 1 as x")
        assert connection.sql("from information_schema.tables").pl().height > 0
        assert not connection.sql("show tables").pl()["name"].is_in(["only_there"]).any()
    assert other.has_table("only_there")
    with other.read():
        assert not stocked.has_table("only_there")


def test_a_reader_cannot_write(stocked: Warehouse):
    with pytest.raises(duckdb.InvalidInputException, match="read-only"), stocked.read() as connection:
        connection.execute("delete from things")


def test_the_settings_reach_the_connection(home: Home):
    settings = Settings.model_validate({"run": {"warehouse_threads": 3, "warehouse_memory_limit": "123MiB"}})
    warehouse = home.warehouse(settings)
    limits = "select current_setting('threads'), current_setting('memory_limit')"
    with warehouse.write() as connection:
        assert connection.sql(limits).fetchall() == [(3, "123.0 MiB")]
    assert warehouse.query(limits).rows() == [(3, "123.0 MiB")]


@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        pytest.param(Warehouse.read, Warehouse.write, id="write in a read"),
        pytest.param(Warehouse.write, Warehouse.read, id="read in a write"),
        pytest.param(Warehouse.write, Warehouse.write, id="write in a write"),
    ],
)
def test_opening_a_warehouse_within_itself_is_an_error_at_once(stocked: Warehouse, outer: Any, inner: Any):
    with (
        outer(stocked),
        pytest.raises(WarehouseError, match=f"{stocked.path} is opened inside a block.*connection of the outer block"),
        inner(stocked),
    ):
        pass
    assert things(stocked) == OLD


def test_a_reader_reads_on_while_a_writer_waits(stocked: Warehouse):
    patient = stocked.model_copy(update={"lock_timeout_seconds": 0.2})
    with stocked.read() as connection:
        thread = threading.Thread(target=_write_in_vain, args=(patient,))
        thread.start()
        # Open still, and the same file.
        assert things(stocked) == OLD
        with stocked.read() as inner:
            assert (
                inner.sql("select count(*) from things").fetchall()
                == connection.sql("select count(*) from things").fetchall()
            )
        thread.join()
        assert stocked.has_table("things")
    # Nothing is left open.
    with stocked.write():
        pass


def _write_in_vain(warehouse: Warehouse) -> None:
    with pytest.raises(WarehouseError, match="is busy"), warehouse.write():
        pass


def test_a_file_that_is_no_database_is_named(warehouse: Warehouse):
    warehouse.path.write_text("no database")
    with pytest.raises(WarehouseError, match=f"{warehouse.path} cannot be opened"):
        warehouse.query("select 1")


def test_a_fault_is_not_mistaken_for_a_lock_where_the_path_has_that_word(tmp_path: Path):
    warehouse = Home(tmp_path / "clock").warehouse(Settings())
    warehouse.path.write_text("no database")
    with pytest.raises(WarehouseError, match="cannot be opened"):
        warehouse.query("select 1")


def test_another_connection_of_this_process_is_named_as_the_reason(stocked: Warehouse):
    with (
        duckdb.connect(str(stocked.path)),
        pytest.raises(WarehouseError, match=f"{stocked.path} is held open by another connection of this process"),
    ):
        stocked.query("select 1")


# Several processes


@contextmanager
def process(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A Python process that has printed its first line; killed at the end of the block if it still runs."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            assert running.stdout.readline() == "ready\n"
            yield running
        finally:
            running.kill()


HOLD_WITH_DUCKDB = """
import sys, time, duckdb
connection = duckdb.connect(sys.argv[1])
print("ready", flush=True)
time.sleep(float(sys.argv[2]))
"""
OPEN_WAREHOUSE = """
import sys, time
from pathlib import Path
from journeys_dagster.resources.warehouse import Warehouse
warehouse = Warehouse(database=sys.argv[1], lock_timeout_seconds=60)
"""
READ_UNTIL_KILLED = f"""{OPEN_WAREHOUSE}
with warehouse.read():
    print("ready", flush=True)
    time.sleep(60)
"""
WRITE_UNTIL_KILLED = f"""{OPEN_WAREHOUSE}
with warehouse.write() as connection:
    connection.execute("delete from things")
    connection.execute("create table half_done as select range as a from range(1_000_000)")
    print("ready", flush=True)
    time.sleep(60)
"""
COMMIT_UNTIL_KILLED = f"""{OPEN_WAREHOUSE}
with warehouse.get_connection() as connection:
    connection.execute("update things set thing = 'committed'")
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("mode", [Warehouse.read, Warehouse.write], ids=["reader", "writer"])
def test_a_busy_warehouse_is_named_with_the_way_out(stocked: Warehouse, impatient: Warehouse, mode: Any):
    with (
        process(WRITE_UNTIL_KILLED, stocked.path),
        pytest.raises(WarehouseError, match=rf"{stocked.path} is busy: .*run\.lock_timeout_seconds"),
        mode(impatient),
    ):
        pass


def test_readers_do_not_wait_for_each_other(stocked: Warehouse, impatient: Warehouse):
    with process(READ_UNTIL_KILLED, stocked.path):
        assert things(impatient) == OLD


def test_a_writer_killed_within_its_transaction_leaves_the_old_rows_and_no_lock(stocked: Warehouse):
    with process(WRITE_UNTIL_KILLED, stocked.path) as writer:
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        assert things(stocked) == OLD
        assert not stocked.has_table("half_done")
        replace_from_frames(stocked, [{"user_id": "ann", "thing": "new", "size": 3}])
        assert things(stocked) == {(DAY, "ann", "new", 3)}


@pytest.mark.parametrize("torn", [False, True], ids=["whole log", "torn log"])
def test_a_log_that_a_killed_writer_left_is_read_and_folded_in(stocked: Warehouse, torn: bool):
    log = stocked.path.with_name(stocked.path.name + ".wal")
    with process(COMMIT_UNTIL_KILLED, stocked.path) as writer:
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
    if torn:
        log.write_bytes(log.read_bytes()[:-5])
    expected = "old" if torn else "committed"
    assert {row[2] for row in things(stocked)} == {expected}
    with stocked.write() as connection:
        connection.execute("update things set size = 7 where user_id = 'ann'")
    assert things(stocked) == {(DAY, "ann", expected, 7), (DAY, "bob", expected, 2)}
    assert not log.exists()


@pytest.mark.parametrize("mode", [Warehouse.read, Warehouse.write], ids=["reader", "writer"])
def test_another_program_that_keeps_the_file_is_named_as_the_reason(
    stocked: Warehouse, impatient: Warehouse, mode: Any
):
    with process(HOLD_WITH_DUCKDB, stocked.path, 60):
        started = time.monotonic()
        with pytest.raises(WarehouseError, match=f"{stocked.path} is held open by another program"), mode(impatient):
            pass
        assert time.monotonic() - started >= 0.05


def test_another_program_that_lets_the_file_go_is_waited_for(stocked: Warehouse):
    with process(HOLD_WITH_DUCKDB, stocked.path, 0.2):
        assert things(stocked) == OLD


def test_times_are_utc_wherever_the_process_runs(stocked: Warehouse, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TZ", "America/New_York")
    code = f"""{OPEN_WAREHOUSE}
print("ready")
day = "select cast(timestamptz '2025-06-10 01:30:00+00' as date)"
with warehouse.write() as connection:
    print(connection.sql(day).fetchall())
print(warehouse.query(day).rows())
"""
    with process(code, stocked.path) as other:
        assert other.stdout is not None
        assert other.stdout.read().split("\n")[:2] == ["[(datetime.date(2025, 6, 10),)]"] * 2


READ_AND_WRITE = f"""{OPEN_WAREHOUSE}
import polars as pl
from datetime import date
from journeys_dagster.tables import Column, Table
writes, number, others = sys.argv[2] == "writer", sys.argv[3], int(sys.argv[4])
table = Table(
    kind="snapshot",
    name="halves",
    description="",
    grain="",
    columns={{
        name: Column(type=kind, description="")
        for name, kind in {{"as_of": "date", "user_id": "varchar", "size": "integer"}}.items()
    }},
)
print("ready", flush=True)
sys.stdin.readline()
turns, seen, all_have_had_theirs = 0, set(), Path(sys.argv[1]).with_name("turns")
all_have_had_theirs.mkdir(exist_ok=True)
while len(list(all_have_had_theirs.iterdir())) < others:
    turns += 1
    if writes:
        halves = {{"ann": turns, "bob": -turns}}
        frames = [pl.DataFrame({{"user_id": [user], "size": [size]}}) for user, size in halves.items()]
        warehouse.replace_snapshot(table, frames, as_of=date(2025, 6, 10), constants={{}})
    else:
        with warehouse.read() as connection:
            sizes = [row[0] for row in connection.sql("select size from halves order by size").fetchall()]
            again = [row[0] for row in connection.sql("select size from halves order by size").fetchall()]
        assert len(sizes) == 2 and sum(sizes) == 0 and sizes == again, (sizes, again)
        seen.add(sizes[1])
    if (turns if writes else len(seen)) >= 5:
        (all_have_had_theirs / number).touch()
print(turns if writes else len(seen))
"""


def test_readers_beside_writers_see_whole_snapshots_only(warehouse: Warehouse):
    put_in_scope(warehouse, "ann", "bob")
    with warehouse.write() as connection:
        connection.execute("create table halves (as_of date not null, user_id varchar not null, size integer not null)")
        connection.execute("insert into halves values ($day, 'ann', 0), ($day, 'bob', 0)", {"day": DAY})
    roles = ["writer", "writer", "reader", "reader"]
    with crowd(
        READ_AND_WRITE, *[(warehouse.path, role, number, len(roles)) for number, role in enumerate(roles)]
    ) as running:
        outputs = [each.communicate() for each in running]
    assert [errors for _, errors in outputs] == [""] * len(roles)
    assert min(int(turns) for turns, _ in outputs) >= 5, "everybody has turns, readers of several snapshots"


# The home


def test_a_home_keeps_everything_below_its_folder(home: Home):
    assert {home.landing, home.dagster, home.warehouse(Settings()).path} == {
        home.path / "landing",
        home.path / "dagster",
        home.path / "warehouse.duckdb",
    }
    assert home.landing_zone().path == str(home.landing)


@pytest.mark.parametrize("value", [None, ""], ids=["unset", "empty"])
def test_the_home_is_a_folder_of_the_working_folder_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("JOURNEYS_HOME", raising=False)
    if value is not None:
        monkeypatch.setenv("JOURNEYS_HOME", value)
    assert Home.from_environment().path == tmp_path / ".journeys"


def test_the_environment_names_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JOURNEYS_HOME", "elsewhere")
    assert Home.from_environment().path == tmp_path / "elsewhere"


def test_all_cores_are_used_unless_the_settings_say_otherwise(home: Home):
    assert home.warehouse(Settings()).connection_config["threads"] == os.cpu_count()


def test_a_home_keeps_the_dagster_settings_that_its_owner_changed(home: Home, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DAGSTER_HOME", "")
    home.dagster.mkdir(parents=True)
    (home.dagster / "dagster.yaml").write_text("telemetry:\n  enabled: true\n")
    with home.dagster_instance() as instance:
        assert instance.get_settings("telemetry") == {"enabled": True}
        assert os.environ["DAGSTER_HOME"] == str(home.dagster)


def test_a_home_of_an_older_version_names_the_launcher_where_it_is_now(
    home: Home, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setenv("DAGSTER_HOME", "")
    home.dagster_instance().dispose()
    file = home.dagster / "dagster.yaml"
    shipped = file.read_text()
    older = shipped.replace("journeys_dagster.orchestration.run_launcher", "journeys_dagster.automation.run_launcher")
    file.write_text(older.replace("max_retries: 2", "max_retries: 7") + "# mine\n")
    with home.dagster_instance() as instance:
        assert type(instance.run_launcher).__name__ == "HomeRunLauncher"
    assert file.read_text() == shipped.replace("max_retries: 2", "max_retries: 7") + "# mine\n"
    assert "is now journeys_dagster.orchestration.run_launcher" in caplog.text
    caplog.clear()
    home.dagster_instance().dispose()
    assert caplog.text == ""


OPEN_DAGSTER = """
import sys
from pathlib import Path
import dagster as dg
from journeys_dagster.resources.home import Home

@dg.asset
def one() -> int:
    return 1

print("ready", flush=True)
sys.stdin.readline()

with Home(Path(sys.argv[1])).dagster_instance() as instance:
    assert dg.materialize([one], instance=instance).success
    assert instance.all_instigator_state() == []
    assert not instance.get_settings("telemetry")["enabled"]
print("done")
"""


@pytest.mark.slow
def test_a_fresh_home_may_be_opened_by_several_processes_at_once(home: Home, monkeypatch: pytest.MonkeyPatch):
    with crowd(OPEN_DAGSTER, *[(home.path,)] * 4) as running:
        outputs = [each.communicate(timeout=60)[0] for each in running]
    assert outputs == ["done\n"] * 4
    monkeypatch.setenv("DAGSTER_HOME", "")
    with home.dagster_instance() as instance:
        assert len(instance.get_run_records()) == 4


def test_users_are_computed_in_turns_that_are_a_whole_number_of_batches(tmp_path: Path):
    warehouse = Warehouse(database=str(tmp_path / "warehouse.duckdb"), lock_timeout_seconds=60, users_per_query=4)
    batches = pl.DataFrame({"user_id": [f"u{number}" for number in range(9)], "batch": [0, 0, 1, 1, 2, 2, 3, 3, 4]})
    with warehouse.write() as connection:
        connection.execute(USERS_IN_SCOPE.create_sql())
        connection.register("batches", batches)
        connection.execute(
            f"insert into users_in_scope by name select date '{DAY}' as as_of, user_id, batch, "
            "'f' as landing_fingerprint, 'all_users' as scope, 'v' as algorithm_version from batches"
        )
    # Each row says whom its query saw.
    select = (
        "select $as_of as as_of, user_id, string_agg(user_id, ' ' order by user_id) over () as keyword, scope, "
        "algorithm_version from users_in_scope where as_of = $as_of"
    )
    columns = {"keyword": Column(type="VARCHAR", description="who was seen")}
    table = Table(
        kind="snapshot",
        name="seen",
        description="",
        grain="",
        columns=snapshot_columns(columns),
        key=(),
        partition_column="as_of",
        order=("user_id desc",),
    )
    warehouse.replace_snapshot_sql(table, select, params={"as_of": DAY})
    in_turn = warehouse.query("select user_id from seen")["user_id"].to_list()
    assert in_turn == ["u3", "u2", "u1", "u0", "u7", "u6", "u5", "u4", "u8"]
    seen = warehouse.query("select distinct keyword from seen order by all")["keyword"].to_list()
    assert seen == ["u0 u1 u2 u3", "u4 u5 u6 u7", "u8"]
    assert warehouse.query("select count(*) as rows from seen")["rows"].to_list() == [9]
    assert warehouse.query("select count(*) as users from users_in_scope")["users"].to_list() == [9]


@pytest.mark.parametrize("users_per_query", [1, 4, 50_000])
def test_a_query_that_looks_across_users_sees_everyone_however_many_users_a_query_computes(
    tmp_path: Path, users_per_query: int
):
    warehouse = Warehouse(
        database=str(tmp_path / "warehouse.duckdb"), lock_timeout_seconds=60, users_per_query=users_per_query
    )
    users = [f"u{number}" for number in range(9)]
    with warehouse.write() as connection:
        connection.execute(USERS_IN_SCOPE.create_sql())
        connection.execute(
            "insert into users_in_scope by name select $day as as_of, user_id, row_number() over () as batch, "
            "'f' as landing_fingerprint, 'all_users' as scope, 'v' as algorithm_version "
            "from (select unnest($users) as user_id)",
            {"day": DAY, "users": users},
        )
    select = (
        "select $as_of as as_of, user_id, row_number() over (order by user_id) as place, scope, algorithm_version "
        "from users_in_scope where as_of = $as_of"
    )
    columns = snapshot_columns({"place": Column(type="BIGINT", description="among all users")})
    table = Table(name="places", kind="population", description="", grain="", columns=columns, partition_column="as_of")
    warehouse.replace_snapshot_sql(table, select, params={"as_of": DAY})
    places = warehouse.query("select user_id, place from places order by place")
    assert places.rows() == [(user, place) for place, user in enumerate(users, start=1)]
