"""Whether journeys get the name they have, and keep it."""

import json
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from journeys_dagster.cli.errors import plain_errors
from journeys_dagster.cli.progress import out, progress_bar
from journeys_dagster.settings import load_settings
from lab.commands.shared import PATH, gain_text, half_option, json_option, vectors_of

if TYPE_CHECKING:
    from lab.simulation.journey_types import Half


@click.group("naming")
def naming_group() -> None:
    """Whether journeys get the name they have, and keep it."""


@naming_group.command("world")
@click.option("--users", default=500, show_default=True, type=click.IntRange(1))
@click.option("--days", default=60, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=31, show_default=True, type=int)
@half_option
@json_option
def naming_world_command(*, users: int, days: int, seed: int, half: "Half | None", as_json: bool) -> None:
    """Against the true names of a simulated world, beside simpler ways to pick a keyword."""
    from journeys_dagster.monitoring.bootstrap import Mean
    from lab.evaluation.naming import MEASURES, evaluate_naming
    from lab.evaluation.world import world_corpus, world_history
    from lab.simulation.world import build_world

    with plain_errors():
        settings = load_settings()
        with progress_bar("simulate", total=1.0) as advance:
            world = build_world(users=users, days=days, seed=seed, half=half, progress=advance)
        with progress_bar("keywords, embeddings and names", total=None):
            vectors = vectors_of(settings)
            corpus = world_corpus(world, settings, vectors)
            history = world_history(world, settings)
            report, gains = evaluate_naming(corpus, history, settings, vectors.embedder)
    if as_json:
        parts = {name: asdict(gain) for name, gain in gains.items()}
        click.echo(json.dumps({"seed": seed, "half": half, "namers": report.to_dicts(), "cosine_gains": parts}))
        return
    table = Table("namer", *MEASURES, title=f"journeys of three keywords and more; {users} users, seed {seed}")
    for row in report.iter_rows(named=True):
        means = [Mean(row[measure], row[f"{measure}_low"], row[f"{measure}_high"]) for measure in MEASURES]
        table.add_row(row["namer"], *map(str, means))
    out.print(table)
    out.print("cosine higher by " + ", ".join(f"{gain_text(gain)} than {name}" for name, gain in gains.items()))


@naming_group.command("online-retail")
@click.argument("path", type=PATH)
@click.option("--days", default=30, show_default=True, type=click.IntRange(1), help="Replayed days, the last ones.")
@json_option
def naming_online_retail_command(path: Path, *, days: int, as_json: bool) -> None:
    """How often journeys of UCI Online Retail (Parquet at PATH) keep their name from day to day."""
    from journeys_dagster.training.history import History
    from lab.evaluation.identity import steps_of
    from lab.evaluation.naming import name_stability
    from lab.importers import online_retail_frames

    with plain_errors():
        settings = load_settings()
        history = History(online_retail_frames(path), settings)
        last = history.span[1]
    steps = steps_of(history, first=last - timedelta(days=days), last=last, days=1)
    with progress_bar("replay", total=1.0) as advance:
        found = name_stability(history, steps, settings, vectors_of(settings), progress=lambda done: advance("", done))
    if as_json:
        click.echo(json.dumps(asdict(found)))
        return
    out.print(f"journeys that went on: {found.journeys:,}, with the same name: {found.kept_share:.2%}")
    out.print(
        f"of them with the same keywords: {found.unchanged_journeys:,}, with the same name: "
        f"{found.unchanged_kept_share:.2%}"
    )
