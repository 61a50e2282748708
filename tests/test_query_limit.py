"""Queries that do not end: they are interrupted and said, and what the UI shows of views is none of them."""

from datetime import date
from typing import Any

import dagster as dg
import duckdb
import polars as pl
import pytest
import sqlglot
from sqlglot import exp

from journeys_dagster.orchestration.metadata import first_rows, sample_metadata
from journeys_dagster.resources.home import Home
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import Settings
from journeys_dagster.sql.connection import QueryLimitError
from journeys_dagster.tables import Column, Table

ENDLESS = "select sum(a.range * b.range) as total from range(1_000_000_000) a, range(1_000_000_000) b"
RECURSION = "with recursive counted as (select 1 as n union all select n + 1 from counted) select max(n) from counted"
# DuckDB 2.0.0 stands still on `select … from events limit 5`: a window over unnested lists, used by both joins of a
# union, is computed once for the two, and the limit ends the one that the other waits for.
STANDS_STILL = (
    "create table items as select i as item_id, [str for str in ['a', 'b', 'c']] as words from range(2_000) t(i)",
    "create table engagements as select i % 2_000 as item_id, 'user' as user_id from range(100_000) t(i)",
    "create table board_items as select 0 as item_id, 'user' as user_id from range(0)",
    """create view item_words as
    select item_id, word, count(*) over (partition by item_id) as words
    from (select item_id, unnest(list_resize(words, 30, 'x')) as word from items)""",
    """create view events as
    select user_id, words from engagements join item_words using (item_id)
    union all select user_id, words from board_items join item_words using (item_id)""",
)


@pytest.fixture
def impatient(home: Home) -> Warehouse:
    """A warehouse with one row whose queries may take a fifth of a second."""
    warehouse = home.warehouse(Settings())
    with warehouse.write() as connection:
        connection.execute("create table numbers as select 1::bigint as total")
    return Warehouse(database=warehouse.database, lock_timeout_seconds=600, query_limit_hours=0.2 / 3600)


@pytest.fixture
def patient(impatient: Warehouse) -> Warehouse:
    """The same warehouse with the usual limit."""
    return Warehouse(database=impatient.database, lock_timeout_seconds=600)


@pytest.mark.parametrize("endless", [ENDLESS, RECURSION])
def test_a_query_that_does_not_end_is_interrupted(impatient: Warehouse, patient: Warehouse, endless: str) -> None:
    with pytest.raises(QueryLimitError, match=r"warehouse\.duckdb was .* line \d+: .* raise run\.query_limit_hours"):
        impatient.query(endless)
    assert patient.query("select 1 as one")["one"].to_list() == [1], "the next one is asked as ever"


def test_a_write_that_does_not_end_is_undone(impatient: Warehouse, patient: Warehouse) -> None:
    def write() -> None:
        with impatient.write() as connection:
            connection.execute("insert into numbers values (2)")
            connection.execute(f"insert into numbers {ENDLESS}")

    with pytest.raises(QueryLimitError, match=r"run\.query_limit_hours"):
        write()
    assert patient.query("from numbers")["total"].to_list() == [1]


def test_other_errors_are_what_they_were(patient: Warehouse) -> None:
    with pytest.raises(duckdb.CatalogException):
        patient.query("from nothing")


def test_a_step_that_does_not_end_fails_its_run(impatient: Warehouse) -> None:
    @dg.asset
    def endless(warehouse: dg.ResourceParam[Warehouse]) -> None:
        warehouse.query(ENDLESS)

    result = dg.materialize([endless], resources={"warehouse": impatient}, raise_on_error=False)
    (failure,) = result.filter_events(lambda event: event.is_step_failure)
    assert "run.query_limit_hours" in str(failure.step_failure_data.error)


def test_the_setting_is_handed_on(home: Home) -> None:
    settings = Settings.model_validate({"run": {"query_limit_hours": 2.5}})
    assert home.warehouse(settings).file.query_limit_hours == 2.5
    assert home.run_warehouse(settings).file.query_limit_hours == 2.5


def test_a_sample_of_joined_views(patient: Warehouse) -> None:
    with patient.write() as connection:
        for statement in STANDS_STILL:
            connection.execute(statement)
        connection.execute("create table users_in_scope as select date '2025-06-01' as as_of, 'user' as user_id")
    columns = {name: Column(type=kind, description="") for name, kind in (("user_id", "VARCHAR"), ("words", "BIGINT"))}
    events = Table(name="events", kind="view", description="", grain="", columns=columns)
    sample = sample_metadata(patient, events, "2025-06-01")["sample"]
    assert sample.value.count("| user | 30 |") == 5


class _Told:
    """A connection that tells what it is asked."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.asked: list[str] = []
        self.connection = connection

    def execute(self, sql: str, params: object = None) -> duckdb.DuckDBPyConnection:
        self.asked.append(sql)
        return self.connection.execute(sql, params)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.connection, name)


def test_samples_have_no_limit() -> None:
    with duckdb.connect() as connection:
        told: Any = _Told(connection)
        rows = first_rows(
            told, "select range as n, [range] as list, null as nothing from range($rows)", {"rows": 10**12}
        )
        assert rows.to_dict(as_series=False) == {
            "n": [0, 1, 2, 3, 4],
            "list": [[0], [1], [2], [3], [4]],
            "nothing": [None] * 5,
        }
        assert not any(list(sqlglot.parse_one(sql, dialect="duckdb").find_all(exp.Limit)) for sql in told.asked)
        assert told.asked
        nothing = first_rows(told, "select date '2025-06-01' as day where false", {})
    assert nothing.columns == ["day"]
    assert nothing.is_empty()


def test_a_transaction_goes_on_after_a_sample() -> None:
    with duckdb.connect() as connection:
        connection.execute("begin transaction")
        connection.execute("create table days as select $day::date as day", {"day": date(2025, 6, 1)})
        first_rows(connection, "from range(1_000_000_000)", {})
        connection.execute("commit")
        assert connection.sql("from days").pl().equals(pl.DataFrame({"day": [date(2025, 6, 1)]}))
