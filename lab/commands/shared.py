"""What the evaluate commands have in common."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
import polars as pl
from rich.table import Table

from journeys_dagster.cli.progress import out
from journeys_dagster.settings import Settings

if TYPE_CHECKING:
    from journeys_dagster.monitoring.bootstrap import Mean
    from journeys_dagster.training.history import KeywordVectors


PATH = click.Path(path_type=Path)
half_option = click.option(
    "--half", type=click.Choice(["tune", "report"]), help="Half of the journey types; all of them by default."
)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object instead of tables.")


def gain_text(gain: "Mean") -> str:
    """A gain with its interval."""
    return f"{gain.value:+.1%} ({gain.low:+.1%} to {gain.high:+.1%})"


def print_numbers(rows: pl.DataFrame, *, title: str) -> None:
    """Print rows as a table."""
    table = Table(*rows.columns, title=title)
    for row in rows.iter_rows():
        table.add_row(*map(_cell, row))
    out.print(table)


def _cell(value: str | float | None) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return "" if value is None else f"{value:,}" if isinstance(value, int) else value


def vectors_of(settings: Settings) -> "KeywordVectors":
    """The embedder that the settings name, with nothing embedded yet."""
    from journeys_dagster.inference.embedding import TextEmbedder
    from journeys_dagster.training.history import KeywordVectors

    chosen = settings.embedding
    return KeywordVectors(TextEmbedder(model=chosen.model, revision=chosen.revision, batch_size=chosen.batch_size))
