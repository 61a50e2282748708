"""A lock between processes with many readers or one writer."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import portalocker
from portalocker.exceptions import AlreadyLocked, LockException

from journeys_dagster.errors import ExpectedError, JourneysError

_POLL_SECONDS = 0.005


class LockTimeoutError(ExpectedError, TimeoutError, carries_user_text=False):
    """Somebody else held the lock for longer than the timeout."""


class NestedLockError(JourneysError, RuntimeError, carries_user_text=False):
    """The thread holds the lock already; waiting for it would be waiting for itself."""


class PathsOfThread(threading.local):
    """Files that each thread has of its own."""

    def __init__(self) -> None:
        self.paths: set[Path] = set()


_held = PathsOfThread()


@contextmanager
def file_lock(path: Path, *, shared: bool, timeout_seconds: float) -> Iterator[None]:
    """Hold a lock file, shared by readers or exclusive for one writer, until the block ends.

    Everyone passes a turnstile first and stays in it until the lock is theirs, so that a stream of readers cannot
    starve a writer. The operating system drops the locks of a killed process.

    A reader that may not write the lock files locks them as they are; where there are none, nobody has ever written
    here, and there is nothing to wait for.

    Raises
    ------
    LockTimeoutError
        The lock was not free within `timeout_seconds`.
    NestedLockError
        The block lies inside another one that holds the same lock, shared or not.
    OSError
        The file system has no locks, or a writer may not make the lock files.
    """
    path = path.resolve()
    # A shared lock inside a shared one would wait too, as soon as a writer stands in the turnstile.
    if path in _held.paths:
        raise NestedLockError(f"{path} is already held by this thread")
    lock = _pass_turnstile(path, shared=shared, timeout_seconds=timeout_seconds)
    _held.paths.add(path)
    try:
        yield
    finally:
        _held.paths.remove(path)
        if lock is not None:
            lock.release()


def _pass_turnstile(path: Path, *, shared: bool, timeout_seconds: float) -> portalocker.Lock | None:
    deadline = time.monotonic() + timeout_seconds
    mode = portalocker.LockFlags.SHARED if shared else portalocker.LockFlags.EXCLUSIVE
    turnstile_path = path.with_name(path.name + ".turnstile")
    path.parent.mkdir(parents=True, exist_ok=True)
    open_mode: Literal["a", "r"] = "a"
    if shared and not all(map(_may_write, (path, turnstile_path))):
        if not (path.exists() and turnstile_path.exists()):
            return None
        open_mode = "r"
    try:
        turnstile = _acquire(turnstile_path, portalocker.LockFlags.EXCLUSIVE, deadline, open_mode)
        try:
            return _acquire(path, mode, deadline, open_mode)
        finally:
            turnstile.release()
    except AlreadyLocked:
        raise LockTimeoutError(f"{path} was held by another process for over {timeout_seconds:g} s") from None
    except LockException as error:
        raise OSError(f"{path} cannot be locked, its disk may have no file locks: {error}") from error


def _may_write(path: Path) -> bool:
    return os.access(path if path.exists() else path.parent, os.W_OK)


def _acquire(
    path: Path, mode: portalocker.LockFlags, deadline: float, open_mode: Literal["a", "r"]
) -> portalocker.Lock:
    lock = portalocker.Lock(
        path,
        mode=open_mode,
        flags=mode | portalocker.LockFlags.NON_BLOCKING,
        timeout=max(0.0, deadline - time.monotonic()),
        check_interval=_POLL_SECONDS,
    )
    lock.acquire()
    return lock
