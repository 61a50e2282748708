"""Running jobs from Python: which landing days are missing, and runs that the UI shows like any other."""

import logging
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib import import_module
from threading import Thread
from typing import Any

import dagster as dg

from journeys_dagster.errors import ExpectedError
from journeys_dagster.orchestration.checks import REJECTED_SHARE_CHECK
from journeys_dagster.orchestration.jobs import (
    INGEST_LANDING,
    JOB_OF_SCOPE,
    TRAIN_MODELS,
    range_tags,
    scope_config,
    training_config,
)
from journeys_dagster.resources.landing_zone import LandedDay, LandingZone, complete_days
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.sources.contracts import REJECTED_SHARE

_IMPORTED_LATE = (
    "journeys_dagster.inference.keywords_kernel",
    "journeys_dagster.inference.linkage_kernel",
    "matplotlib.backends.backend_agg",
)
_TAKEN_IN = f"select source, arrival_day, fingerprint from landed_days where {REJECTED_SHARE} <= $limit"

StepProgress = Callable[[str, int, int], None]
"""Called with a step, the steps that began or ended before it, and the steps in all."""
Warn = Callable[[str], None]
"""Called with what a run warns of."""


class RunFailedError(ExpectedError, RuntimeError, carries_user_text=True):
    """A run did not succeed; the message says which step failed and why."""


class RowsRejectedError(RunFailedError, carries_user_text=False):
    """A run stopped as too many rows were rejected; the message says of which sources and days."""


@dataclass(frozen=True)
class MissingDays:
    """Landing days up to a day that are not in the warehouse as they lie in the landing zone.

    Attributes
    ----------
    ranges : list of (date, date)
        Complete days to ingest, as first and last day of ranges.
    incomplete : list of (source, date)
        Folders without `_SUCCESS`; left out.
    fingerprints : dict of date to str
        Of the days to ingest, in order: it changes when their files do.
    """

    ranges: list[tuple[date, date]]
    incomplete: list[tuple[str, date]]
    fingerprints: dict[date, str]


def missing_days(
    warehouse: Warehouse,
    landing_zone: LandingZone,
    sources: Iterable[str],
    *,
    up_to: date,
    max_rejected_share: float,
    since: date = date.min,
    landed: Mapping[tuple[str, date], LandedDay] | None = None,
) -> MissingDays:
    """Compare the landing zone with what has been ingested, from `since` to `up_to`.

    A day counts as missing when one of its sources has not been ingested, when its files have changed since, or when
    more than `max_rejected_share` of it was rejected: then it stops every run until it is mended, not only the first.
    `landed` is what the landing zone says, where it has been asked already.
    """
    if landed is None:
        landed = landing_zone.landed_days(list(sources))
    taken_in: set[tuple[str, date, str]] = set()
    if warehouse.has_table("landed_days"):
        taken_in = set(warehouse.query(_TAKEN_IN, {"limit": max_rejected_share}).iter_rows())
    complete, incomplete = complete_days(landed)
    marks: dict[date, list[str]] = {}
    new: set[date] = set()
    for (source, day), there in landed.items():
        if day in complete and since <= day <= up_to:
            marks.setdefault(day, []).append(there.fingerprint)
            if (source, day, there.fingerprint) not in taken_in:
                new.add(day)
    missing = {day: "-".join(marks[day]) for day in sorted(new)}
    held_up = {day for _, day in incomplete} | (complete - missing.keys())
    return MissingDays(
        ranges=_stretches(list(missing), held_up),
        incomplete=sorted(pair for pair in incomplete if since <= pair[1] <= up_to),
        fingerprints=missing,
    )


def _stretches(days: Sequence[date], interruptions: set[date]) -> list[tuple[date, date]]:
    """First and last day of runs of days with no interruption between; days without data do not interrupt."""
    ranges: list[tuple[date, date]] = []
    for day in days:
        if ranges and not any(ranges[-1][1] < other < day for other in interruptions):
            ranges[-1] = (ranges[-1][0], day)
        else:
            ranges.append((day, day))
    return ranges


def ingest(
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    ranges: Sequence[tuple[date, date]],
    *,
    sources: Sequence[str],
    begun: StepProgress | None = None,
    ended: StepProgress | None = None,
    warn: Warn | None = None,
) -> None:
    """Ingest ranges of landing days of some sources, one run each.

    Sources that have nothing are best left out: Dagster records every day of every source.
    """
    for first, last in ranges:
        _execute(defs, instance, INGEST_LANDING, (first, last), begun=begun, ended=ended, warn=warn, only=sources)


def infer(
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    *,
    as_of: date,
    scope: str,
    begun: StepProgress | None = None,
    ended: StepProgress | None = None,
    warn: Warn | None = None,
) -> set[str]:
    """Infer journeys as of a day; returns the names of the checks that did not pass."""
    Thread(target=_import_ahead, daemon=True).start()
    config = scope_config(scope).to_config_dict()
    result = _execute(
        defs, instance, JOB_OF_SCOPE[scope], (as_of, as_of), begun=begun, ended=ended, warn=warn, run_config=config
    )
    return {check.check_name for check in result.get_asset_check_evaluations() if not check.passed}


def _import_ahead() -> None:
    """Import what takes a second while the first steps wait for the disk and for DuckDB."""
    for name in _IMPORTED_LATE:
        import_module(name)


def train(
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    *,
    as_of: date | None,
    begun: StepProgress | None = None,
    warn: Warn | None = None,
) -> dict[str, Mapping[str, Any]]:
    """Train the models on what had arrived until a day (default: the newest); returns what the run says of each."""
    config = training_config(as_of).to_config_dict()
    result = _execute(defs, instance, TRAIN_MODELS, None, begun=begun, warn=warn, run_config=config)
    said = {}
    for model in ("ranking_model", "stage_model", "send_model"):
        # There is no model of sends where nothing is decided about them.
        for materialization in result.asset_materializations_for_node(model) if model in _steps_of(result) else ():
            said[model] = {name: value.value for name, value in materialization.metadata.items()}
    return said


def _steps_of(result: dg.ExecuteInProcessResult) -> set[str]:
    return {event.step_key for event in result.all_node_events if event.step_key is not None}


def _execute(
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    job_name: str,
    days: tuple[date, date] | None,
    *,
    begun: StepProgress | None = None,
    ended: StepProgress | None = None,
    warn: Warn | None,
    only: Sequence[str] | None = None,
    run_config: Mapping[str, Any] | None = None,
) -> dg.ExecuteInProcessResult:
    job = defs.resolve_job_def(job_name)
    run_id = str(uuid.uuid4())
    steps = len(only or job.graph.nodes)
    for step_progress, event_type in (
        (begun, dg.DagsterEventType.STEP_START),
        (ended, dg.DagsterEventType.STEP_SUCCESS),
    ):
        if step_progress is not None:
            instance.add_event_listener(run_id, _step_listener(step_progress, event_type, steps))
    if warn is not None:
        instance.add_event_listener(run_id, _warning_listener(warn))
    first, last = (day.isoformat() for day in days) if days else (None, None)
    result = job.execute_in_process(
        instance=instance,
        run_id=run_id,
        raise_on_error=False,
        partition_key=first if first == last else None,
        tags=range_tags(*days) if days and first != last else None,
        asset_selection=[dg.AssetKey(name) for name in only] if only else None,
        run_config={**(run_config or {}), "loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )
    if not result.success:
        if (stopped := _too_many_rejected(result)) is not None:
            raise RowsRejectedError(stopped)
        raise RunFailedError(f"run {run_id} of {job_name} failed: {_failure(result)}")
    return result


def _step_listener(
    progress: StepProgress, event_type: dg.DagsterEventType, steps: int
) -> Callable[[dg.EventLogEntry], None]:
    before: set[str] = set()

    def listen(event: dg.EventLogEntry) -> None:
        dagster_event = event.dagster_event
        if dagster_event is not None and dagster_event.event_type == event_type and dagster_event.step_key:
            progress(dagster_event.step_key, len(before), steps)
            before.add(dagster_event.step_key)

    return listen


def _warning_listener(warn: Warn) -> Callable[[dg.EventLogEntry], None]:
    """Of warnings that a run logs, as when it waits for another run."""

    def listen(event: dg.EventLogEntry) -> None:
        if event.dagster_event is None and event.level == logging.WARNING:
            warn(event.user_message)

    return listen


def _too_many_rejected(result: dg.ExecuteInProcessResult) -> str | None:
    """What the checks of rejected rows say, where nothing else has failed."""
    failed = [check for check in result.get_asset_check_evaluations() if not check.passed and check.blocking]
    stopped = {check.asset_key.to_user_string() for check in failed if check.check_name == REJECTED_SHARE_CHECK}
    steps = {event.step_key for event in result.filter_events(lambda event: event.is_step_failure)}
    if not stopped or len(failed) > len(stopped) or steps - stopped:
        return None
    return " ".join(str(check.description) for check in failed)


def _failure(result: dg.ExecuteInProcessResult) -> str:
    causes = []
    for event in result.filter_events(lambda event: event.is_step_failure):
        causes.append(f"{event.step_key}: {_root_cause(event)}")
    # What fails before the first step, as waiting for another run does.
    for event in result.filter_events(lambda event: event.is_job_failure and not causes):
        causes.append(_root_cause(event))
    for event in result.get_asset_check_evaluations():
        if not event.passed and event.blocking:
            causes.append(f"{event.asset_key.to_user_string()}: check {event.check_name}: {event.description}")
    return "; ".join(causes) or "see the run's log in the UI"


def _root_cause(event: dg.DagsterEvent) -> str:
    error = event.step_failure_data.error if event.is_step_failure else event.job_failure_data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error else "no reason given"
