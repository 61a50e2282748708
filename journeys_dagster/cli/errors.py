"""How commands report errors."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from journeys_dagster.environment import home_path
from journeys_dagster.errors import ExpectedError
from journeys_dagster.resources.disk import disk_fault


@contextmanager
def plain_errors() -> Iterator[None]:
    """What people can mend is said in a sentence; what they cannot keeps its traceback."""
    try:
        yield
    except ExpectedError as error:
        raise click.ClickException(str(error)) from None
    except Exception as error:
        # Dagster's records lie on the same disk, and what it says of their faults is long.
        fault = disk_fault(error)
        if fault is None:
            raise
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise click.ClickException(
            f"the disk of {home_path()} {fault}, and run again. The error was: {said[0]}"
        ) from None
