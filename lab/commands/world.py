"""The whole pipeline against a simulated platform's truth, home by home."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import polars as pl
from rich.table import Table

from journeys_dagster.cli.errors import plain_errors
from journeys_dagster.cli.progress import err, out, progress_bar
from journeys_dagster.resources.home import Home
from journeys_dagster.settings import load_settings
from lab.commands.shared import PATH, json_option, print_numbers, vectors_of

if TYPE_CHECKING:
    from lab.evaluation.yardstick import HomeReport
    from lab.simulation.journey_types import Half


@click.command("world")
@click.argument("homes", nargs=-1, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--half",
    "halves",
    multiple=True,
    type=click.Choice(["tune", "report"]),
    help="Only true journeys of this half of the catalogue count; may be repeated.",
)
@click.option(
    "--sample",
    default=1000,
    show_default=True,
    type=click.IntRange(0),
    help="Users for whom the costly baselines are computed too.",
)
@click.option("--plot", type=PATH, help="Write a PNG of purity by domain, of the first home.")
@json_option
def world_command(
    homes: tuple[Path, ...], *, halves: "tuple[Half, ...]", sample: int, plot: Path | None, as_json: bool
) -> None:
    """What the warehouse says of simulated users against the truth beside its landing zone.

    One table for the whole pipeline, of JOURNEYS_HOME or of several HOMES side by side. Run `journeys simulate` and
    `journeys run --scope all_users` first, and `journeys run` for a later day, so that ids can be followed.

    With --half, keywords and events of the other half are not scored, journeys that are mostly of it are taken off
    the lists, and the places close up.
    """
    from lab.evaluation.yardstick import evaluate_home

    reports: dict[str, HomeReport] = {}
    with plain_errors():
        settings = load_settings()
        vectors = vectors_of(settings)
        chosen = [Home(path) for path in homes] or [Home.from_environment()]
        for home in chosen:
            for half in halves or (None,):
                name = " ".join([*([str(home.path)] if len(chosen) > 1 else []), *([half] if half else [])])
                with progress_bar(name or "compare with the truth", total=1.0) as advance:
                    reports[name or "all"] = evaluate_home(
                        home.warehouse(settings).query,
                        home.path / "truth",
                        settings,
                        vectors,
                        half=half,
                        sample=sample,
                        progress=lambda done, advance=advance: advance("", done),
                    )
    first = next(iter(reports.values()))
    if plot is not None:
        from lab.evaluation.plots import purity_by_domain

        plot.write_bytes(purity_by_domain(first.measures, title="Purity by domain"))
    if as_json:
        click.echo(json.dumps({"worlds": [_document(name, report) for name, report in reports.items()]}))
        return
    _print(reports)


def _document(name: str, report: "HomeReport") -> dict[str, Any]:
    from lab.evaluation.yardstick import PIPELINE

    overall = report.measures.filter(pl.col("domain") == "")
    ours = overall.filter(pl.col("way") == PIPELINE)
    return {
        "world": name,
        "half": report.half,
        "users": report.users,
        "days": [day.isoformat() for day in report.days],
        "returns_happened": report.returns_happened,
        **dict(ours.select("measure", "value").iter_rows()),
        # JSON has no NaN.
        "measures": report.measures.fill_nan(None).to_dicts(),
        "stage_confusion": report.stage_confusion.to_dicts(),
    }


def _print(reports: "dict[str, HomeReport]") -> None:
    from lab.evaluation.yardstick.report import LOWER_IS_BETTER, MEASURES

    table = Table(
        "measure",
        "way",
        *(f"{name}: {report.users:,} users" for name, report in reports.items()),
        title=_title(reports),
    )
    parts = [report.measures.filter(pl.col("domain") == "") for report in reports.values()]
    rows = pl.concat(parts).select("measure", "way").unique(maintain_order=True)
    for measure in MEASURES:
        shown = f"{MEASURES[measure]}{' ↓' if measure in LOWER_IS_BETTER else ''}"
        ways = rows.filter(pl.col("measure") == measure)["way"].to_list()
        for way in ways:
            cells = [_cell(part, measure, way) for part in parts]
            table.add_row(shown, way, *cells, end_section=way == ways[-1], style="bold" if way == ways[0] else None)
            shown = ""
    out.print(table)
    for name, report in reports.items():
        _print_domains(report, name)
        confusion = report.stage_confusion.pivot("stage", index="true_stage", values="journeys").fill_null(0)
        print_numbers(confusion, title=f"{name}: stage of listed journeys; rows: true, columns: stated")
    _print_notes(list(reports.values()))


def _title(reports: "dict[str, HomeReport]") -> str:
    spans = {f"{report.days[0]} to {report.days[-1]}" for report in reports.values()}
    return f"snapshots of {', '.join(sorted(spans))}; means over users, 95 % bootstrap intervals; ↓: lower is better"


def _cell(rows: pl.DataFrame, measure: str, way: str) -> str:
    from journeys_dagster.monitoring.bootstrap import Mean

    found = rows.filter(pl.col("measure") == measure, pl.col("way") == way)
    return str(Mean(*found.select("value", "low", "high").row(0))) if len(found) else ""


def _print_domains(report: "HomeReport", name: str) -> None:
    from journeys_dagster.monitoring.bootstrap import Mean

    rows = report.measures.filter(pl.col("domain") != "").with_columns(
        cell=pl.struct("value", "low", "high").map_elements(lambda mean: str(Mean(**mean)), return_dtype=pl.String),
        column=pl.col("measure").str.replace("_", " ") + ", " + pl.col("way"),
    )
    wide = rows.pivot("column", index="domain", values="cell").sort("domain")
    print_numbers(wide, title=f"{name}: by domain")


def _print_notes(reports: "Sequence[HomeReport]") -> None:
    if any(len(report.days) < 2 for report in reports):
        err.print(
            "Whether ids are kept needs snapshots of two days: `journeys run --date` a day after the one with "
            "--scope all_users, and evaluate again."
        )
    if not all(report.returns_happened for report in reports):
        err.print(
            "The truth ends too soon after the newest snapshot to see who comes back: confidence is compared with how "
            "likely the truth makes it. Infer a day earlier than the end of the world to compare with what happened."
        )
