"""Runs that are killed at any moment and run again: the end is that of an undisturbed run, and readers see no half."""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import dagster as dg
import pytest
from warm_command import Command, WarmCommand, warm_command
from whole_tables import all_tables, differing_rows

from journeys_dagster.resources.home import Home
from journeys_dagster.resources.warehouse import Warehouse

# A reader sees users' whole lists as fingerprints, so that it can poll fast and tell any other list from a known one.
LISTS = """
    select user_id, md5(string_agg(cast(current_user_journeys as varchar), '|' order by rank, journey_id)) as list
    from current_user_journeys
    group by user_id
"""
BROKEN = """
    select 'ranks of ' || user_id
    from current_user_journeys
    group by user_id
    having list(rank order by rank) != range(1, count(*) + 1)
    union all
    select 'announced but not there: ' || user_id || ' ' || as_of
    from user_snapshots
    anti join user_journeys using (as_of, user_id)
    where journeys > 0
"""
POLL = f"""
import json, sys, time
from journeys_dagster.resources.warehouse import Warehouse
lists, broken = {LISTS!r}, {BROKEN!r}
warehouse = Warehouse(database=sys.argv[1])
views = "select count(*) from information_schema.tables where table_name in ('current_user_journeys', 'user_snapshots')"
polls, known, longest = 0, {{}}, 0.0
print("ready", flush=True)
while True:
    began = time.monotonic()
    if not warehouse.path.exists():
        time.sleep(0.01)
        continue
    with warehouse.read() as connection:
        now = time.monotonic()
        if connection.sql(views).fetchall()[0][0] < 2:
            continue
        seen = dict(connection.sql(lists).fetchall())
        faults = [row[0] for row in connection.sql(broken).fetchall()]
    polls += 1
    longest = max(longest, now - began)
    changed = sorted(seen.items() - known.items())
    gone = sorted(known.keys() - seen.keys())
    if changed or gone or faults or not polls % 20:
        print(json.dumps([now, polls, longest, changed, gone, faults]), flush=True)
    known = seen
    time.sleep(0.01)
"""


@dataclass(frozen=True)
class Step:
    """One run of a plan, and the lists before and after it if nothing disturbs it."""

    words: tuple[str, ...]
    before: frozenset[tuple[str, str]]
    after: frozenset[tuple[str, str]]


@dataclass
class Polled:
    """What a reader has seen: when which user's list became which."""

    polls: int
    longest_wait: float
    changes: list[tuple[float, str, str]]
    gone: list[str]
    faults: list[str]
    errors: str


@contextmanager
def polling(path: Path, log: Path) -> Iterator[Callable[[], Polled]]:
    """Read a warehouse as fast as it can be read, in a process of its own; the callable stops that and tells."""
    errors = log.with_suffix(".errors")
    with (
        log.open("w") as out,
        errors.open("w") as err,
        subprocess.Popen([sys.executable, "-c", POLL, str(path)], stdout=out, stderr=err) as reader,
    ):

        def stop() -> Polled:
            time.sleep(0.5)
            assert reader.poll() is None, errors.read_text()
            reader.terminate()
            reader.wait()
            polled = Polled(0, 0.0, [], [], [], errors.read_text())
            for line in log.read_text().splitlines()[1:]:
                now, polled.polls, polled.longest_wait, changed, gone, faults = json.loads(line)
                polled.changes += [(now, user, fingerprint) for user, fingerprint in changed]
                polled.gone += gone
                polled.faults += faults
            return polled

        try:
            while not log.read_text().startswith("ready"):
                assert reader.poll() is None, errors.read_text()
                time.sleep(0.01)
            yield stop
        finally:
            reader.kill()


def lists(path: Path) -> frozenset[tuple[str, str]]:
    """Each user's current list."""
    warehouse = Warehouse(database=str(path))
    return (
        frozenset(warehouse.query(LISTS).iter_rows()) if warehouse.has_table("current_user_journeys") else frozenset()
    )


def where_it_struck(home: Home, known: set[str]) -> str:
    """Which step was under way in a home's newest run; `known` are the runs there were before."""
    with home.dagster_instance() as instance:
        (newest,) = instance.get_run_records(limit=1) or [None]
        if newest is None or newest.dagster_run.run_id in known:
            return "before the run began"
        known.add(newest.dagster_run.run_id)
        if newest.dagster_run.is_finished:
            return "between runs"
        events = [entry.dagster_event for entry in instance.all_logs(newest.dagster_run.run_id)]
        steps = [event for event in events if event is not None and (event.is_step_start or event.is_step_success)]
        if not steps:
            return "before the first step"
        return str(steps[-1].step_key) if steps[-1].is_step_start else "between steps"


def kill_at(command: Command, moment: float, *, aim_at: Path | None) -> bool:
    """Kill a command when so many seconds have passed, or in the next write after it; false if it ended first."""
    while time.monotonic() < command.began + moment or (aim_at is not None and not aim_at.exists()):
        if not command.alive():
            break
        time.sleep(0.001)
    command.kill()
    status = command.wait()
    assert status in {0, -9}, command.log.read_text()
    return status == -9


@pytest.fixture(scope="module")
def command() -> Iterator[WarmCommand]:
    with warm_command() as warm:
        yield warm


def make_plan(days: list[date], *, long: bool) -> list[tuple[date, str]]:
    if not long:
        return [(days[3], "active_users")]
    return [
        (days[0], "all_users"),
        (days[1], "active_users"),
        (days[2], "active_users"),
        (days[3], "active_users"),
        (days[3], "all_users"),
        (days[2], "active_users"),
    ]


@pytest.mark.parametrize("kills", [2, pytest.param(50, marks=pytest.mark.slow)])
def test_killed_runs_run_again_end_as_if_undisturbed(
    kills: int,
    tmp_path: Path,
    world_home: Path,
    world_days: list[date],
    command: WarmCommand,
    figures: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "")
    chance, plan = random.Random(kills), make_plan(world_days, long=kills > 2)
    twin, home = Home(tmp_path / "twin"), Home(tmp_path / "home")
    for each in (twin, home):
        shutil.copytree(world_home, each.path)
        if kills > 2:
            # From nothing: taking in the whole landing zone is killed too.
            (each.path / "warehouse.duckdb").unlink()
    log_file = home.path / "warehouse.duckdb.wal"
    struck: Counter[str] = Counter()
    known_runs: set[str] = set()
    unfinished_logs = spools = compared_rows = 0
    differing: dict[str, int] = {}
    intervals: list[tuple[float, Step]] = []
    killed_runs = 0
    with polling(home.path / "warehouse.duckdb", tmp_path / "polled") as stop:
        for number, (day, scope) in enumerate(plan):
            words = ("run", "--date", str(day), "--scope", scope)
            before = lists(twin.path / "warehouse.duckdb")
            seconds = command.run(*words, home=twin.path, log=tmp_path / "twin.log")
            undisturbed = Step(words, before, lists(twin.path / "warehouse.duckdb"))
            intervals.append((time.monotonic(), undisturbed))
            quota = len(range(number, kills, len(plan)))
            moments = [(place + chance.random()) / quota * seconds for place in range(quota)]
            chance.shuffle(moments)
            while moments:
                run = command.start(*words, home=home.path, log=tmp_path / "home.log")
                aim = log_file if len(moments) % 3 == 0 else None
                if not kill_at(run, moments.pop(), aim_at=aim):
                    # Too late: once more, earlier.
                    moments.append(chance.random() * seconds / 2)
                    continue
                killed_runs += 1
                unfinished_logs += log_file.exists()
                spools += any(home.path.glob("spool-*"))
                struck[where_it_struck(home, known_runs)] += 1
            command.run(*words, home=home.path, log=tmp_path / "home.log")
            where_it_struck(home, known_runs)
            expected, found = all_tables(twin.path / "warehouse.duckdb"), all_tables(home.path / "warehouse.duckdb")
            differing |= differing_rows(expected, found)
            compared_rows += sum(map(len, expected.values()))
        polled = stop()
    partial = polled.faults + [f"{user} has no list" for user in polled.gone]
    for moment, user, fingerprint in polled.changes:
        began = [step for start, step in intervals if start <= moment]
        step = began[-1] if began else Step((), intervals[0][1].before, intervals[0][1].before)
        if (user, fingerprint) not in step.before | step.after:
            partial.append(f"{user} during {' '.join(step.words)}")
    with home.dagster_instance() as instance:
        left = [
            record.dagster_run.run_id
            for record in instance.get_run_records(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        ]
        ended = instance.get_runs_count(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))
    figures(
        kills=killed_runs,
        struck=", ".join(f"{step} {count}" for step, count in struck.most_common()),
        with_an_unfinished_log=unfinished_logs,
        with_a_spool_left_behind=spools,
        runs_recorded_as_failed=ended,
        runs_left_as_started=len(left),
        polls=polled.polls,
        lists_seen=len({change[1:] for change in polled.changes}),
        partial_snapshots=len(partial),
        reader_waited_at_most_seconds=polled.longest_wait,
        tables_compared=len(expected),
        rows_compared=compared_rows,
        differing_rows=sum(differing.values()),
        spools_left_at_the_end=len(list(home.path.glob("spool-*"))),
    )
    assert killed_runs == kills
    assert polled.errors == ""
    assert polled.polls > kills
    assert partial == []
    assert differing == {}
    assert len(expected) > 20
