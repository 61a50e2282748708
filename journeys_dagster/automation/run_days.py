"""What a run of Dagster's is about: its days and scope, and whether its process is still there."""

import os
import socket
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg

_HOST_TAG, _PID_TAG = "journeys/host", "journeys/pid"
_FIRST, _LAST = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
_WITH_PROCESS = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    *_WITH_PROCESS,
]
LOST = "The run's process is gone, as after a crash or a power cut; nothing half-written is left."
_STARTS_AFTER_SECONDS = 60
_DEAD = {"Z", "X"}
"""States of a process that has ended but that nobody has asked after, as in a container without an init."""
_EPOCH = date(1970, 1, 1)


def process_tags() -> dict[str, str]:
    """Run tags that tell of this process, in which the run is executed."""
    return {_HOST_TAG: socket.gethostname(), _PID_TAG: str(os.getpid())}


def priority_tags(day: date) -> dict[str, str]:
    """Run tag that puts older days first in the queue, also where a run is tried again."""
    return {"dagster/priority": str((_EPOCH - day).days)}


def days_of_run(run: dg.DagsterRun) -> tuple[date, date] | None:
    """First and last partition of a run; none for a run without partitions."""
    key = run.tags.get("dagster/partition")
    first, last = run.tags.get(_FIRST, key), run.tags.get(_LAST, key)
    return (date.fromisoformat(first), date.fromisoformat(last)) if first and last else None


def scope_of_run(run: dg.DagsterRun) -> str | None:
    """Whom a run infers; none where it infers nobody."""
    ops: Any = run.run_config.get("ops") if isinstance(run.run_config, Mapping) else None
    found = ops.get("users_in_scope", {}).get("config", {}).get("scope") if isinstance(ops, Mapping) else None
    return found if isinstance(found, str) else None


def requested_days(instance: dg.DagsterInstance, job_names: set[str]) -> list[tuple[date, date]]:
    """First and last day of each run of these jobs that waits or is under way."""
    runs = instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
    return [days for run in runs if run.job_name in job_names and (days := days_of_run(run)) is not None]


def end_lost_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark runs whose process is gone as failed, so that they do not hold up the queue for ever; returns their ids.

    Dagster notices a dead process while its parent, the code server, lives; not after a power cut, nor of a run by the
    command line. Launchers on other machines look after their runs themselves.
    """
    if instance.run_launcher.supports_check_run_worker_health:
        return []
    lost = lost_runs(instance)
    for run in lost:
        instance.report_run_failed(run, LOST)
    return [run.run_id for run in lost]


def lost_runs(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """Runs that are said to be under way but whose process is gone."""
    records = instance.get_run_records(dg.RunsFilter(statuses=_WITH_PROCESS))
    here = socket.gethostname()
    return [
        record.dagster_run
        for record in records
        if record.dagster_run.tags.get(_HOST_TAG, here) == here and not _has_process(instance, record)
    ]


def _has_process(instance: dg.DagsterInstance, record: dg.RunRecord) -> bool:
    """Whether the newest process that a run has told of is there; unknown counts as there."""
    run = record.dagster_run
    for told in reversed(instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT).records):
        event = told.event_log_entry.dagster_event
        pid = event.engine_event_data.metadata.get("pid") if event else None
        if pid is not None:
            return _is_alive(int(str(pid.value)), since=told.event_log_entry.timestamp)
    # A copy of a run has its tags too, so they count only for a run that was killed before it told anything.
    tag = run.tags.get(_PID_TAG)
    return _is_alive(int(tag), since=record.create_timestamp.timestamp()) if tag else True


def _is_alive(pid: int, *, since: float) -> bool:
    """Whether a process is there and began before a time; a later one only has the same number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    state, began = _state(pid)
    return state not in _DEAD and (began is None or began < since + _STARTS_AFTER_SECONDS)


def _state(pid: int) -> tuple[str, float | None]:
    """A process's state, and when it began, where the system tells it (Linux)."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))
        return state, int(boot.split()[1]) + int(fields[18]) / os.sysconf("SC_CLK_TCK")
    except (OSError, StopIteration, ValueError, IndexError):
        return "", None
