"""Runs of one home take turns, and a run whose process was killed is recognised.

Each run marks itself by a file that its process keeps locked, then waits for the one lock of all runs. The operating
system lets go of both when the process ends, however it ends. Readers have no part in this.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dagster as dg
import portalocker
from portalocker.exceptions import LockException

from journeys_dagster.errors import ExpectedError
from journeys_dagster.resources.file_lock import LockTimeoutError, NestedLockError, file_lock
from journeys_dagster.resources.shards import require_layout
from journeys_dagster.resources.warehouse import Warehouse

_MARKS = "runs"


class RunLockError(ExpectedError, RuntimeError, carries_user_text=False):
    """Another run has kept the home for too long; the message says which and what to do."""


@contextmanager
def run_lock(
    home: Path, *, run_id: str, title: str, timeout_seconds: float, say: Callable[[str], None]
) -> Iterator[None]:
    """Have a home alone among runs until the block ends.

    A run inside another one of the same thread shares the outer one's turn.

    Parameters
    ----------
    home : Path
        The home's folder.
    run_id, title : str
        What waiting runs print.
    say : callable
        Called once with whom this run waits for, where it has to wait.

    Raises
    ------
    RunLockError
        Others had it for longer than `timeout_seconds`.
    """
    path = home / "run.lock"
    title = f"{title} (process {os.getpid()}, run {run_id[:8]})"
    with _mark(home / _MARKS / run_id, title), ExitStack() as stack:
        try:
            stack.enter_context(file_lock(path, shared=False, timeout_seconds=0))
        except NestedLockError:
            pass
        except LockTimeoutError:
            others = _others(home, run_id)
            say(f"{title} waits for {others}; one run at a time works on {home}")
            try:
                stack.enter_context(file_lock(path, shared=False, timeout_seconds=timeout_seconds))
            except LockTimeoutError:
                raise RunLockError(
                    f"{title} has waited for over {timeout_seconds:g} s for {others}; one run at a time works on "
                    f"{home}. Run it again when the other one has ended, or raise run.lock_timeout_seconds."
                ) from None
        yield


def was_killed(home: Path, run_id: str) -> bool | None:
    """Whether a run's process ended without taking its mark away; none where there is no mark."""
    try:
        with (home / _MARKS / run_id).open() as mark:
            portalocker.lock(mark, portalocker.LockFlags.SHARED | portalocker.LockFlags.NON_BLOCKING)
    except FileNotFoundError:
        return None
    except LockException:
        return False
    return True


def end_killed_runs(home: Path, instance: dg.DagsterInstance) -> None:
    """Mark runs as failed whose process was killed and which still count as started."""
    for mark in (home / _MARKS).glob("[!.]*"):
        if not was_killed(home, mark.name):
            continue
        run = instance.get_run_by_id(mark.name)
        if run is not None and not run.is_finished:
            instance.report_run_failed(
                run, "The run's process was killed. What it had not finished is as it was before."
            )
        mark.unlink(missing_ok=True)


@contextmanager
def _mark(path: Path, title: str) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    unseen = path.with_name(f".{path.name}")
    unseen.write_text(title, encoding="utf-8")
    flags = portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING
    with portalocker.Lock(unseen, mode="a", flags=flags):
        # Nobody sees the mark before it is locked, which would look like that of a killed process.
        unseen.rename(path)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _others(home: Path, run_id: str) -> str:
    marks = [mark for mark in (home / _MARKS).glob("[!.]*") if mark.name != run_id]
    alive = [mark.read_text(encoding="utf-8") for mark in marks if was_killed(home, mark.name) is False]
    return ", ".join(sorted(alive)) or "a run that is about to end"


class RunWarehouse(Warehouse):
    """The warehouse as runs have it: for the length of a run, no other run works on its home."""

    shards: int = 1
    """Parts that users are split into."""

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["RunWarehouse"]:
        """Wait for the home's other runs; sensors and schedules, which only read, do not."""
        run = context.run
        if run is None:
            self.setup_for_execution(context)
            yield self
            return
        days = {run.tags.get(f"dagster/asset_partition_range_{end}", "") for end in ("start", "end")}
        title = " ".join([run.job_name, *sorted({run.tags.get("dagster/partition", ""), *days} - {""})])
        say = context.log.warning if context.log is not None else print
        with run_lock(
            self.path.parent, run_id=run.run_id, title=title, timeout_seconds=self.lock_timeout_seconds, say=say
        ):
            if context.instance is not None:
                end_killed_runs(self.path.parent, context.instance)
            self.setup_for_execution(context)
            require_layout(self, self.shards)
            yield self
