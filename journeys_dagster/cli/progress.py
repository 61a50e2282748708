"""What both command modules share: the consoles and the progress bar."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

out = Console(width=None if sys.stdout.isatty() else 120)
err = Console(stderr=True)


@contextmanager
def progress_bar(title: str, *, total: float | None) -> Iterator[Callable[..., None]]:
    """A progress bar on stderr; the callable takes (what, done) or (what, done, total)."""
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
