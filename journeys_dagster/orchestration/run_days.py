"""What a run of Dagster's is about: its days and scope, and which days are asked for already."""

from collections.abc import Mapping
from datetime import date
from typing import Any

import dagster as dg

_FIRST, _LAST = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
_EPOCH = date(1970, 1, 1)


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
    # Where keys have a prefix, the steps' names have it too.
    steps = {name.rpartition("__")[2]: step for name, step in ops.items()} if isinstance(ops, Mapping) else {}
    found = steps.get("users_in_scope", {}).get("config", {}).get("scope")
    return found if isinstance(found, str) else None


def requested_days(instance: dg.DagsterInstance, job_names: set[str]) -> list[tuple[date, date]]:
    """First and last day of each run of these jobs that waits or is under way."""
    runs = instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
    return [days for run in runs if run.job_name in job_names and (days := days_of_run(run)) is not None]
