"""Writing a simulated world into a landing zone, marked as simulated, and never over anything real."""

import json
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import polars as pl

from journeys_dagster.simulation.catalogue import load_catalogue
from journeys_dagster.simulation.journey_types import Half
from journeys_dagster.simulation.world import Progress, SimulationError, World, build_world
from journeys_dagster.sources.writer import SIMULATED_MARKER, write_day

# Raised when the same arguments give another world.
GENERATOR_VERSION = 2


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
    progress: Progress | None = None,
) -> WorldSummary:
    """Simulate users and write their data into a landing zone.

    Every id starts with ``sim-`` and `SIMULATED.json` tells what was simulated. Same arguments, same bytes.
    The truth behind the events is not written; `build_world` gives it.

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
    progress : callable, optional
        Told what is being done and the share of all the work done, in [0, 1].

    Raises
    ------
    SimulationError
        An argument is out of range, or the landing zone holds real data or another simulated world.
    """
    marker = {
        "simulated": True,
        "generator": "journeys_dagster.simulation",
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

    world = build_world(
        users=users,
        days=days,
        seed=seed,
        last_day=last_day,
        half=half,
        progress=lambda text, share: tell(text, 0.6 * share),
    )
    landing.mkdir(parents=True, exist_ok=True)
    # First, so that what an interrupted simulation leaves is known to be simulated.
    (landing / SIMULATED_MARKER).write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")
    frames = {
        "items": world.items,
        "searches": world.searches.drop("journey"),
        "engagements": world.engagements.drop("journey"),
        "board_items": world.board_items.drop("journey"),
    }
    for number, (source, frame) in enumerate(frames.items()):
        tell(f"writing {source}", 0.6 + 0.1 * number)
        _write_source(landing, source, frame, world=world)
    tell("done", 1.0)
    return WorldSummary(
        users=users,
        days=days,
        first_day=world.first_day,
        last_day=world.last_day,
        seed=seed,
        rows={source: frame.height for source, frame in frames.items()},
        n_items=world.items["item_id"].n_unique(),
    )


def _write_source(landing: Path, source: str, frame: pl.DataFrame, *, world: World) -> None:
    """Write every day of the window, without rows too; items only on days that have new ones."""
    by_day = frame.partition_by("arrival_day", as_dict=True, include_key=False)
    empty = frame.drop("arrival_day").clear()
    for step in range((world.last_day - world.first_day).days + 1):
        day = world.first_day + timedelta(days=step)
        rows = by_day.get((day,), empty)
        if rows.height or source != "items":
            write_day(landing, source=source, day=day, frame=rows)


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
