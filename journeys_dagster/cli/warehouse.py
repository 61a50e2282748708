"""Commands that look after the warehouse itself, not after journeys."""

import json
import uuid
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import click
from rich.table import Table

from journeys_dagster.cli.errors import plain_errors
from journeys_dagster.cli.progress import err, out
from journeys_dagster.resources.compaction import compact
from journeys_dagster.resources.export import export_tables
from journeys_dagster.resources.home import Home
from journeys_dagster.resources.retention import Pruning, prune, pruned_tables
from journeys_dagster.resources.run_lock import run_lock
from journeys_dagster.resources.shards import require_everyone
from journeys_dagster.resources.warehouse import Warehouse, WarehouseError
from journeys_dagster.settings import Settings, load_settings


def _settings_and_warehouse() -> tuple[Settings, Warehouse]:
    settings = load_settings()
    warehouse = Home.from_environment().warehouse(settings)
    if not warehouse.path.exists():
        raise WarehouseError(f"no warehouse at {warehouse.path}: nothing has been run in this home yet")
    return settings, warehouse


@click.command("migrate")
def migrate_command() -> None:
    """Bring a warehouse that an older version made to this version's tables, as runs do when they start."""
    with plain_errors():
        _, warehouse = _settings_and_warehouse()
        before, after = warehouse.migrate() or (0, 0)
        Home.from_environment().name_moved_modules()
    if before == after:
        out.print(f"Warehouse {warehouse.path} has table version {after}, the newest.")
    else:
        out.print(f"Migrated warehouse {warehouse.path} from table version {before} to {after}.")


@click.command("prune")
@click.option("--dry-run", is_flag=True, help="Only show what would go.")
def prune_command(dry_run: bool) -> None:
    """Delete snapshots older than retention.keep_days, and give their space back; current journeys stay."""
    from journeys_dagster.definitions import declared_tables

    with plain_errors():
        settings, warehouse = _settings_and_warehouse()
        require_everyone(warehouse, "`journeys prune`")
        with nullcontext() if dry_run else _turn(warehouse, settings, "prune"):
            size = warehouse.path.stat().st_size
            pruning = prune(warehouse, pruned_tables(declared_tables(settings)), settings.retention, dry_run=dry_run)
            if pruning.keep_from is None:
                raise WarehouseError(f"warehouse {warehouse.path} has no snapshots yet: use `journeys run` first")
            _print_pruning(pruning, dry_run=dry_run)
            if not dry_run:
                share = settings.retention.rewrite_above_free_share
                _, blocks = compact(warehouse, above_free_share=share)
                out.print(
                    f"{size / 1e6:,.1f} MB before, {warehouse.path.stat().st_size / 1e6:,.1f} MB now, "
                    f"{blocks.free_share:.0%} of it free for later rows."
                )


def _turn(warehouse: Warehouse, settings: Settings, title: str) -> AbstractContextManager[None]:
    """The home alone among runs: what looks back must not be pruned under a run."""
    return run_lock(
        warehouse.path.parent,
        run_id=str(uuid.uuid4()),
        title=title,
        timeout_seconds=settings.run.lock_timeout_seconds,
        say=err.print,
    )


def _print_pruning(pruning: Pruning, *, dry_run: bool) -> None:
    go, stay = ("would go", "would stay") if dry_run else ("went", "stay")
    table = Table("table", *(f"rows that {what}" for what in (go, stay)), f"days of which rows {go}")
    for name, rows, pruned, _, days_pruned in pruning.tables.iter_rows():
        table.add_row(name, f"{pruned:,}", f"{rows - pruned:,}", f"{days_pruned:,}")
    out.print(table)
    kept = ", ".join(map(str, pruning.whole_days)) or "no older day"
    out.print(f"Snapshots before {pruning.keep_from}, but each user's newest of them. Kept whole: {kept}.")


@click.command("export")
@click.option("--to", "folder", required=True, type=click.Path(path_type=Path), help="Folder of exports.")
@click.option("--keep", type=click.IntRange(1), help="Finished exports to keep there. Default: all.")
@click.option("--json", "as_json", is_flag=True, help="The manifest instead of a table.")
def export_command(folder: Path, keep: int | None, as_json: bool) -> None:
    """Write the marts as Parquet to a new folder below --to, whole or not at all, while runs go on."""
    from journeys_dagster.sql.models import load_models

    marts = [model.table for model in load_models().values() if model.layer == "marts"]
    with plain_errors():
        _, warehouse = _settings_and_warehouse()
        export = export_tables(warehouse, marts, folder, keep=keep)
    if as_json:
        click.echo(json.dumps({"folder": str(export.folder), **export.manifest}))
        return
    table = Table("table", "rows", "MB", title=f"Marts as of {export.manifest['as_of']}")
    for name, entry in export.manifest["tables"].items():
        table.add_row(name, f"{entry['rows']:,}", f"{entry['bytes'] / 1e6:,.1f}")
    out.print(table)
    out.print(f"In {export.folder}", soft_wrap=True)
