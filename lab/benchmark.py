"""What a benchmark is: a name, a sentence on what it measures, options as fields, and a measurement.

How one becomes a command belongs to `command`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import click
import polars as pl

from journeys_dagster.cli.progress import progress_bar
from journeys_dagster.errors import ExpectedError
from journeys_dagster.inference.embedding import embedder_of_process
from journeys_dagster.settings import Settings
from lab.simulation.journey_types import Half

if TYPE_CHECKING:
    from journeys_dagster.training.history import KeywordVectors
    from lab.simulation.world import World

FILE = click.Path(path_type=Path)
HALF = click.Choice(["tune", "report"])
HALF_HELP = "Half of the journey types; all of them by default."


class BenchmarkError(ExpectedError, ValueError, carries_user_text=False):
    """Data that cannot be measured on; the message says why, and never quotes a user's text."""


@dataclass(frozen=True)
class Result:
    """What was measured.

    Attributes
    ----------
    figures : mapping
        The JSON object of `--json`; tables, dates and dataclasses in it are turned into plain values.
    tables : mapping of str to DataFrame
        What is printed, by title. Columns ``x``, ``x_low`` and ``x_high`` are one column with its interval.
    notes : sequence of str
        Printed after the tables.
    plots : mapping of str to callable
        PNGs by the name of their file, drawn when they are asked for.
    """

    figures: Mapping[str, Any]
    tables: Mapping[str, pl.DataFrame]
    notes: Sequence[str] = ()
    plots: Mapping[str, Callable[[], bytes]] = field(default_factory=dict)


class Run:
    """What a measurement is handed: the settings, the embedder that they name, and a progress bar."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @cached_property
    def vectors(self) -> "KeywordVectors":
        """Embeddings of keywords, computed when first asked for."""
        from journeys_dagster.training.history import KeywordVectors

        chosen = self.settings.embedding
        return KeywordVectors(embedder_of_process(chosen.model, chosen.revision, chosen.batch_size))

    @contextmanager
    def step(self, title: str) -> Iterator[Callable[[float], None]]:
        """A progress bar; the callable takes the share that is done."""
        with progress_bar(title, total=1.0) as advance:
            yield lambda done: advance("", done)

    def world(self, *, users: int, days: int, seed: int, half: Half | None = None) -> "World":
        """A simulated world in memory."""
        from lab.simulation.world import build_world

        with progress_bar("simulate", total=1.0) as advance:
            return build_world(users=users, days=days, seed=seed, half=half, progress=advance)


class Benchmark(Protocol):
    """A frozen dataclass: its docstring is the command's help, its fields are the options.

    Attributes
    ----------
    name : str
        Of the command.
    """

    name: ClassVar[str]

    def measure(self, run: Run) -> Result:
        """Measure, and change no home."""
        ...


def option(default: object, help: str = "", *, flag: str = "", **attributes: object) -> Any:  # noqa: ANN401
    """A field that is an option of the command; `attributes` are those of `click.Option`."""
    return field(default=default, metadata={"option": {"help": help, **attributes}, "flag": flag})


def argument(**attributes: object) -> Any:  # noqa: ANN401
    """A field that is an argument of the command; `attributes` are those of `click.Argument`."""
    metadata = {"argument": attributes}
    return field(metadata=metadata) if attributes.get("required", True) else field(default=None, metadata=metadata)
