"""Commands between decisions and those who send: what is handed over, and what simulated people make of it."""

import json
from datetime import datetime
from pathlib import Path
from typing import Literal

import click

from journeys_dagster.cli.errors import plain_errors
from journeys_dagster.cli.progress import out
from journeys_dagster.resources.home import Home
from journeys_dagster.resources.send_export import export_sends
from journeys_dagster.settings import load_settings

_DAY = click.DateTime(["%Y-%m-%d"])


@click.command("export-notifications")
@click.option(
    "--to", required=True, type=click.Path(path_type=Path), help="Folder of exports, or a new .parquet or .ndjson file."
)
@click.option(
    "--date", "day", type=_DAY, help="Day of the decisions; they are to be sent on the next. Default: newest."
)
@click.option(
    "--format",
    "file",
    default="parquet",
    show_default=True,
    type=click.Choice(["parquet", "ndjson"]),
    help="In a folder.",
)
@click.option("--json", "as_json", is_flag=True, help="The manifest instead of a sentence.")
def export_notifications_command(
    to: Path, day: datetime | None, file: Literal["parquet", "ndjson"], as_json: bool
) -> None:
    """Hand what was decided to a sender, as a file with a manifest: each decision once, whole or not at all."""
    with plain_errors():
        warehouse = Home.from_environment().warehouse(load_settings())
        made = export_sends(warehouse, to, as_of=day.date() if day else None, format=file)
    if as_json:
        path = str(made.path) if made.path else None
        click.echo(json.dumps({"path": path, "finished": list(map(str, made.finished)), **made.manifest}))
        return
    for target in made.finished:
        out.print(f"An export that had been killed is whole now: {target}", soft_wrap=True)
    if left_out := made.manifest["rows_left_out"]:
        out.print(
            f"Left out: {left_out:,} decisions as of {made.manifest['as_of']}, of users who have newer decisions, "
            "or of whom another one of that day has been exported"
        )
    if made.path is None:
        out.print(f"Nothing is left to be exported of decisions as of {made.manifest['as_of']}; nothing was written.")
    else:
        out.print(
            f"{made.manifest['rows']:,} notifications to be sent on {made.manifest['day']}: {made.path}", soft_wrap=True
        )


@click.command("simulate-feedback")
@click.option("--date", "day", required=True, type=_DAY, help="Day on which the notifications are sent (UTC).")
def simulate_feedback_command(day: datetime) -> None:
    """Let the people of a simulated platform react to a day's exported notifications, into the landing zone."""
    from lab.evaluation.home.feedback import simulate_feedback

    home = Home.from_environment()
    with plain_errors():
        landed = simulate_feedback(home, load_settings(), day.date())
    sends = landed.reactions.sends
    out.print(
        f"Of {sends.height:,} notifications {sends['opened'].sum():,} opened, {sends['clicked'].sum():,} clicked; "
        f"{landed.controls.height:,} opted out. Landed on {day.date()}: {landed.feedback.height:,} rows of feedback."
    )
