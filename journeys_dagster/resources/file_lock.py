"""A lock between processes with many readers or one writer."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import portalocker

_POLL_SECONDS = 0.005


class LockTimeoutError(TimeoutError):
    """Another process held the lock for longer than the timeout."""


@contextmanager
def file_lock(path: Path, *, shared: bool, timeout_seconds: float) -> Iterator[None]:
    """Hold a lock file, shared by readers or exclusive for one writer, until the block ends.

    Everyone passes a turnstile first and stays in it until the lock is theirs, so that a stream of readers cannot
    starve a writer. The operating system drops the locks of a killed process.

    Raises
    ------
    LockTimeoutError
        The lock was not free within `timeout_seconds`.
    """
    deadline = time.monotonic() + timeout_seconds
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = portalocker.LockFlags.SHARED if shared else portalocker.LockFlags.EXCLUSIVE
    try:
        turnstile = _acquire(
            path.with_name(path.name + ".turnstile"), portalocker.LockFlags.EXCLUSIVE, deadline
        )
        try:
            lock = _acquire(path, mode, deadline)
        finally:
            turnstile.release()
    except portalocker.exceptions.LockException:
        raise LockTimeoutError(f"{path} was held by another process for over {timeout_seconds:g} s") from None
    try:
        yield
    finally:
        lock.release()


def _acquire(path: Path, mode: portalocker.LockFlags, deadline: float) -> portalocker.Lock:
    lock = portalocker.Lock(
        path,
        mode="a",
        flags=mode | portalocker.LockFlags.NON_BLOCKING,
        timeout=max(0.0, deadline - time.monotonic()),
        check_interval=_POLL_SECONDS,
    )
    lock.acquire()
    return lock
