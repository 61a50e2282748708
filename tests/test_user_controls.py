"""What users say of their journeys: in force as of each day, and obeyed in lists whatever becomes of clusters."""

from datetime import date, datetime, timedelta
from itertools import product
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeys_dagster.definitions import declared_tables
from journeys_dagster.settings import Settings
from journeys_dagster.sql.macros import load_macros
from journeys_dagster.sql.models import load_models

FIRST = date(2025, 6, 1)
SCHEMA = {
    "arrival_day": pl.Date,
    **dict.fromkeys(("user_id", "control", "journey_id", "keyword", "channel"), pl.String),
    "occurred_at": pl.Datetime("us"),
}
ABOUT = {"hide_journey": ("journey_id", "j"), "not_interested": ("keyword", "oak"), "opt_out": ("channel", None)}


@pytest.fixture(scope="module")
def database() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config={"threads": 1})
    for macro in load_macros():
        connection.execute(macro)
    connection.execute(declared_tables(Settings())["user_controls"].create_sql())
    connection.execute(f"create view controls_in_force as {load_models()['controls_in_force'].sql}")
    return connection


said = st.tuples(
    st.sampled_from(["ann", "bob"]),
    st.sampled_from(list(ABOUT)),
    st.booleans(),
    st.integers(0, 4),
    st.integers(0, 3),
)


@given(st.lists(said, max_size=12))
def test_as_of_each_day_the_newest_that_was_said_of_a_thing_counts(
    database: duckdb.DuckDBPyConnection, rows: list[tuple[str, str, bool, int, int]]
):
    controls: list[dict[str, Any]] = []
    for user, control, is_undo, happened, late in rows:
        column, value = ABOUT[control]
        controls.append(
            {
                "arrival_day": FIRST + timedelta(days=happened + late),
                "user_id": user,
                "control": "undo" if is_undo else control,
                column: value,
                "occurred_at": datetime(2025, 6, 1) + timedelta(days=happened),
            }
        )
    database.execute("delete from user_controls")
    database.register("rows", pl.DataFrame(controls, schema=SCHEMA))
    database.execute("insert into user_controls by name from rows")
    expected = []
    for past, user, control in product(range(9), ("ann", "bob"), ABOUT):
        arrived = [
            (happened, not is_undo)
            for who, about, is_undo, happened, late in rows
            if (who, about) == (user, control) and happened + late <= past
        ]
        if arrived and max(arrived)[1]:
            expected.append((FIRST + timedelta(days=past), user, control))
    found = database.execute(
        "select day, user_id, control from controls_in_force, "
        "(select $first + unnest(range(9))::integer as day) where valid_from <= day and day < valid_until",
        {"first": FIRST},
    ).fetchall()
    assert sorted(found) == sorted(expected)
