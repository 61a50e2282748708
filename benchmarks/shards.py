"""What splitting users costs and gives: full inference of one world with one shard, and with shards and workers.

Run ``python benchmarks/shards.py --users 20000 --shards 8 --workers 1 2``. It simulates a platform, takes its days in
with one shard, moves a copy to shards, and infers everyone as of the last day: by one process, and by each number of
workers, in turn, each in a new process on a copy of its own. With ``--pin`` each worker has one core, and the process
alone too. Of each it prints seconds, the driver's and the workers' processor time, and their peak of memory. The tables
of users are compared to the bit with those of one process.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table

from journeys_dagster.cli import set_collector
from journeys_dagster.environment import HOME_VARIABLE, SETTINGS_VARIABLE
from journeys_dagster.resources.home import Home
from journeys_dagster.resources.shards import layout_of, shard_warehouse
from journeys_dagster.settings import load_settings

LAST_DAY = date(2025, 6, 30)
_COMPARED = (
    "keywords",
    "clusters",
    "journey_features",
    "rankings",
    "stages",
    "names",
    "user_journeys",
    "user_snapshots",
)
_MARK = "select count(*) as rows, cast(bit_xor(hash({columns})) as varchar) as mark from {table} where as_of = $as_of"
_TICKS = os.sysconf("SC_CLK_TCK")
_THREADS = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "POLARS_MAX_THREADS")
_WATCH_SECONDS = 0.2


class Watched:
    """Processor time and peak memory of this process and of those that it has started. Linux only."""

    def __init__(self, *, pin: bool) -> None:
        self.workers: dict[int, tuple[float, float]] = {}
        self._pin, self._cores = pin, sorted(os.sched_getaffinity(0))
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            for process in _started_by(os.getpid()):
                if self._pin and process not in self.workers:
                    core = self._cores[len(self.workers) % len(self._cores)]
                    for thread in Path(f"/proc/{process}/task").iterdir():
                        with suppress(OSError):
                            os.sched_setaffinity(int(thread.name), {core})
                with suppress(OSError, StopIteration):
                    self.workers[process] = (_processor_seconds(process), _peak_gib(process))
            time.sleep(_WATCH_SECONDS)


def _started_by(process: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[1]) == process:
                found.append(int(stat.parent.name))
    return found


def _processor_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _peak_gib(process: int | str) -> float:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 2**20


def simulate_and_take_in(users: int, days: int) -> dict[str, Any]:
    """The world, and its days but the last in one warehouse."""
    from journeys_dagster.definitions import build_defs
    from journeys_dagster.orchestration.runs import ingest, missing_days
    from journeys_dagster.sources.contracts import declared_sources
    from lab.simulation import simulate

    home, settings = Home.from_environment(), load_settings()
    simulate(home.landing, users=users, days=days, seed=7, last_day=LAST_DAY)
    zone, warehouse = home.landing_zone(), home.warehouse(settings)
    sources = [name for name in declared_sources(settings) if zone.days(name)]
    missing = missing_days(warehouse, zone, sources, up_to=LAST_DAY - timedelta(days=1), max_rejected_share=1.0)
    ingest(build_defs(settings=settings, home=home), home.dagster_instance(), missing.ranges, sources=sources)
    return {}


def infer_everyone(*, pin: bool) -> dict[str, Any]:
    """Full inference as of the last day."""
    from journeys_dagster.definitions import build_defs
    from journeys_dagster.orchestration.runs import infer

    home, settings = Home.from_environment(), load_settings()
    if pin and settings.run.shards == 1:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    watched = Watched(pin=pin)
    defs, instance = build_defs(settings=settings, home=home), home.dagster_instance()
    steps: list[tuple[str, float, float]] = []
    began, processor = time.perf_counter(), time.process_time()
    infer(
        defs,
        instance,
        as_of=LAST_DAY,
        scope="all_users",
        ended=lambda step, _before, _all: steps.append((step, time.perf_counter(), time.process_time())),
    )
    seconds, own = time.perf_counter() - began, time.process_time() - processor
    driver = home.warehouse(settings)
    layout = layout_of(driver)
    warehouses = [driver] if layout is None else [shard_warehouse(driver, layout, n) for n in range(layout.count)]
    marks: dict[str, tuple[int, int]] = {}
    for table in _COMPARED:
        rows, mark = 0, 0
        for warehouse in warehouses:
            named = ", ".join(f'"{name}"' for name in warehouse.query(f"from {table} limit 0").columns)
            found = warehouse.query(_MARK.format(columns=named, table=table), {"as_of": LAST_DAY}).row(0)
            rows, mark = rows + found[0], mark ^ int(found[1] or 0)
        marks[table] = (rows, mark)
    in_order = zip([("", began, processor), *steps], steps, strict=False)
    return {
        "seconds": seconds,
        "driver_processor_seconds": own,
        "worker_processor_seconds": sum(spent for spent, _ in watched.workers.values()),
        "driver_peak_gib": _peak_gib("self"),
        "worker_peak_gib": max((peak for _, peak in watched.workers.values()), default=0.0),
        "users": marks["user_snapshots"][0],
        "marks": marks,
        "steps": [
            {"step": step, "seconds": at - before, "driver_processor_seconds": spent - spent_before}
            for (_, before, spent_before), (step, at, spent) in in_order
        ],
    }


def _in_new_process(
    part: str, words: list[str], home: Path, run: dict[str, Any], *, one_thread: bool
) -> dict[str, Any]:
    settings = home.with_suffix(".toml")
    lines = [f"{name} = {json.dumps(value)}" for name, value in run.items()]
    sampled = "[judge.sample_shares]\nlight = 0.01\nmedium = 0.02\nheavy = 0.03\n"
    settings.write_text("[run]\n" + "\n".join(lines) + "\n" + sampled, encoding="utf-8")
    environment = {**os.environ, HOME_VARIABLE: str(home), SETTINGS_VARIABLE: str(settings)}
    if one_thread:
        environment |= dict.fromkeys(_THREADS, "1")
    command = [sys.executable, str(Path(__file__).resolve()), "--part", part, *words]
    print(f"{part} {run}", file=sys.stderr, flush=True)
    os.sync()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise SystemExit(f"{part} failed:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _moved(home: Path, to: Path, shards: int) -> None:
    shutil.copytree(home, to)
    if shards > 1:
        command = [str(Path(sys.executable).with_name("journeys")), "reshard", "--shards", str(shards)]
        subprocess.run(command, env={**os.environ, HOME_VARIABLE: str(to)}, check=True, capture_output=True)  # noqa: S603


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All runs in turn."""
    whole = folder / "whole"
    shutil.rmtree(whole, ignore_errors=True)
    limits = {"warehouse_memory_limit": arguments.memory_limit} | ({"warehouse_threads": 1} if arguments.pin else {})
    words = [str(arguments.users), str(arguments.days)]
    _in_new_process("simulate", words, whole, limits, one_thread=False)
    # The first run embeds all keywords and lets kernels be compiled; what it infers is taken back by a copy of before.
    runs: list[dict[str, Any]] = []
    ways = [(1, 1), *((arguments.shards, workers) for workers in arguments.workers)]
    for number in range(arguments.rounds + 1):
        for shards, workers in ways if number else ways[:1]:
            home = folder / "run"
            shutil.rmtree(home, ignore_errors=True)
            _moved(whole, home, shards)
            run = limits | {"shards": shards, "workers": workers}
            pin = ["--pin"] if arguments.pin else []
            found = _in_new_process("infer", pin, home, run, one_thread=arguments.pin)
            if number:
                runs.append({"round": number, "shards": shards, "workers": workers, **found})
            else:
                _keep_vectors(home, whole)
    return {"users": arguments.users, "days": arguments.days, "pinned": arguments.pin, "runs": runs}


def _keep_vectors(home: Path, whole: Path) -> None:
    """Embedding is once; what is measured comes again with every run."""
    settings = load_settings()
    kept = Home(home).warehouse(settings).query("from keyword_embeddings")
    with Home(whole).warehouse(settings).write() as connection:
        connection.register("kept", kept)
        connection.execute("create or replace table keyword_embeddings as from kept")


def report(found: dict[str, Any]) -> None:
    """A table for people."""
    out = Console(width=None if sys.stdout.isatty() else 140)
    columns = (
        "shards",
        "workers",
        "s",
        "driver's processor s",
        "share",
        "workers' processor s",
        "GiB, driver",
        "worker",
    )
    table = Table(*columns, title=f"full inference of {found['users']:,} users, embedding apart")
    first = found["runs"][0]["marks"]
    for run in found["runs"]:
        spent = run["driver_processor_seconds"] + run["worker_processor_seconds"]
        table.add_row(
            str(run["shards"]),
            str(run["workers"]) if run["shards"] > 1 else "none",
            f"{run['seconds']:,.1f}",
            f"{run['driver_processor_seconds']:,.1f}",
            f"{run['driver_processor_seconds'] / spent:.1%}",
            f"{run['worker_processor_seconds']:,.1f}",
            f"{run['driver_peak_gib']:.2f}",
            f"{run['worker_peak_gib']:.2f}",
        )
    out.print(table)
    differing = {name for run in found["runs"] for name, mark in run["marks"].items() if mark != first[name]}
    out.print("Tables of users: " + (f"{', '.join(sorted(differing))} differ" if differing else "equal to the bit"))
    slowest = pl.DataFrame(found["runs"][-1]["steps"]).sort("driver_processor_seconds", descending=True).head(8)
    out.print("Where the driver of the last run spent its time:")
    for step, seconds, spent in slowest.iter_rows():
        out.print(f"  {step}: {spent:.2f} of {seconds:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--days", type=int, default=31)
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--memory-limit", default="2GB", help="DuckDB's, of each process")
    parser.add_argument("--pin", action="store_true", help="one core and one thread for each process that computes")
    parser.add_argument("--folder", type=Path, help="where the homes are made and kept; else a temporary one")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    parser.add_argument("--part", choices=["simulate", "infer"], help=argparse.SUPPRESS)
    arguments, words = parser.parse_known_args()
    if arguments.part:
        set_collector()
        if arguments.part == "simulate":
            said = simulate_and_take_in(*map(int, words))
        else:
            said = infer_everyone(pin=arguments.pin)
        print(json.dumps(said), flush=True)
        os._exit(0)
    if words:
        parser.error(f"unknown: {' '.join(words)}")
    if arguments.folder is None:
        with tempfile.TemporaryDirectory() as made:
            found = measure(arguments, Path(made))
    else:
        arguments.folder.mkdir(parents=True, exist_ok=True)
        found = measure(arguments, arguments.folder)
    print(json.dumps(found)) if arguments.json else report(found)


if __name__ == "__main__":
    main()
