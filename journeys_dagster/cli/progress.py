"""What commands share that print: the consoles, and how far the work is, as a bar or, without a terminal, as lines."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

out = Console(width=None if sys.stdout.isatty() else 120)
err = Console(stderr=True, width=None if sys.stderr.isatty() else 120)
Advance = Callable[..., None]
"""Takes (what is being done, how much is done) or (what, done, of how much)."""
_TELL_EVERY_SECONDS = 60.0


@contextmanager
def progress_bar(title: str, *, total: float | None) -> Iterator[Advance]:
    """Show on stderr how far the work of the block is.

    Parameters
    ----------
    total : float, optional
        How much there is to do; none where it is told with each advance, which then counts steps.
    """
    with _bar(title, total=total) if err.is_terminal else _lines(title, steps=total is None) as advance:
        yield advance


@contextmanager
def _bar(title: str, *, total: float | None) -> Iterator[Advance]:
    # Late, for the commands that only print.
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[what]}"),
        TimeElapsedColumn(),
    ]
    if total is None:
        columns.insert(2, MofNCompleteColumn())
    with Progress(*columns, console=err) as progress:
        task = progress.add_task(title, total=total, what="")

        def advance(what: str, done: float, of: float | None = None) -> None:
            progress.update(task, completed=done, what=what, total=total if of is None else of)

        yield advance
        progress.update(task, what="", completed=progress.tasks[0].total)


@contextmanager
def _lines(title: str, *, steps: bool) -> Iterator[Advance]:
    """A line as the work begins and ends, for each step, and once a minute, so that a log shows what stands still."""
    began = since = time.monotonic()
    running = ""
    has_ended = threading.Event()

    def advance(what: str, done: float, of: float | None = None) -> None:
        nonlocal running, since
        if what == running:
            return
        running, since = what, time.monotonic()
        if steps and of is not None:
            say(f"{title}: {what} ({done + 1:.0f} of {of:.0f})")

    def tell() -> None:
        while not has_ended.wait(_TELL_EVERY_SECONDS):
            say(f"{title}: still at {running or 'it'}, for {_duration(time.monotonic() - since)}")

    say(f"{title} …")
    teller = threading.Thread(target=tell, name="progress", daemon=True)
    teller.start()
    try:
        yield advance
    finally:
        has_ended.set()
        teller.join()
    say(f"{title}: done in {_duration(time.monotonic() - began)}")


def say(line: str) -> None:
    """Print a line to stderr as it is."""
    err.print(line, highlight=False, markup=False, soft_wrap=True)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
