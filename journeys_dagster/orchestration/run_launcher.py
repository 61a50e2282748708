"""The run launcher: Dagster's own, which also knows whether the process of a run is still there."""

import time
from pathlib import Path

import dagster as dg
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus

from journeys_dagster.resources.run_lock import was_killed


class HomeRunLauncher(dg.DefaultRunLauncher):
    """Launches runs as `DefaultRunLauncher` does, and lets run monitoring end those whose process was killed.

    Otherwise they would count as started for ever, and with one run at a time nothing would ever be run again. The
    code server notices the end of the runs that it has launched, but not if it was killed too, and knows nothing of
    runs from the command line.
    """

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Yes."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Look for the run's process; asked of runs that have started and not ended."""
        killed = was_killed(Path(self._instance.root_directory).parent, run.run_id)
        if killed is None:
            killed = self._never_began(run)
        if killed:
            return CheckRunHealthResult(WorkerStatus.FAILED, "the process of the run has ended, but not the run")
        return CheckRunHealthResult(WorkerStatus.RUNNING)

    def _never_began(self, run: dg.DagsterRun) -> bool:
        """Whether the run was killed before it could leave a mark: long after its start, no step has begun."""
        began = self._instance.get_run_stats(run.run_id).start_time
        waited = time.time() - began if began else 0.0
        if waited < self._instance.run_monitoring_start_timeout_seconds:
            return False
        steps = self._instance.event_log_storage.get_logs_for_run(
            run.run_id, of_type=dg.DagsterEventType.STEP_START, limit=1
        )
        return not steps
