"""Three writers and four readers on one warehouse: nobody fails, nobody starves, nobody reads half a write."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from statistics import median, quantiles
from typing import Any

import pytest
from conftest import crowd

from journeys_dagster.resources.warehouse import Warehouse

WRITERS, READERS = 3, 4
USERS, DAYS = 40, 5
# What is written carries its generation in every row of a day, in three tables, two of them replaced at once.
WORK = """
import json, sys, time
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
import polars as pl
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.resources.warehouse_file import WarehouseFile
from journeys_dagster.tables import Column, Table, snapshot_columns

role, number, path, turns, users, days, others = sys.argv[1], int(sys.argv[2]), sys.argv[3], *map(int, sys.argv[4:])
days = [date(2025, 6, 1) + timedelta(days=back) for back in range(days)]
waits = []

class TimedFile(WarehouseFile):
    @contextmanager
    def _locked(self, *, shared):
        began = time.monotonic()
        with super()._locked(shared=shared):
            waits.append(time.monotonic() - began)
            yield

class TimedWarehouse(Warehouse):
    @property
    def file(self):
        return TimedFile(self.path, self.connection_config, self.lock_timeout_seconds)

def table(name, columns, make=dict):
    columns = {column: Column(type=kind, description="") for column, kind in columns.items()}
    about = dict(description="", grain="", partition_column="arrival_day")
    return Table(kind="landed", name=name, columns=make(columns), **about)

warehouse = TimedWarehouse(database=path, lock_timeout_seconds=3600)
events = table("events", {"arrival_day": "DATE", "user_id": "VARCHAR", "generation": "VARCHAR"})
counts = table("counts", {"arrival_day": "DATE", "generation": "VARCHAR", "rows": "INTEGER"})
lists = table("lists", {"generation": "VARCHAR"}, snapshot_columns)
scope = table("users_in_scope", {"batch": "INTEGER"}, snapshot_columns)
names = [f"user-{each}" for each in range(users)]
constants = {"scope": "all_users", "algorithm_version": "v1"}
HALF = '''
    select 'events of ' || arrival_day as half from events full join counts using (arrival_day, generation)
    group by arrival_day, counts.rows
    having count(user_id) != any_value(counts.rows) or count(distinct generation) != 1
        or count(arrival_day) != any_value(counts.rows)
    union all
    select 'days of events' from events having count(distinct arrival_day) != $days or count(*) != $days * $users
    union all
    select 'lists of ' || as_of from lists group by as_of having count(*) != $users or count(distinct generation) != 1
    union all
    select 'days of lists' from lists having count(distinct as_of) != $days
'''

def write(turn):
    day, generation = days[turn % len(days)], f"{number}-{turn}"
    if turn % 2:
        frame = pl.DataFrame({"arrival_day": [day] * users, "user_id": names, "generation": [generation] * users})
        count = pl.DataFrame(
            {"arrival_day": [day], "generation": [generation], "rows": pl.Series([users], dtype=pl.Int32)}
        )
        warehouse.replace_days([(events, frame, {}), (counts, count, {})], [day])
    else:
        halves = [names[: users // 2], names[users // 2 :]]
        frames = [pl.DataFrame({"user_id": half, "generation": [generation] * len(half)}) for half in halves]
        warehouse.replace_snapshot(lists, frames, as_of=day, constants=constants)

def read():
    with warehouse.read() as connection:
        first, again = (
            connection.sql(HALF, params={"days": len(days), "users": users}).fetchall() for _ in range(2)
        )
        seen.update(row[0] for row in connection.sql("select generation from lists").fetchall())
    return first + again

seen, halves = set(), []
if role == "prepare":
    for day in days:
        frame = pl.DataFrame({"as_of": [day] * users, "user_id": names, "batch": [0] * users})
        frame = frame.with_columns(pl.lit(value).alias(name) for name, value in constants.items())
        with warehouse.write() as connection:
            connection.execute(scope.create_sql())
            connection.register("new_rows", frame)
            connection.execute("insert into users_in_scope by name from new_rows")
    for turn in range(2 * len(days)):
        write(turn)
    sys.exit()
print("ready", flush=True)
sys.stdin.readline()
turn, all_have_had_theirs = 0, Path(path).with_name("turns")
all_have_had_theirs.mkdir(exist_ok=True)
# Each goes on until all have had their turns, so that nobody has them only because the others have gone.
while turn < turns or len(list(all_have_had_theirs.iterdir())) < others:
    if role == "writer":
        write(number + turn)
    else:
        halves += read()
    turn += 1
    if turn == turns:
        (all_have_had_theirs / f"{number}").touch()
print(json.dumps({"waits": waits, "turns": turn, "halves": halves, "seen": len(seen)}))
"""


def summary(of: Sequence[dict[str, Any]]) -> str:
    waits = [wait for each in of for wait in each["waits"]]
    turns = [each["turns"] for each in of]
    return (
        f"{sum(turns)} operations ({min(turns)} to {max(turns)} each), wait median {median(waits):.3f} s, "
        f"p95 {quantiles(waits, n=20, method='inclusive')[-1]:.3f} s, max {max(waits):.3f} s"
    )


@pytest.mark.slow
@pytest.mark.parametrize("turns", [6, 200])
def test_writers_and_readers_share_a_warehouse(turns: int, warehouse: Warehouse, figures: Callable[..., None]) -> None:
    words = (warehouse.path, turns, USERS, DAYS, WRITERS + READERS)
    command = [sys.executable, "-c", WORK, "prepare", "0", *map(str, words)]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stderr == ""
    roles = ["writer"] * WRITERS + ["reader"] * READERS
    with crowd(WORK, *[(role, number, *words) for number, role in enumerate(roles)]) as running:
        ended = [each.communicate() for each in running]
    errors = [error for _, error in ended if error]
    assert errors == []
    told = [json.loads(out) for out, _ in ended]
    halves = [half for each in told for half in each["halves"]]
    figures(
        turns=turns,
        errors=len(errors),
        half_reads=len(halves),
        writers=summary(told[:WRITERS]),
        readers=summary(told[WRITERS:]),
    )
    assert halves == []
    assert min(each["turns"] for each in told) >= turns, "everybody has turns while the others go on"
    assert max(each["seen"] for each in told[WRITERS:]) > DAYS, "readers see what writers write"
