"""Every SQL model and audit on a few rows each: the cases are in ``dbt_like_sql/tests``."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from journeys_dagster.definitions import declared_tables
from journeys_dagster.settings import Settings
from journeys_dagster.sources.parameters import query_parameters
from journeys_dagster.sql.connection import start_duckdb, used_params
from journeys_dagster.sql.macros import load_macros
from journeys_dagster.sql.models import SQL_ROOT, load_audits, load_models
from journeys_dagster.tables import Column

AS_OF = date(2025, 6, 10)  # of a case that does not say
MODELS = load_models()
AUDITS = {audit.name: audit for audits in load_audits().values() for audit in audits}
TABLES = declared_tables(Settings())
CASE_FILES = sorted((SQL_ROOT / "tests").glob("*"))
# What a NOT NULL column holds where a case does not care: by name, else by type.
FOREVER = date(9999, 12, 31)
ANY_VALUE_OF = {"valid_until": FOREVER, "known_until": FOREVER, "source": "search", "action": "search"}
ANY_VALUE = {
    "VARCHAR": "any",
    "TEXT": "any",
    "BOOLEAN": False,
    "TINYINT": 0,
    "SMALLINT": 0,
    "INT": 0,
    "INTEGER": 0,
    "BIGINT": 0,
    "DOUBLE": 0.5,
    "DECIMAL(9, 6)": 1,
}


def read_cases(path: Path) -> list[Mapping[str, Any]]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


CASES = [
    pytest.param(path.stem, case, id=f"{path.stem}: {case['name']}") for path in CASE_FILES for case in read_cases(path)
]


@pytest.mark.parametrize(("name", "case"), CASES)
def test_sql_gives_the_expected_rows(name: str, case: Mapping[str, Any]):
    params = case_params(case)
    with start_duckdb({"threads": 1}) as connection:
        connection.execute("set TimeZone = 'UTC'")
        for macro in load_macros():
            connection.execute(macro)
        create_inputs(connection, name, case.get("inputs", {}), as_of=params["as_of"])
        if name in MODELS:
            columns = result_of_model(connection, name, params)
        else:
            columns = result_of_audit(connection, name, params)
        assert rows_of_result(connection, case["expected"]) == expected_rows(connection, case["expected"], columns)


@pytest.mark.parametrize("name", sorted({*MODELS, *AUDITS}))
def test_every_model_and_audit_has_cases(name: str):
    path = SQL_ROOT / "tests" / f"{name}.yaml"
    assert path.exists(), f"{path} is missing"
    assert read_cases(path)


@pytest.mark.parametrize("name", sorted(AUDITS))
def test_every_audit_is_seen_to_find_rows_and_to_find_none(name: str):
    assert {bool(case["expected"]) for case in read_cases(SQL_ROOT / "tests" / f"{name}.yaml")} == {True, False}


@pytest.mark.parametrize("path", CASE_FILES, ids=lambda path: path.name)
def test_every_case_file_is_well_formed_and_of_a_model_or_an_audit(path: Path):
    assert path.suffix == ".yaml"
    assert path.stem in {*MODELS, *AUDITS}
    cases = read_cases(path)
    for case in cases:
        assert case.keys() <= {"name", "params", "inputs", "expected"}
        assert {"name", "expected"} <= case.keys()
        assert len({frozenset(row) for row in case["expected"]}) <= 1, "expected rows must have the same columns"
    assert len({case["name"] for case in cases}) == len(cases), "two cases have one name"


def test_no_model_and_audit_have_one_name():
    assert not MODELS.keys() & AUDITS.keys()


def case_params(case: Mapping[str, Any]) -> dict[str, Any]:
    given = case.get("params", {})
    params = query_parameters(Settings(), given.get("as_of", AS_OF))
    assert given.keys() <= params.keys(), "unknown parameter"
    return params | given


def create_inputs(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    inputs: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    as_of: date,
) -> None:
    """Create the tables that the SQL reads, by their real definitions, and fill in what a case leaves out."""
    read = (MODELS.get(name) or AUDITS[name]).depends_on
    assert inputs.keys() <= read, f"{name} does not read these inputs"
    for table_name in sorted(read):
        table = TABLES[table_name]
        connection.execute(table.create_sql())
        rows = inputs.get(table_name, [])
        for row in rows:
            assert row.keys() <= table.columns.keys(), f"unknown column of {table_name}"
        filled = [
            {column: row.get(column, any_value(column, spec, as_of)) for column, spec in table.columns.items()}
            for row in rows
        ]
        types = {column: spec.type for column, spec in table.columns.items()}
        insert_rows(connection, table_name, filled, types)


def any_value(name: str, column: Column, as_of: date) -> Any:
    if column.nullable:
        return None
    if name in ANY_VALUE_OF:
        return ANY_VALUE_OF[name]
    kind = column.type.upper()
    if kind in {"DATE", "TIMESTAMP"}:
        return as_of
    if kind.startswith("MAP"):
        return {}
    return [] if kind.endswith("[]") else ANY_VALUE[kind]


def insert_rows(
    connection: duckdb.DuckDBPyConnection, table: str, rows: Sequence[Mapping[str, Any]], types: Mapping[str, str]
) -> None:
    if not rows:
        return
    row_type = ", ".join(f'"{column}" {types[column]}' for column in rows[0])
    connection.execute(
        f'insert into "{table}" by name select unnest(cast($rows::json as struct({row_type})[]), max_depth := 2)',
        {"rows": json.dumps(rows, default=str)},
    )


def result_of_model(connection: duckdb.DuckDBPyConnection, name: str, params: Mapping[str, Any]) -> dict[str, str]:
    """Write the model's rows to a table with its declared types and NOT NULLs, as a run does."""
    model = MODELS[name]
    connection.execute(model.table.create_sql())
    connection.execute(f'insert into "{name}" by name {model.sql}', used_params(model.sql, params))
    connection.execute(f'create view result as from "{name}"')
    return {column: spec.type for column, spec in model.table.columns.items()}


def result_of_audit(connection: duckdb.DuckDBPyConnection, name: str, params: Mapping[str, Any]) -> dict[str, str]:
    sql = f"create table result as {AUDITS[name].sql}"
    connection.execute(sql, used_params(sql, params))
    return {row[0]: row[1] for row in connection.execute("describe result").fetchall()}


def expected_rows(
    connection: duckdb.DuckDBPyConnection, expected: Sequence[Mapping[str, Any]], types: Mapping[str, str]
) -> Counter[str]:
    if not expected:
        return Counter()
    columns = ", ".join(f'"{column}" {types[column]}' for column in expected[0])
    connection.execute(f"create table expected ({columns})")
    insert_rows(connection, "expected", expected, types)
    return counted(connection, "from expected")


def rows_of_result(connection: duckdb.DuckDBPyConnection, expected: Sequence[Mapping[str, Any]]) -> Counter[str]:
    columns = ", ".join(f'"{column}"' for column in expected[0]) if expected else "*"
    return counted(connection, f"select {columns} from result")


def counted(connection: duckdb.DuckDBPyConnection, sql: str) -> Counter[str]:
    relation = connection.sql(sql)
    return Counter(
        json.dumps(dict(zip(relation.columns, row, strict=True)), sort_keys=True, default=str, ensure_ascii=False)
        for row in relation.fetchall()
    )
