"""Exports of notifications that are killed: whatever the moment, each decision is in one export and no other."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from journeys_dagster.notification.sends import NOTIFICATION_SENDS
from journeys_dagster.resources.home import Home
from journeys_dagster.resources.warehouse import Warehouse

USERS = 40
# Users of their own on each day: a later decision of a user would keep an earlier one from being exported.
DAYS = """
    create table notification_decisions as
    select date '2025-06-01' + cast(day as integer) as as_of, 'u' || i || 'of' || day as user_id,
        true as is_sent, 1 as place, 'best' as reason, 'j' || day as journey_id, 'push' as channel,
        16 as utc_hour, 16 as local_hour, 'keyword' as lead_kind, 'word' as lead,
        0.5 as score, 'rule' as scored_by, 1.0 as propensity, null as features
    from range({days}) days(day), range({users}) users(i);
    create table user_journeys as
    select as_of, user_id, journey_id, 'name' as name, [{{'keyword': 'word', 'shown': 'word'}}] as keywords
    from notification_decisions;
"""
# Forked before anything has threads, so that to begin takes no time and to be killed has no cleaner way out.
EXPORTER = """
import os, signal, sys, time
from datetime import date, timedelta
from pathlib import Path
from journeys_dagster.resources import send_export
from journeys_dagster.resources.warehouse import Warehouse

home, to = map(Path, sys.argv[1:3])

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def export(day, to, moment=None):
    warehouse = Warehouse(database=str(home / "warehouse.duckdb"), lock_timeout_seconds=60)
    if moment == "before the log":
        send_export._log = die
    if moment == "before the name":
        send_export._give_name = die
    send_export.export_sends(warehouse, to, as_of=day)

def in_child(*args, kill_after=None):
    child = os.fork()
    if child == 0:
        export(*args)
        os._exit(0)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]

for number, moment in enumerate(sys.argv[3:]):
    day = date(2025, 6, 1) + timedelta(days=number)
    path = to if number % 2 else to.parent / f"{number}.ndjson"
    try:
        status = in_child(day, path, kill_after=float(moment))
    except ValueError:
        status = in_child(day, path, moment)
    print("killed" if os.WIFSIGNALED(status) else "done", flush=True)
    again = to if not path.exists() else to.parent / f"{number}-again.ndjson"
    assert in_child(day, again) == 0
"""


def export_and_kill(home: Home, warehouse: Warehouse, to: Path, moments: list[str]) -> Counter[str]:
    """Kill an export of each day at a moment and make it again; whether it had been killed in time."""
    with warehouse.write() as connection:
        connection.execute(DAYS.format(days=len(moments), users=USERS))
    script = [sys.executable, "-c", EXPORTER, str(home.path), str(to), *moments]
    said = subprocess.run(script, check=False, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    return Counter(said.stdout.split())


def check_each_once(warehouse: Warehouse, to: Path, days: int) -> None:
    """That all decisions are in the exports there are, each once, and in the log as they are there."""
    assert not [*to.parent.rglob(".sending-*")]
    files = [*to.rglob("*.parquet"), *to.parent.glob("*.ndjson")]
    assert all((path.parent / "_SUCCESS").exists() for path in files if path.suffix == ".parquet")
    assert all(path.with_name(f"{path.name}.manifest.json").exists() for path in files if path.suffix == ".ndjson")
    found = pl.concat(
        (pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_ndjson(path)).select("send_id", "user_id")
        for path in files
    ).sort("send_id")
    assert found["send_id"].n_unique() == found.height == days * USERS
    log = warehouse.query(f"select send_id, user_id from {NOTIFICATION_SENDS.name} order by send_id")
    assert log.equals(found)


def test_an_export_that_is_killed_is_made_whole_by_the_next_one(home: Home, warehouse: Warehouse, tmp_path: Path):
    moments = ["before the log", "before the log", "before the name", "before the name"]
    said = export_and_kill(home, warehouse, tmp_path / "to" / "exports", moments)
    assert said == {"killed": 4}
    check_each_once(warehouse, tmp_path / "to" / "exports", 4)


@pytest.mark.slow
def test_exports_killed_at_any_moment_send_nothing_twice_and_lose_nothing(
    home: Home, warehouse: Warehouse, tmp_path: Path
):
    draw = np.random.default_rng(26)
    moments = [f"{moment:.4f}" for moment in draw.uniform(0, 0.45, 50)]
    said = export_and_kill(home, warehouse, tmp_path / "to" / "exports", moments)
    assert said["killed"] >= 20
    check_each_once(warehouse, tmp_path / "to" / "exports", 50)
