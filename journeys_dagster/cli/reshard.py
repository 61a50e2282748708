"""The command that moves users to another number of shards."""

import shutil
import uuid

import click

from journeys_dagster.cli.errors import plain_errors
from journeys_dagster.cli.progress import err, out, say
from journeys_dagster.resources.home import Home
from journeys_dagster.resources.warehouse_file import WarehouseFile
from journeys_dagster.settings import load_settings

_NEWEST = "select max(as_of) from user_snapshots"


@click.command("reshard")
@click.option("--shards", "count", required=True, type=click.IntRange(1, 999), help="How many there are to be.")
def reshard_command(count: int) -> None:
    """Move all users to another number of shards, whole or not at all; no row changes."""
    from journeys_dagster.definitions import declared_assets, declared_tables
    from journeys_dagster.orchestration.bare import in_order
    from journeys_dagster.orchestration.sql_assets import sql_asset
    from journeys_dagster.resources.reshard import reshard
    from journeys_dagster.resources.run_lock import run_lock
    from journeys_dagster.resources.shards import layout_of, require_existing, shard_warehouse
    from journeys_dagster.serving.publish import folder_of, publish
    from journeys_dagster.sql.models import load_models

    with plain_errors():
        home, settings = Home.from_environment(), load_settings()
        warehouse = home.warehouse(settings)
        require_existing(warehouse)
        models = load_models()
        ordered = [models[asset.name] for asset in in_order([sql_asset(model) for model in models.values()])]
        with run_lock(
            home.path,
            run_id=f"reshard-{uuid.uuid4()}",
            title="reshard",
            timeout_seconds=settings.run.lock_timeout_seconds,
            say=err.print,
        ):
            warehouse.migrate()
            rows = reshard(warehouse, declared_tables(settings), ordered, count, say=say)
            layout = layout_of(warehouse)
            files: list[WarehouseFile] = [warehouse.file]
            if layout is not None:
                shutil.rmtree(folder_of(warehouse.file), ignore_errors=True)
                files = [shard_warehouse(warehouse, layout, shard).file for shard in range(layout.count)]
            newest = warehouse.query(_NEWEST).item() if warehouse.has_table("user_snapshots") else None
            if settings.serving.publish and newest is not None:
                for file in files:
                    publish(file, whole=True, newest=newest)
    out.print(f"{sum(rows.values()):,} rows of {len(rows)} tables moved to {count} shards.")
    if count > 1:
        left_out = sorted(asset.name for asset in declared_assets(settings) if asset.needs_everyone)
        out.print(f"Not made while users are split, as they need everyone in one warehouse: {', '.join(left_out)}.")
    if settings.run.shards != count:
        out.print(f"Set run.shards = {count} in the settings: until then no run starts.")
