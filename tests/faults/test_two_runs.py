"""Two runs of one home at once: each has it alone, and the end is that of one after the other."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import dagster as dg
import pytest
from conftest import Pipeline
from whole_tables import all_tables, differing_rows

from journeys_dagster.resources.home import Home

COMMAND = "from journeys_dagster.cli import main; main()"


def start(home: Home, day: date, scope: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, "run", "--date", str(day), "--scope", scope],
        env={**os.environ, "JOURNEYS_HOME": str(home.path), "COLUMNS": "250"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("same_day", [True, False], ids=["same day", "neighbouring days"])
def test_two_scopes_at_once_equal_one_after_the_other(
    *,
    same_day: bool,
    tmp_path: Path,
    world_home: Path,
    world_days: list[date],
    figures: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "")
    shutil.copytree(world_home, tmp_path / "home")
    shutil.copytree(world_home, tmp_path / "twin")
    home, twin = Home(tmp_path / "home"), Pipeline(Home(tmp_path / "twin"))
    day_of = {"all_users": world_days[-1] if same_day else world_days[-2], "active_users": world_days[-1]}
    running = [start(home, day, scope) for scope, day in day_of.items()]
    outputs = [each.communicate(timeout=500)[0] for each in running]
    assert [each.returncode for each in running] == [0, 0], outputs
    with home.dagster_instance() as instance:
        jobs = ["daily_incremental", "full_inference"]
        records = [record for record in instance.get_run_records() if record.dagster_run.job_name in jobs]
        assert len(records) == 2
        # A run has the home from its first step on.
        steps = {
            record.dagster_run.job_name: [
                entry.timestamp
                for entry in instance.all_logs(
                    record.dagster_run.run_id,
                    of_type={dg.DagsterEventType.STEP_START, dg.DagsterEventType.STEP_SUCCESS},
                )
            ]
            for record in records
        }
    first, second = sorted(jobs, key=lambda job: min(steps[job]))
    overlap = max(0.0, max(steps[first]) - min(steps[second]))
    scope_of = {"daily_incremental": "active_users", "full_inference": "all_users"}
    for job in (first, second):
        twin.run(day_of[scope_of[job]], scope_of[job])
    expected, found = all_tables(twin.warehouse.path), all_tables(home.path / "warehouse.duckdb")
    differing = differing_rows(expected, found)
    waited = [" ".join(line.split()) for out in outputs for line in out.splitlines() if " waits for " in line]
    figures(
        order=f"{first}, then {second}",
        said="; ".join(waited).replace(str(tmp_path), "…") or "nothing: they did not meet",
        seconds_of_overlap=overlap,
        tables_compared=len(expected),
        rows_compared=sum(map(len, expected.values())),
        differing_rows=sum(differing.values()),
    )
    assert overlap == 0
    assert differing == {}
