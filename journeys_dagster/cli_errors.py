"""How commands tell what went wrong."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from journeys_dagster.automation.runs import RunFailedError
from journeys_dagster.importers import OnlineRetailError
from journeys_dagster.inference.safety_policy import PolicyError
from journeys_dagster.resources.disk import disk_fault
from journeys_dagster.resources.file_lock import LockTimeoutError
from journeys_dagster.resources.landing_zone import IncompleteDayError
from journeys_dagster.resources.run_lock import RunLockError
from journeys_dagster.resources.warehouse import WarehouseError
from journeys_dagster.settings import SettingsError, home_path
from journeys_dagster.simulation import SimulationError
from journeys_dagster.sources.writer import LandingWriteError

_EXPECTED_ERRORS = (
    SettingsError,
    PolicyError,
    WarehouseError,
    RunFailedError,
    RunLockError,
    SimulationError,
    OnlineRetailError,
    LandingWriteError,
    LockTimeoutError,
    IncompleteDayError,
)


@contextmanager
def plain_errors() -> Iterator[None]:
    """What people can mend is said in a sentence; what they cannot keeps its traceback."""
    try:
        yield
    except _EXPECTED_ERRORS as error:
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
