"""Commands that look after the warehouse itself, not after journeys."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from journeys_dagster.cli_progress import out
from journeys_dagster.resources.home import Home
from journeys_dagster.resources.warehouse import Warehouse, WarehouseError
from journeys_dagster.settings import Settings, SettingsError, load_settings


@contextmanager
def _plain_errors() -> Iterator[None]:
    """What people can mend is said in a sentence; what they cannot keeps its traceback."""
    try:
        yield
    except (SettingsError, WarehouseError) as error:
        raise click.ClickException(str(error)) from None


def _settings_and_warehouse() -> tuple[Settings, Warehouse]:
    settings = load_settings()
    warehouse = Home.from_environment().warehouse(settings)
    if not warehouse.path.exists():
        raise WarehouseError(f"no warehouse at {warehouse.path}: nothing has been run in this home yet")
    return settings, warehouse


@click.command("migrate")
def migrate_command() -> None:
    """Bring a warehouse that an older version made to this version's tables; runs do it too when they start."""
    with _plain_errors():
        _, warehouse = _settings_and_warehouse()
        before, after = warehouse.migrate() or (0, 0)
    if before == after:
        out.print(f"Warehouse {warehouse.path} has table version {after}, the newest.")
    else:
        out.print(f"Migrated warehouse {warehouse.path} from table version {before} to {after}.")
