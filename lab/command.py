"""The `journeys evaluate` commands: one per benchmark, all with the same methods to print, to draw and to fail."""

import inspect
import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, fields, is_dataclass
from datetime import date
from pathlib import Path
from typing import Any

import click
import polars as pl

from journeys_dagster.cli.errors import plain_errors
from journeys_dagster.cli.progress import out
from journeys_dagster.settings import load_settings
from lab.benchmark import FILE, Benchmark, Result, Run
from lab.evaluation.clusters import Clusters, SearchMissions
from lab.evaluation.confidence import Confidence
from lab.evaluation.expansions import Expansions
from lab.evaluation.experiments import Experiments
from lab.evaluation.fidelity import Fidelity
from lab.evaluation.home import WorldHome
from lab.evaluation.identity import Identity
from lab.evaluation.intent import Intent
from lab.evaluation.judge import Judge
from lab.evaluation.llm_journeys import LlmJourneys
from lab.evaluation.mixing import Mixing
from lab.evaluation.naming import Naming
from lab.evaluation.policies import Policy
from lab.evaluation.ranking import Diversification, Ranking
from lab.evaluation.safety import Safety
from lab.evaluation.sending import Sending
from lab.evaluation.stages import Stages
from lab.evaluation.titles import Titles

BENCHMARKS = (
    *(WorldHome, SearchMissions, Clusters, Fidelity, Mixing, Identity, Ranking, Intent, Diversification),
    *(Confidence, Stages, Naming, LlmJourneys, Judge, Expansions, Titles, Safety, Sending, Experiments, Policy),
)
"""In the order in which `journeys evaluate --help` names them."""


@click.group()
def evaluate() -> None:
    """How good the journeys are, where the truth is known.

    By the production code and the settings of journeys.toml. `world` reads what a simulated home's warehouse holds;
    everything else runs in memory. No home is changed.
    """


def command_of(benchmark: type[Benchmark]) -> click.Command:
    """The command that runs a benchmark."""

    def run(*, as_json: bool, plots: Path | None, **options: object) -> None:
        from journeys_dagster.llm.answers import LLMError

        with plain_errors():
            try:
                result = benchmark(**options).measure(Run(load_settings()))
            except LLMError as error:
                raise click.ClickException(str(error)) from None
        if plots is not None:
            plots.mkdir(parents=True, exist_ok=True)
            for name, draw in result.plots.items():
                (plots / f"{name}.png").write_bytes(draw())
        if as_json:
            click.echo(json.dumps(plain(result.figures)))
        else:
            _print(result)

    params = [_parameter(field) for field in fields(benchmark)]  # type: ignore[arg-type]
    params += [
        click.Option(["--plots"], type=FILE, help="Folder for plots as PNG."),
        click.Option(["--json", "as_json"], is_flag=True, help="One JSON object instead of tables."),
    ]
    return click.Command(benchmark.name, params=params, callback=run, help=inspect.getdoc(benchmark))


def _parameter(field: Field[Any]) -> click.Parameter:
    if "argument" in field.metadata:
        return click.Argument([field.name], **{"type": FILE, **field.metadata["argument"]})
    attributes = dict(field.metadata["option"])
    if isinstance(field.default, bool):
        attributes["is_flag"] = True
    if field.default is not MISSING:
        attributes.setdefault("show_default", field.default not in (None, False, ()))
    name = field.metadata["flag"] or f"--{field.name.replace('_', '-')}"
    return click.Option([name, field.name], default=field.default, **attributes)


def plain(value: object) -> Any:  # noqa: ANN401
    """A value as JSON knows it; what is not a number is null."""
    if isinstance(value, pl.DataFrame):
        return plain(value.to_dicts())
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, date):
        return value.isoformat()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _print(result: Result) -> None:
    from rich.table import Table

    for title, rows in result.tables.items():
        shown = _with_intervals(rows)
        table = Table(*shown.columns, title=title)
        for row in shown.iter_rows():
            table.add_row(*map(_cell, row))
        out.print(table)
    for note in result.notes:
        out.print(note)


def _with_intervals(rows: pl.DataFrame) -> pl.DataFrame:
    """Every ``x`` with its ``x_low`` and ``x_high`` in one column of texts."""
    from journeys_dagster.monitoring.bootstrap import Mean

    measures = [name for name in rows.columns if {f"{name}_low", f"{name}_high"} <= set(rows.columns)]
    for name in measures:
        means = [Mean(*of) for of in rows.select(name, f"{name}_low", f"{name}_high").iter_rows()]
        texts = ["–" if math.isnan(mean.value) else str(mean) for mean in means]
        rows = rows.with_columns(pl.Series(name, texts, dtype=pl.String)).drop(f"{name}_low", f"{name}_high")
    return rows


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, int):
        return f"{value:,}"
    return "; ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)


for _benchmark in BENCHMARKS:
    evaluate.add_command(command_of(_benchmark))
