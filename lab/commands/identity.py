"""Whether journeys keep their ids."""

import json
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from journeys_dagster.cli.errors import plain_errors
from journeys_dagster.cli.progress import out, progress_bar
from journeys_dagster.settings import Settings, load_settings
from lab.commands.shared import PATH, json_option, vectors_of

if TYPE_CHECKING:
    from journeys_dagster.training.history import History


@click.group("identity")
def identity_group() -> None:
    """Whether journeys keep their ids while their users go on."""


@identity_group.command("online-retail")
@click.argument("path", type=PATH)
@click.option("--days", default=30, show_default=True, type=click.IntRange(1), help="Replayed days, the last ones.")
@json_option
def identity_online_retail_command(path: Path, *, days: int, as_json: bool) -> None:
    """Day by day, the customers that were active."""
    from journeys_dagster.training.history import History
    from lab.importers import online_retail_frames

    with plain_errors():
        settings = load_settings()
        frames = online_retail_frames(path)
    if frames["engagements"].is_empty():
        raise click.ClickException(f"no line of {path} is a purchase that counts, so there is nothing to replay")
    last: date = frames["engagements"]["arrival_day"].max()  # type: ignore[assignment]
    first = last - timedelta(days=days)
    _replay(History(frames, settings), settings, first=first, last=last, every=1, as_json=as_json)


@identity_group.command("search-missions")
@click.argument("path", type=PATH)
@json_option
def identity_search_missions_command(path: Path, *, as_json: bool) -> None:
    """Week by week, the users that were active."""
    from lab.evaluation.search_missions import read_search_missions, search_history

    with plain_errors():
        settings = load_settings()
        missions = read_search_missions(path)
    days = missions.frames["searches"]["arrival_day"]
    first: date = days.min() + timedelta(days=6)  # type: ignore[operator]
    last: date = days.max()  # type: ignore[assignment]
    _replay(search_history(missions, settings), settings, first=first, last=last, every=7, as_json=as_json)


def _replay(history: "History", settings: Settings, *, first: date, last: date, every: int, as_json: bool) -> None:
    from lab.evaluation.identity import identity_report, replay, steps_of

    steps = steps_of(history, first=min(first, last), last=last, days=every)
    with progress_bar("replay", total=1.0) as advance:
        followed = replay(history, steps, settings, vectors_of(settings), progress=lambda done: advance("", done))
    report = identity_report(followed)
    if as_json:
        click.echo(json.dumps({"first": str(first), "last": str(last), "days_per_step": every, **report}))
        return
    table = Table("measure", "value", title=f"{first} to {last}, a snapshot every {every} day(s)")
    for name, value in report.items():
        table.add_row(name, f"{value:.2%}" if name.endswith("_share") else f"{value:,}")
    out.print(table)
