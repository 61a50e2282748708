"""Writing a simulated world into a landing zone, marked as simulated, and never over anything real."""

import json
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import polars as pl

from journeys_dagster.sources.writer import SIMULATED_MARKER, add_part, begin_day, complete_day, write_days
from lab.simulation.catalogue import load_catalogue
from lab.simulation.journey_types import Half
from lab.simulation.truth import write_part, write_types
from lab.simulation.world import Progress, SimulationError, world_parts

# Raised when the same arguments give another world.
GENERATOR_VERSION = 2
_SOURCES = ("searches", "engagements", "board_items")


@dataclass(frozen=True, kw_only=True)
class WorldSummary:
    """What `simulate` wrote.

    Attributes
    ----------
    rows : dict of str to int
        Rows written per source, duplicates included.
    n_items : int
        Distinct items.
    """

    users: int
    days: int
    first_day: date
    last_day: date
    seed: int
    rows: dict[str, int]
    n_items: int


def simulate(
    landing: Path,
    *,
    users: int,
    days: int,
    seed: int,
    last_day: date = date(2025, 6, 30),
    half: Half | None = None,
    truth: Path | None = None,
    progress: Progress | None = None,
) -> WorldSummary:
    """Simulate users and write their data into a landing zone.

    Every id starts with ``sim-`` and `SIMULATED.json` says what was simulated. Same arguments, same bytes.
    People are simulated and written a part at a time, so that memory does not grow with their number.

    Parameters
    ----------
    landing : Path
        Empty, absent, or holding this very world, which is then written again.
    users, days : int
        How many, at least 1.
    seed : int
        Not negative.
    last_day : date
        Last UTC day of the window.
    half : {"tune", "report"}, optional
        Of the catalogue; by default all of it.
    truth : Path, optional
        Folder outside of the landing zone for the truth behind the events, as `truth` reads it; by default none.
    progress : callable, optional
        Told what is being done and the share of all the work done, in [0, 1].

    Raises
    ------
    SimulationError
        An argument is out of range, or the landing zone holds real data or another simulated world.
    """
    marker = {
        "simulated": True,
        "generator": "lab.simulation",
        "generator_version": GENERATOR_VERSION,
        "catalogue": load_catalogue().fingerprint,
        "users": users,
        "days": days,
        "seed": seed,
        "last_day": last_day.isoformat(),
        "half": half,
    }
    _refuse_other_data(landing, marker=marker)

    def tell(text: str, share: float) -> None:
        if progress is not None:
            progress(text, share)

    parts = world_parts(
        users=users,
        days=days,
        seed=seed,
        last_day=last_day,
        half=half,
        progress=lambda text, share: tell(text, 0.98 * share),
    )
    first_day = last_day - timedelta(days=days - 1)
    rows: dict[str, int] = {}
    n_items = 0
    for number, part in enumerate(parts):
        if number == 0:
            landing.mkdir(parents=True, exist_ok=True)
            # First, so that what an interrupted simulation leaves is known to be simulated.
            (landing / SIMULATED_MARKER).write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")
            write_days(landing, source="items", frame=part.items)
            for source in _SOURCES:
                for step in range(days):
                    begin_day(landing, source=source, day=first_day + timedelta(days=step))
            rows["items"], n_items = part.items.height, part.items["item_id"].n_unique()
            if truth is not None:
                write_types(truth)
        for source in _SOURCES:
            frame: pl.DataFrame = getattr(part, source)
            rows[source] = rows.get(source, 0) + frame.height
            _write_part(landing, source, frame.drop("journey"), first_day=first_day, days=days, number=number)
        if truth is not None:
            write_part(truth, part, number=number)
    for source in _SOURCES:
        for step in range(days):
            complete_day(landing, source=source, day=first_day + timedelta(days=step))
    tell("done", 1.0)
    return WorldSummary(
        users=users, days=days, first_day=first_day, last_day=last_day, seed=seed, rows=rows, n_items=n_items
    )


def _write_part(landing: Path, source: str, frame: pl.DataFrame, *, first_day: date, days: int, number: int) -> None:
    """Write some people's rows into every day of the window; of days without rows, the first part has an empty file."""
    by_day = frame.partition_by("arrival_day", as_dict=True, include_key=False)
    empty = frame.drop("arrival_day").clear()
    for step in range(days):
        day = first_day + timedelta(days=step)
        rows = by_day.get((day,), empty)
        if rows.height or number == 0:
            add_part(landing, source=source, day=day, number=number, frame=rows)


def _refuse_other_data(landing: Path, *, marker: dict[str, object]) -> None:
    path = landing / SIMULATED_MARKER
    if path.exists():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            raise SimulationError(f"{path} is not readable as JSON; remove {landing} or choose another home") from None
        if found == marker:
            return
        if not isinstance(found, dict):
            found = {}
        differing = ", ".join(
            f"{key} {found.get(key)!r} there, {value!r} asked for"
            for key, value in marker.items()
            if found.get(key) != value
        )
        raise SimulationError(
            f"{landing} holds another simulated world ({differing}); remove it or choose another home"
        )
    if landing.exists():
        for folder in sorted(landing.iterdir()):
            if folder.is_dir() and any(folder.iterdir()):
                raise SimulationError(
                    f"{folder} holds data that is not simulated; simulated data must not be mixed with it: "
                    "choose another home"
                )
