"""The lock between processes: many readers or one writer, nobody starved, nobody waiting for himself."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import portalocker
import pytest

from journeys_dagster.resources.file_lock import LockTimeoutError, NestedLockError, file_lock

LONG = 60.0  # seconds; a test that waits this long fails
SHORT = 0.05
modes = pytest.mark.parametrize("shared", [True, False], ids=["reader", "writer"])
HOLD_UNTIL_KILLED = """
import sys, time
from pathlib import Path
from journeys_dagster.resources.file_lock import file_lock
with file_lock(Path(sys.argv[1]), shared=False, timeout_seconds=10):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "warehouse.lock"


@contextmanager
def held_by_another_thread(path: Path, *, shared: bool) -> Iterator[Callable[[], None]]:
    """Hold the lock in a thread until the block ends or the yielded function is called."""
    holds, release = threading.Event(), threading.Event()

    def hold() -> None:
        with file_lock(path, shared=shared, timeout_seconds=LONG):
            holds.set()
            release.wait(LONG)

    thread = threading.Thread(target=hold)
    thread.start()
    assert holds.wait(LONG)
    try:
        yield release.set
    finally:
        release.set()
        thread.join()


def test_readers_hold_the_lock_together(path: Path):
    with held_by_another_thread(path, shared=True), file_lock(path, shared=True, timeout_seconds=SHORT):
        pass


@pytest.mark.parametrize(
    ("holder", "comer"),
    [(False, False), (False, True), (True, False)],
    ids=["writer and writer", "writer and reader", "reader and writer"],
)
def test_a_writer_holds_the_lock_alone(path: Path, holder: bool, comer: bool):
    with (
        held_by_another_thread(path, shared=holder),
        pytest.raises(LockTimeoutError),
        file_lock(path, shared=comer, timeout_seconds=SHORT),
    ):
        pass


@modes
def test_a_free_lock_is_had_without_waiting(path: Path, shared: bool):
    with file_lock(path, shared=shared, timeout_seconds=0):
        pass


def test_the_error_of_a_timeout_names_the_file_and_the_seconds_waited(path: Path):
    with held_by_another_thread(path, shared=False):
        started = time.monotonic()
        with (
            pytest.raises(LockTimeoutError, match=rf"{path} was held by another process for over 0\.2 s"),
            file_lock(path, shared=True, timeout_seconds=0.2),
        ):
            pass
        assert time.monotonic() - started >= 0.2


@modes
def test_a_comer_waits_until_the_lock_is_free(path: Path, shared: bool):
    with held_by_another_thread(path, shared=False) as release:
        timer = threading.Timer(0.1, release)
        timer.start()
        with file_lock(path, shared=shared, timeout_seconds=LONG):
            assert timer.finished.is_set()


@modes
def test_a_lock_is_free_after_its_block_failed(path: Path, shared: bool):
    with pytest.raises(KeyError), file_lock(path, shared=shared, timeout_seconds=SHORT):
        raise KeyError
    with file_lock(path, shared=False, timeout_seconds=SHORT):
        pass


def test_a_comer_that_gave_up_leaves_nothing_locked(path: Path):
    with (
        held_by_another_thread(path, shared=True),
        pytest.raises(LockTimeoutError),
        file_lock(path, shared=False, timeout_seconds=SHORT),
    ):
        pass
    with file_lock(path, shared=False, timeout_seconds=SHORT):
        pass


@pytest.mark.parametrize("outer", [True, False], ids=["in a reader", "in a writer"])
@pytest.mark.parametrize("inner", [True, False], ids=["reader", "writer"])
def test_a_lock_within_itself_is_an_error_at_once(path: Path, outer: bool, inner: bool):
    with (
        file_lock(path, shared=outer, timeout_seconds=SHORT),
        pytest.raises(NestedLockError, match=str(path)),
        file_lock(path, shared=inner, timeout_seconds=LONG),
    ):
        pass


def test_another_spelling_of_the_path_is_the_same_lock(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(path.parent)
    with (
        file_lock(path, shared=True, timeout_seconds=SHORT),
        pytest.raises(NestedLockError),
        file_lock(Path(path.name), shared=True, timeout_seconds=LONG),
    ):
        pass


def test_the_outer_lock_survives_an_inner_one_that_was_refused(path: Path):
    refused = []

    def come() -> None:
        try:
            with file_lock(path, shared=False, timeout_seconds=SHORT):
                pass
        except LockTimeoutError as error:
            refused.append(error)

    with file_lock(path, shared=True, timeout_seconds=SHORT):
        with pytest.raises(NestedLockError), file_lock(path, shared=True, timeout_seconds=SHORT):
            pass
        thread = threading.Thread(target=come)
        thread.start()
        thread.join()
    assert refused


def test_two_locks_may_be_held_at_once(path: Path):
    with (
        file_lock(path, shared=False, timeout_seconds=SHORT),
        file_lock(path.with_name("other.lock"), shared=False, timeout_seconds=SHORT),
    ):
        pass


def test_the_folder_of_the_lock_is_made(tmp_path: Path):
    with file_lock(tmp_path / "new" / "home" / "warehouse.lock", shared=False, timeout_seconds=SHORT):
        pass


def test_readers_that_relieve_each_other_do_not_starve_a_writer(path: Path):
    """Each of two readers lets go only when the other one reads, so that without a turn the lock is never free."""
    reading = [threading.Event(), threading.Event()]
    done = threading.Event()

    def read(own: threading.Event, other: threading.Event) -> None:
        while not done.is_set():
            with file_lock(path, shared=True, timeout_seconds=LONG):
                own.set()
                other.wait(0.2)
                other.clear()

    threads = [threading.Thread(target=read, args=pair) for pair in (reading, reading[::-1])]
    for thread in threads:
        thread.start()
    try:
        time.sleep(0.1)
        with file_lock(path, shared=False, timeout_seconds=LONG):
            pass
    finally:
        done.set()
        for thread in threads:
            thread.join()


def test_the_lock_of_a_killed_process_is_free(path: Path):
    with subprocess.Popen([sys.executable, "-c", HOLD_UNTIL_KILLED, path], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LockTimeoutError), file_lock(path, shared=True, timeout_seconds=SHORT):
            pass
        os.kill(holder.pid, signal.SIGKILL)
        with file_lock(path, shared=False, timeout_seconds=LONG):
            pass


def test_a_disk_without_locks_is_not_mistaken_for_a_busy_one(path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(_: portalocker.Lock) -> None:
        raise portalocker.exceptions.LockException("no locks available")

    monkeypatch.setattr(portalocker.Lock, "acquire", refuse)
    with (
        pytest.raises(OSError, match=f"{path} cannot be locked.*no locks available") as caught,
        file_lock(path, shared=True, timeout_seconds=LONG),
    ):
        pass
    assert not isinstance(caught.value, LockTimeoutError)
