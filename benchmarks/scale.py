"""A million users through the real Dagster jobs: what each step takes, beside its floor and beside per-user loops.

Run ``python benchmarks/scale.py --users 1000000``. It simulates a platform, takes its days in, infers everyone as of
the last day but two, then two days on which 1 % of the users were active, and looks journeys up. The first of them
relates journeys for the first time; the second is what a day is like. Each part is a process of its own, so peaks of
memory are its own. A step's floor is the time to read its inputs once and to write its rows once,
and for the two steps that compare vectors these products too. Only ratios travel to other machines.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
from floors import FLOORED, SOURCES, add_floors, measure_floors, parquet_of
from meter import Meter
from rich.console import Console
from rich.table import Table

from journeys_dagster.cli import set_collector
from journeys_dagster.resources.home import Home
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import load_settings

LAST_DAY = date(2025, 6, 30)
FIRST_DAY = LAST_DAY - timedelta(days=1)
"""The first day on which only active users are inferred."""
FULL_DAY = FIRST_DAY - timedelta(days=1)
ACTIVE_SHARE = 0.01
EMBEDDING = "keyword_embeddings"
PLAIN_LOOPS = "plain loops"
ENOUGH_USERS = 50_000
"""Of whom trends are: twice as many make no better model, half as many a worse one."""
SHOWN_USERS = 5
FEW_USERS = 500

# Into a file, too, no name of a step is cut off.
out = Console(stderr=False, width=None if sys.stdout.isatty() else 130)


# The parts, each in a process of its own


def simulate_world(users: int, days: int, seed: int) -> dict[str, Any]:
    """Write the world, and leave of its last two days what 1 % of the users did."""
    from lab.simulation import simulate

    landing, meter = Home.from_environment().landing, Meter()
    simulate(landing, users=users, days=days, seed=seed, last_day=LAST_DAY)
    meter.end("simulate")
    for day in (FIRST_DAY, LAST_DAY):
        _thin_out(landing, day, round(users * ACTIVE_SHARE))
    parquet = sum(file.stat().st_size for file in landing.rglob("*.parquet"))
    events = duckdb.sql(f"select count(*) from {parquet_of(landing, *SOURCES[1:])}").fetchall()[0][0]
    return {"steps": meter.rows, "events": events, "parquet_mib": parquet / 2**20}


def _thin_out(landing: Path, day: date, active: int) -> None:
    paths = [path for source in SOURCES[1:] for path in (landing / source / f"date={day}").glob("*.parquet")]
    days = {path: pl.read_parquet(path) for path in paths}
    users = pl.concat([rows.select("user_id") for rows in days.values()]).unique().sort("user_id")
    chosen = users.sample(min(active, len(users)), seed=day.toordinal())
    for path, rows in days.items():
        rows.join(chosen, on="user_id", how="semi").write_parquet(path)


def take_in() -> dict[str, Any]:
    """The days before the full run, by the job `ingest_landing`."""
    from journeys_dagster.definitions import build_defs
    from journeys_dagster.orchestration.runs import ingest

    home, settings = Home.from_environment(), load_settings()
    instance, meter = home.dagster_instance(), Meter()
    first = min(min(home.landing_zone().days(source)) for source in SOURCES)
    ingest(
        build_defs(settings=settings, home=home),
        instance,
        [(first, FULL_DAY - timedelta(days=1))],
        sources=SOURCES,
        ended=lambda step, _before, _steps: meter.end(step),
    )
    return {"steps": meter.rows}


def infer_day(as_of: date, scope: str) -> dict[str, Any]:
    """A day by the job of its scope."""
    from journeys_dagster.definitions import build_defs
    from journeys_dagster.orchestration.runs import infer

    home, settings = Home.from_environment(), load_settings()
    instance, meter = home.dagster_instance(), Meter()
    defs = build_defs(settings=settings, home=home)
    meter.end("definitions")
    infer(defs, instance, as_of=as_of, scope=scope, ended=lambda step, _before, _steps: meter.end(step))
    warehouse = home.warehouse(settings)
    for row in meter.rows:
        row["rows"] = _rows(warehouse, row["step"], as_of)
    users = warehouse.query("select count(*) as users from users_in_scope where as_of = $day", {"day": as_of})
    return {"steps": meter.rows, "users": int(users["users"][0])}


def _rows(warehouse: Warehouse, step: str, as_of: date) -> int | None:
    with warehouse.read() as connection:
        columns = connection.execute(
            "select column_name from duckdb_columns() where table_name = $step "
            "and table_name in (select table_name from duckdb_tables())",
            {"step": step},
        ).fetchall()
        day = next((name for (name,) in columns if name in {"as_of", "arrival_day"}), None)
        if day is None:
            return None
        return connection.execute(f'select count(*) from "{step}" where {day} = $day', {"day": as_of}).fetchall()[0][0]


def look_up() -> dict[str, Any]:
    """`journeys show USER` as a whole process, and its query alone."""
    home, settings = Home.from_environment(), load_settings()
    warehouse = home.warehouse(settings)
    listed = "select user_id from user_journeys where as_of = $day using sample reservoir(5 rows) repeatable (1)"
    users = warehouse.query(listed, {"day": FULL_DAY})["user_id"].to_list()
    process, query = [], []
    for user in users[:SHOWN_USERS]:
        started = time.perf_counter()
        subprocess.run([str(Path(sys.executable).with_name("journeys")), "show", user], check=True, capture_output=True)  # noqa: S603
        process.append(time.perf_counter() - started)
        started = time.perf_counter()
        found = warehouse.query("from current_user_journeys where user_id = $user order by rank", {"user": user})
        query.append(time.perf_counter() - started)
        if found.is_empty():
            raise RuntimeError(f"{user} has no journeys")
    return {"process_seconds": sorted(process)[len(process) // 2], "query_seconds": sorted(query)[len(query) // 2]}


# All of it


def in_new_process(part: str, *words: object, home: Path, settings: Path) -> dict[str, Any]:
    """What a part of this file gives, run on its own."""
    environment = {**os.environ, "JOURNEYS_HOME": str(home), "JOURNEYS_SETTINGS": str(settings)}
    script = Path(__file__).resolve()
    command = [sys.executable, str(script), "--part", part, *map(str, words)]
    if part == PLAIN_LOOPS:
        command = [sys.executable, str(script.with_name("plain_loops.py"))]
    print(f"{part} {' '.join(map(str, words))}", file=sys.stderr, flush=True)
    # What the part before wrote is put on disk now, as it is between two days, and not while this one is measured.
    os.sync()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise SystemExit(f"{part} failed:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


@contextmanager
def _home_of(folder: Path | None, name: str) -> Iterator[Path]:
    if folder is not None:
        yield folder / name
        return
    with tempfile.TemporaryDirectory() as made:
        yield Path(made) / name


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All parts in turn."""
    home, settings = folder / f"users-{arguments.users}", folder / "journeys.toml"
    folder.mkdir(parents=True, exist_ok=True)
    settings.write_text(
        f"[landing]\ndays_per_batch = {arguments.days_per_batch}\n"
        f'[run]\nwarehouse_memory_limit = "{arguments.memory_limit}"\nusers_per_query = {arguments.users_per_query}\n'
        f"[ranking]\ntrend_share = {min(1.0, ENOUGH_USERS / arguments.users)}\n"
        # Means need thousands of judged lists, not a tenth of all.
        "[judge.sample_shares]\nlight = 0.01\nmedium = 0.02\nheavy = 0.03\n",
        encoding="utf-8",
    )
    shutil.rmtree(home, ignore_errors=True)
    _compile(folder, settings, arguments.days)
    places = {"home": home, "settings": settings}
    found: dict[str, Any] = {"users": arguments.users, "days": arguments.days, "memory_limit": arguments.memory_limit}
    found["simulate"] = in_new_process("simulate", arguments.users, arguments.days, arguments.seed, **places)
    # What takes long may be cut off; what was measured until then is kept.
    kept = folder / "measured.json"
    found["take_in"] = in_new_process("take-in", **places)
    found["full"] = in_new_process("infer", FULL_DAY, "all_users", **places)
    found["floors"] = in_new_process("floors", **places)
    found["first_incremental"] = in_new_process("infer", FIRST_DAY, "active_users", **places)
    found["incremental"] = in_new_process("infer", LAST_DAY, "active_users", **places)
    found["show"] = in_new_process("show", **places)
    add_floors(found)
    kept.write_text(json.dumps(found), encoding="utf-8")
    if arguments.compare:
        other = {"home": folder / f"compared-{arguments.compare}", "settings": settings}
        shutil.rmtree(other["home"], ignore_errors=True)
        in_new_process("simulate", arguments.compare, arguments.days, arguments.seed, **other)
        in_new_process("take-in", **other)
        own = in_new_process("infer", FULL_DAY, "all_users", **other)
        plain = in_new_process(PLAIN_LOOPS, **other)
        plain["users_per_second"] |= {
            "this pipeline, the same users": own["users"] / _total(own),
            "this pipeline, all users": found["full"]["users"] / _total(found["full"]),
        }
        found["plain_loops"] = plain
    return found


def _compile(folder: Path, settings: Path, days: int) -> None:
    """Let the kernels be compiled, which an installation does once, by a world that is not measured."""
    places = {"home": folder / f"users-{FEW_USERS}", "settings": settings}
    shutil.rmtree(places["home"], ignore_errors=True)
    in_new_process("simulate", FEW_USERS, days, 0, **places)
    in_new_process("take-in", **places)
    in_new_process("infer", FULL_DAY, "all_users", **places)
    for day in (FIRST_DAY, LAST_DAY):
        in_new_process("infer", day, "active_users", **places)


def _total(part: dict[str, Any]) -> float:
    """Seconds of a run without the embedding of new keywords."""
    return sum(row["seconds"] for row in part["steps"] if row["step"] != EMBEDDING)


def report(found: dict[str, Any]) -> None:
    """Tables for people."""
    simulated = found["simulate"]
    out.print(
        f"{found['users']:,} users, {simulated['events']:,} events of {found['days']} days, "
        f"{simulated['parquet_mib']:,.0f} MiB of Parquet; DuckDB's memory limit {found['memory_limit']}"
    )
    for part, title in (
        ("simulate", "the world"),
        ("take_in", "taking the log in"),
        ("full", "full inference"),
        ("first_incremental", "first incremental day"),
        ("incremental", "incremental day"),
    ):
        _print_steps(found[part], title)
    show, floors = found["show"], found["floors"]
    full = _total(found["full"])
    table = Table("what", "value", title="in short; embedding of new keywords apart")
    table.add_row("full inference", f"{full:,.1f} s, peak {_peak(found['full']):.1f} GiB")
    for part, what in (("first_incremental", "first incremental day"), ("incremental", "incremental day")):
        day = _total(found[part])
        table.add_row(what, f"{day:,.1f} s, {day / full:.1%} of the full run; {found[part]['users']:,} users")
    table.add_row("journeys show USER", f"{show['process_seconds']:.2f} s, query {show['query_seconds'] * 1e3:.0f} ms")
    table.add_row("reading the Parquet once", f"{floors['parquet_read']:,.1f} s")
    table.add_row("writing user_journeys once", f"{floors['write']['user_journeys']:,.1f} s")
    for step, seconds in floors["vector_products"].items():
        table.add_row(f"products of vectors alone, {step}", f"{seconds:,.1f} processor s")
    out.print(table)
    if "plain_loops" in found:
        speeds = found["plain_loops"]["users_per_second"]
        table = Table("method", "users/s", "this pipeline over it", title="beside plain loops, without embedding")
        for method, speed in speeds.items():
            table.add_row(method, f"{speed:,.1f}", f"{speeds['this pipeline, all users'] / speed:,.1f}")
        out.print(table)
        if "bertopic" in found["plain_loops"]:
            out.print(f"BERTopic: {found['plain_loops']['bertopic']}")


def _peak(part: dict[str, Any]) -> float:
    return max(row["peak_gib"] for row in part["steps"])


def _print_steps(part: dict[str, Any], title: str) -> None:
    users = part.get("users")
    table = Table(
        "step", "s", "processor s", "users/s", "rows/s", "peak GiB", "written MiB", "floor s", "over floor", title=title
    )
    for row in part["steps"]:
        if row["seconds"] < FLOORED and len(part["steps"]) > len(SOURCES):
            continue
        rows = row.get("rows")
        table.add_row(
            row["step"],
            f"{row['seconds']:,.1f}",
            f"{row['processor_seconds']:,.1f}",
            f"{users / row['seconds']:,.0f}" if users else "",
            f"{rows / row['seconds']:,.0f}" if rows else "",
            f"{row['peak_gib']:.2f}",
            f"{row['written_mib']:,.0f}",
            f"{row['floor_seconds']:,.1f}" if "floor_seconds" in row else "",
            f"{row['over_floor']:.1f}" if "over_floor" in row else "",
        )
    table.add_section()
    table.add_row(
        "all of it",
        f"{sum(row['seconds'] for row in part['steps']):,.1f}",
        f"{sum(row['processor_seconds'] for row in part['steps']):,.1f}",
        *(["", ""]),
        f"{_peak(part):.2f}",
        f"{sum(row['written_mib'] for row in part['steps']):,.0f}",
    )
    out.print(table)


PARTS: dict[str, Callable[..., dict[str, Any]]] = {
    "simulate": lambda users, days, seed: simulate_world(int(users), int(days), int(seed)),
    "take-in": take_in,
    "infer": lambda day, scope: infer_day(date.fromisoformat(day), scope),
    "show": look_up,
    "floors": lambda: measure_floors(FULL_DAY),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--days", type=int, default=31)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--compare", type=int, default=2_000, help="users of the plain loops; 0: none")
    parser.add_argument("--memory-limit", default="8GB", help="DuckDB's")
    parser.add_argument("--days-per-batch", type=int, default=4)
    parser.add_argument("--users-per-query", type=int, default=200_000)
    parser.add_argument("--folder", type=Path, help="where the homes are made and kept; else a temporary one")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    arguments, words = parser.parse_known_args()
    if arguments.part:
        set_collector()
        print(json.dumps(PARTS[arguments.part](*words)), flush=True)
        # Whoever holds DuckDB results at the end is said to leak them; there is nothing left to do.
        os._exit(0)
    if words:
        parser.error(f"unknown: {' '.join(words)}")
    with _home_of(arguments.folder, "scale") as folder:
        found = measure(arguments, folder)
    print(json.dumps(found)) if arguments.json else report(found)


if __name__ == "__main__":
    main()
