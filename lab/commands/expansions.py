"""Whether users take up what they were offered."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from journeys_dagster.cli.errors import plain_errors
from journeys_dagster.cli.progress import out, progress_bar
from journeys_dagster.settings import load_settings
from lab.commands.shared import PATH, json_option, vectors_of

if TYPE_CHECKING:
    from lab.evaluation.expansions import ExpansionEvaluation


@click.command("expansions")
@click.argument("path", type=PATH, required=False)
@click.option("--users", default=6000, show_default=True, type=click.IntRange(10), help="Of the simulated world.")
@click.option("--days", default=120, show_default=True, type=click.IntRange(10))
@click.option("--seed", default=31, show_default=True, type=int)
@click.option("--half", type=click.Choice(["tune", "report"]), default="report", show_default=True)
@click.option("--held-out-days", default=40, show_default=True, type=click.IntRange(1))
@json_option
def expansions_command(
    path: Path | None, *, users: int, days: int, seed: int, half: str, held_out_days: int, as_json: bool
) -> None:
    """Recall@10 of related journeys against popularity, on held-out later journeys.

    On the simulated world, whose later journeys are known; or on UCI Online Retail (Parquet at PATH).
    """
    from journeys_dagster.training.history import History
    from lab.evaluation.expansions import evaluate_on_log, evaluate_on_world
    from lab.importers import online_retail_frames
    from lab.simulation.world import build_world

    with plain_errors():
        settings = load_settings()
        vectors = vectors_of(settings)
        if path is not None:
            history = History(online_retail_frames(path), settings)
            with progress_bar("expand", total=None):
                found = evaluate_on_log(history, settings, vectors, held_out_days=held_out_days)
        else:
            with progress_bar("simulate", total=1.0) as advance:
                world = build_world(users=users, days=days, seed=seed, half=half, progress=advance)  # type: ignore[arg-type]
            with progress_bar("expand", total=None):
                found = evaluate_on_world(world, settings, vectors, held_out_days=held_out_days)
    if as_json:
        report = asdict(found) | {"as_of": found.as_of.isoformat(), "until": found.until.isoformat()}
        click.echo(json.dumps({"corpus": "online_retail" if path else f"world, {half} half", **report}))
        return
    _print(found)


def _print(found: "ExpansionEvaluation") -> None:
    table = Table(
        "offered by (no language model)",
        "recall@10",
        title=f"{found.users:,} users with {found.later:.2f} journeys each from {found.as_of} to {found.until}",
    )
    for name, mean in found.recall.items():
        table.add_row(name, str(mean))
    out.print(table)
    out.print(f"expansions less popularity: {found.gain}")
