"""How much the simulated world is like real logs."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from journeys_dagster.cli.errors import plain_errors
from journeys_dagster.cli.progress import out, progress_bar
from journeys_dagster.settings import load_settings
from lab.commands.shared import PATH, json_option

if TYPE_CHECKING:
    import polars as pl

    from lab.evaluation.realism import Comparison
    from lab.simulation.world import World


@click.command("realism")
@click.argument("path", type=PATH)
@click.option("--missions", type=PATH, help="Search missions as tab-separated text; only users and times are used.")
@click.option("--users", default=2000, show_default=True, type=click.IntRange(10))
@click.option("--days", default=120, show_default=True, type=click.IntRange(14))
@click.option("--seed", default=7, show_default=True, type=int)
@click.option("--plots", type=PATH, help="Folder for one PNG per log and measure.")
@json_option
def realism_command(
    path: Path, *, missions: Path | None, users: int, days: int, seed: int, plots: Path | None, as_json: bool
) -> None:
    """Rhythm and amount of a simulated world beside UCI Online Retail (Parquet at PATH) and search missions."""
    from lab.simulation.world import build_world

    with plain_errors():
        load_settings()
        with progress_bar("simulate", total=1.0) as advance:
            world = build_world(users=users, days=days, seed=seed, progress=advance)
        with progress_bar("compare", total=None):
            comparisons = _comparisons(world, path, missions)
    if plots is not None:
        from lab.evaluation.plots import distributions

        plots.mkdir(parents=True, exist_ok=True)
        for comparison in comparisons:
            for measure, picture in distributions(comparison).items():
                name = f"{comparison.name} {measure}".lower().replace(" ", "-").replace("_", "-")
                (plots / f"{name}.png").write_bytes(picture)
    tables = [comparison.table() for comparison in comparisons]
    if as_json:
        click.echo(json.dumps({"users": users, "seed": seed, "measures": [r for t in tables for r in t.to_dicts()]}))
        return
    for comparison, table in zip(comparisons, tables, strict=True):
        _print(comparison, table)


def _comparisons(world: "World", path: Path, missions: Path | None) -> "list[Comparison]":
    from lab.evaluation.realism import compare
    from lab.evaluation.search_missions import read_search_missions
    from lab.importers import online_retail_frames

    found = [compare("Online Retail", world.engagements, online_retail_frames(path)["engagements"])]
    if missions is not None:
        found.append(compare("search missions", world.searches, read_search_missions(missions).frames["searches"]))
    return found


def _print(comparison: "Comparison", rows: "pl.DataFrame") -> None:
    from lab.evaluation.realism import QUANTILES

    table = Table(
        "simulated / real",
        *(f"{quantile:.0%}" for quantile in QUANTILES),
        "KS",
        "KS of shape",
        title=f"{comparison.name}, the last {comparison.days} days",
    )
    for row in rows.iter_rows(named=True):
        pairs = [(row[f"simulated_{quantile:.0%}"], row[f"real_{quantile:.0%}"]) for quantile in QUANTILES]
        cells = [f"{ours:,.3g} / {theirs:,.3g}" for ours, theirs in pairs]
        table.add_row(row["measure"], *cells, f"{row['ks']:.2f}", f"{row['ks_shape']:.2f}")
    out.print(table)
