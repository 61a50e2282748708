"""Benchmark of homes: the whole pipeline against a simulated platform's truth, one table for several homes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import click
import polars as pl

from journeys_dagster.monitoring.bootstrap import Mean
from journeys_dagster.resources.home import Home
from lab.benchmark import HALF, Result, Run, argument, option
from lab.evaluation.home.evaluate import evaluate_home
from lab.evaluation.home.report import LOWER_IS_BETTER, MEASURES, PIPELINE, HomeReport
from lab.evaluation.plots import purity_by_domain
from lab.simulation.journey_types import Half


@dataclass(frozen=True)
class WorldHome:
    """What the warehouse says of simulated users against the truth beside its landing zone.

    One table for the whole pipeline, of JOURNEYS_HOME or of several HOMES side by side. Run `journeys simulate` and
    `journeys run --scope all_users` first, and `journeys run` for a later day, so that ids can be followed.

    With --half, keywords and events of the other half are not scored, journeys that are mostly of it are taken off
    the lists, and the places close up.
    """

    name: ClassVar[str] = "world"
    homes: tuple[Path, ...] = argument(
        nargs=-1, required=False, type=click.Path(exists=True, file_okay=False, path_type=Path)
    )
    halves: tuple[Half, ...] = option(
        (), "Only true journeys of this half count; may be repeated.", flag="--half", multiple=True, type=HALF
    )
    sample: int = option(1000, "Users for whom the costly baselines are computed too.", type=click.IntRange(0))

    def measure(self, run: Run) -> Result:
        """Compare every home, and every half, with its truth."""
        reports: dict[str, HomeReport] = {}
        chosen = [Home(path) for path in self.homes] or [Home.from_environment()]
        for home in chosen:
            for half in self.halves or (None,):
                name = " ".join([*([str(home.path)] if len(chosen) > 1 else []), *([half] if half else [])])
                with run.step(name or "compare with the truth") as advance:
                    reports[name or "all"] = evaluate_home(
                        home.warehouse(run.settings).query,
                        home.path / "truth",
                        run.settings,
                        run.vectors,
                        half=half,
                        sample=self.sample,
                        progress=advance,
                    )
        plots: dict[str, Callable[[], bytes]] = {
            f"purity-by-domain-{number}": partial(purity_by_domain, report.measures, title=f"Purity by domain: {name}")
            for number, (name, report) in enumerate(reports.items(), start=1)
        }
        figures = {"worlds": [_figures(name, report) for name, report in reports.items()]}
        return Result(figures, _tables(reports), _notes(reports), plots)


def _figures(name: str, report: HomeReport) -> dict[str, Any]:
    ours = report.measures.filter(domain="", method=PIPELINE)
    return {
        "world": name,
        "half": report.half,
        "users": report.users,
        "days": report.days,
        "returns_happened": report.returns_happened,
        **dict(ours.select("measure", "value").iter_rows()),
        "measures": report.measures,
        "stage_confusion": report.stage_confusion,
    }


def _tables(reports: Mapping[str, HomeReport]) -> dict[str, pl.DataFrame]:
    days = ", ".join(sorted({f"{report.days[0]} to {report.days[-1]}" for report in reports.values()}))
    title = f"snapshots of {days}; means over users, 95 % bootstrap intervals; ↓: lower is better"
    shown = pl.DataFrame(
        [(name, f"{text}{' ↓' if name in LOWER_IS_BETTER else ''}") for name, text in MEASURES.items()],
        schema=["key", "measure"],
        orient="row",
    ).with_row_index("place")
    parts = {name: report.measures.filter(domain="").with_columns(_cell()) for name, report in reports.items()}
    overall = pl.concat(parts.values()).select(key="measure", method="method").unique(maintain_order=True)
    overall = shown.join(overall, on="key", how="right", maintain_order="right").sort("place", maintain_order=True)
    for name, rows in parts.items():
        cells = rows.select(pl.col("cell").alias(f"{name}: {reports[name].users:,} users"), "method", key="measure")
        overall = overall.join(cells, on=["key", "method"], how="left", maintain_order="left")
    tables = {title: overall.drop("key", "place").select("measure", "method", pl.exclude("measure", "method"))}
    for name, report in reports.items():
        rows = report.measures.filter(pl.col("domain") != "").with_columns(
            _cell(), column=pl.col("measure").str.replace("_", " ") + ", " + pl.col("method")
        )
        tables[f"{name}: by domain"] = rows.pivot("column", index="domain", values="cell").sort("domain")
        confusion = report.stage_confusion.pivot("stage", index="true_stage", values="journeys").fill_null(0)
        tables[f"{name}: stage of listed journeys; rows: true, columns: stated"] = confusion
    return tables


def _cell() -> pl.Expr:
    mean = pl.struct("value", "low", "high")
    return mean.map_elements(lambda row: str(Mean(**row)), return_dtype=pl.String).alias("cell")


def _notes(reports: Mapping[str, HomeReport]) -> list[str]:
    notes = []
    if any(len(report.days) < 2 for report in reports.values()):
        notes.append(
            "Whether ids are kept needs snapshots of two days: `journeys run --date` a day after the one with "
            "--scope all_users, and evaluate again."
        )
    if not all(report.returns_happened for report in reports.values()):
        notes.append(
            "The truth ends too soon after the newest snapshot to see who comes back: the probability of a return is "
            "compared with how likely the truth makes it. Infer a day earlier than the end of the world to compare "
            "with what happened."
        )
    return notes
