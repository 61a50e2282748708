"""`journeys experiments`: what experiments on users say. What is shown is computed by the asset of readouts."""

import json
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import click
from rich.table import Table

from journeys_dagster.cli.errors import plain_errors
from journeys_dagster.cli.progress import out
from journeys_dagster.reporting.text import json_value
from journeys_dagster.resources.home import Home
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import Experiment, load_settings

_ROWS = """
    from experiment_readouts
    where ($name is null or experiment = $name) and ($day is null or as_of <= $day)
    qualify as_of = max(as_of) over (partition by experiment)
        or (is_reading_day and as_of = min(as_of) filter (is_reading_day) over (partition by experiment))
    order by experiment, as_of, arm, is_guardrail, metric
"""


@click.command("experiments")
@click.argument("name", required=False)
@click.option("--as-of", type=click.DateTime(["%Y-%m-%d"]), help="Readouts of that day or the newest before it.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of tables.")
def experiments_command(name: str | None, as_of: date | None, *, as_json: bool) -> None:
    """What experiments on users say, each with a verdict; by default as of the newest day.

    NAME is one of experiments.toml; by default all. The day on which the minimum run was over is shown too: its verdict
    stands, whatever is looked at afterwards.
    """
    with plain_errors():
        settings = load_settings()
        declared = {each.name: each for each in settings.experiments.declared}
        warehouse = Home.from_environment().warehouse(settings)
        rows = _read(warehouse, name, as_of)
        known = declared.keys() | {row["experiment"] for row in rows}
        if name is not None and name not in known:
            raise click.BadParameter(f"there is no experiment {name!r}: {_listed(known)}", param_hint="NAME")
    if as_json:
        click.echo(json.dumps(json_value({"declared": sorted(declared), "readouts": rows})))
        return
    for experiment in sorted({name} if name else known):
        _print(experiment, declared.get(experiment), [row for row in rows if row["experiment"] == experiment])
    if not known:
        out.print("No experiment is declared: see experiments.toml in the documents.")


def _read(warehouse: Warehouse, name: str | None, as_of: date | None) -> Sequence[Mapping[str, Any]]:
    if not warehouse.has_table("experiment_readouts"):
        return []
    return warehouse.query(_ROWS, {"name": name, "day": as_of}).to_dicts()


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none is declared"


def _print(name: str, declared: Experiment | None, rows: Sequence[Mapping[str, Any]]) -> None:
    if declared is not None and declared.question:
        out.print(f"{name}: {declared.question}", highlight=False, markup=False)
    if not rows:
        begins = f" It starts on {declared.start}." if declared else ""
        out.print(f"{name}: nothing has been read out yet.{begins}", highlight=False, markup=False)
        return
    for day in sorted({row["as_of"] for row in rows}):
        of_day = [row for row in rows if row["as_of"] == day]
        final = ": the minimum run is over, this is the verdict" if of_day[0]["is_reading_day"] else ""
        table = Table(title=f"{name}, as of {day}, day {of_day[0]['days']}{final}", title_justify="left")
        for column in ("arm", "metric", "users", "control", "arm's", "lift, one look", "every look", "verdict"):
            table.add_column(column, overflow="fold")
        for row in of_day:
            table.add_row(
                row["arm"],
                row["metric"] + (" (guardrail)" if row["is_guardrail"] else ""),
                f"{row['control_users']:,} : {row['arm_users']:,}",
                _number(row["control_value"]),
                _number(row["arm_value"]),
                _interval(row, ""),
                _interval(row, "always_"),
                row["verdict"],
            )
        out.print(table, highlight=False, markup=False)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _interval(row: Mapping[str, Any], kind: str) -> str:
    """The lift's interval, as a share of the control where it can be."""
    if row[f"{kind}relative_low"] is not None:
        return f"{row[f'{kind}relative_low']:+.1%} to {row[f'{kind}relative_high']:+.1%}"
    if row[f"{kind}low"] is not None:
        return f"{row[f'{kind}low']:+.4g} to {row[f'{kind}high']:+.4g}"
    return "–"
