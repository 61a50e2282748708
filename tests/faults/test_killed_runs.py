"""Runs that are killed at any moment and run again: the end is that of an undisturbed run, and readers see no half."""

import json
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import dagster as dg
import pytest
from warm_command import Command, WarmCommand, warm_command
from whole_tables import all_tables, differing_rows

from journeys_dagster.resources.home import Home
from journeys_dagster.settings import Settings

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
    # Often enough to look between any two writes, and not so often that runs wait for the reader all the time.
    time.sleep(0.03)
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
    warehouse = Home(path.parent).warehouse(Settings())
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


@dataclass
class Toll:
    """What the kills of a test have done."""

    struck: Counter[str] = field(default_factory=Counter)
    unfinished_logs: int = 0
    spools: int = 0
    known_runs: set[str] = field(default_factory=set)

    def kill(self, command: WarmCommand, home: Home, words: Sequence[str], moments: list[float], log: Path) -> None:
        """Kill a run again and again, at these moments; too late ones are tried again, earlier."""
        unfinished_log = home.path / "warehouse.duckdb.wal"
        while moments:
            run = command.start(*words, home=home.path, log=log)
            moment = moments.pop()
            # Every third one waits for a write, which are short.
            if not kill_at(run, moment, aim_at=unfinished_log if len(moments) % 3 == 2 else None):
                moments.append(moment / 2)
                continue
            self.unfinished_logs += unfinished_log.exists()
            self.spools += any(home.path.glob("spool-*"))
            self.struck[where_it_struck(home, self.known_runs)] += 1


def partial_snapshots(polled: Polled, steps: Sequence[tuple[float, Step]]) -> list[str]:
    """What a reader saw that neither was there before the step under way nor is after it."""
    partial = polled.faults + [f"{user} has no list any more" for user in polled.gone]
    for moment, user, fingerprint in polled.changes:
        step = next(step for began, step in reversed(steps) if began <= moment)
        if (user, fingerprint) not in step.before | step.after:
            partial.append(f"{user} during {' '.join(step.words)}")
    return partial


def count_runs(home: Home, status: dg.DagsterRunStatus) -> int:
    with home.dagster_instance() as instance:
        return instance.get_runs_count(dg.RunsFilter(statuses=[status]))


@pytest.mark.slow
@pytest.mark.parametrize("kills", [2, 50])
def test_killed_runs_run_again_end_as_if_undisturbed(
    *,
    kills: int,
    tmp_path: Path,
    world_home: Path,
    world_days: list[date],
    command: WarmCommand,
    figures: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "")
    chance, plan = random.Random(kills), make_plan(world_days, long=kills > 2)  # noqa: S311
    twin, home = Home(tmp_path / "twin"), Home(tmp_path / "home")
    twin_path, path, log = twin.path / "warehouse.duckdb", home.path / "warehouse.duckdb", tmp_path / "log"
    for each in (twin, home):
        shutil.copytree(world_home, each.path)
        if kills > 2:
            # From nothing: taking in the whole landing zone is killed too.
            (each.path / "warehouse.duckdb").unlink()
    toll, rows, differing, expected = Toll(), 0, dict[str, int](), all_tables(twin_path)
    steps = [(0.0, Step((), lists(twin_path), lists(twin_path)))]
    with polling(path, tmp_path / "polled") as stop:
        for number, (day, scope) in enumerate(plan):
            words = ("run", "--date", str(day), "--scope", scope)
            before = lists(twin_path)
            seconds = command.run(*words, home=twin.path, log=log)
            steps.append((time.monotonic(), Step(words, before, lists(twin_path))))
            quota = len(range(number, kills, len(plan)))
            moments = [(place + chance.random()) / quota * seconds for place in range(quota)]
            chance.shuffle(moments)
            toll.kill(command, home, words, moments, log)
            command.run(*words, home=home.path, log=log)
            where_it_struck(home, toll.known_runs)
            expected = all_tables(twin_path)
            differing |= differing_rows(expected, all_tables(path))
            rows += sum(map(len, expected.values()))
        polled = stop()
    partial = partial_snapshots(polled, steps)
    figures(
        kills=toll.struck.total(),
        struck=", ".join(f"{step} {count}" for step, count in toll.struck.most_common()),
        with_an_unfinished_log=toll.unfinished_logs,
        with_a_spool_left_behind=toll.spools,
        runs_recorded_as_failed=count_runs(home, dg.DagsterRunStatus.FAILURE),
        runs_left_as_started=count_runs(home, dg.DagsterRunStatus.STARTED),
        polls=polled.polls,
        lists_seen=len({change[1:] for change in polled.changes}),
        partial_snapshots=len(partial),
        reader_waited_at_most_seconds=polled.longest_wait,
        tables_compared=len(expected),
        rows_compared=rows,
        differing_rows=sum(differing.values()),
        spools_left_at_the_end=len(list(home.path.glob("spool-*"))),
    )
    assert toll.struck.total() == kills
    assert polled.errors == ""
    assert polled.polls > kills
    assert partial == []
    assert differing == {}
    assert len(expected) > 20
