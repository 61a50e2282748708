"""The command that shows users' journeys. It is the quick one: Dagster, polars and pydantic are not imported."""

import json
from importlib import import_module
from threading import Thread
from typing import Any

import click
import duckdb

from journeys_dagster.cli.errors import plain_errors
from journeys_dagster.resources.database_file import WarehouseError
from journeys_dagster.resources.home import Home
from journeys_dagster.resources.warehouse_file import WarehouseFile

_JOURNEYS = "from current_user_journeys where user_id = $user order by rank"
_SAMPLE = "select user_id from current_user_journeys group by user_id order by md5(user_id) limit $sample"
_EXAMPLES = "select user_id from user_snapshots group by user_id order by user_id limit 3"


@click.command("show")
@click.argument("user", required=False)
@click.option("--sample", type=click.IntRange(1), help="Show this many users, always the same ones.")
@click.option("--json", "as_json", is_flag=True, help="One JSON array instead of tables.")
def show_command(user: str | None, sample: int | None, as_json: bool) -> None:
    """Show the current journeys of USER, or of some users. Reads no settings."""
    if (user is None) == (sample is None):
        raise click.UsageError("name one USER, or use --sample N")
    with plain_errors():
        show_journeys(Home.from_environment().look_up(), user, sample=sample, as_json=as_json)


def show_journeys(warehouse: WarehouseFile, user: str | None, *, sample: int | None, as_json: bool = False) -> None:
    """Print the journeys of a user, or of `sample` users.

    Raises
    ------
    WarehouseError
        Nothing has been inferred yet.
    ClickException
        The user is not known.
    """
    # What lays tables out is imported while DuckDB looks.
    Thread(target=import_module, args=("journeys_dagster.reporting.journeys_table",), daemon=True).start()
    with warehouse.read() as connection:
        try:
            users = [user] if user is not None else _column(connection.execute(_SAMPLE, {"sample": sample}))
            journeys = {each: _rows(connection.execute(_JOURNEYS, {"user": each})) for each in users}
        except duckdb.CatalogException:
            raise WarehouseError(f"warehouse {warehouse.path} has no journeys yet: use `journeys run` first") from None
        if user is not None and not journeys[user]:
            examples = ", ".join(_column(connection.execute(_EXAMPLES))) or "none"
            raise click.ClickException(
                f"user {user!r} has no journeys in {warehouse.path}. Some users it knows: {examples}"
            )
    from journeys_dagster.cli.progress import out
    from journeys_dagster.reporting.journeys_table import journeys_table
    from journeys_dagster.reporting.text import json_value

    if as_json:
        records = [json_value(row) for user_id in sorted(journeys) for row in journeys[user_id]]
        click.echo(json.dumps(records, ensure_ascii=False))
        return
    for user_id, rows in journeys.items():
        out.print(journeys_table(rows, user_id=user_id))


def _rows(found: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    names = [column[0] for column in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def _column(found: duckdb.DuckDBPyConnection) -> list[str]:
    return [value for (value,) in found.fetchall()]
