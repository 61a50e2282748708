"""A simulated platform: all people's events as landing frames, with the truth beside them.

`world_parts` makes it a part of the people at a time, in bounded memory; `build_world` keeps all of it. Writing it into
a landing zone belongs to `landing`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np
import polars as pl
from numpy.random import PCG64, Generator, SeedSequence

from journeys_dagster.errors import ExpectedError
from lab.simulation.activity import simulate_block
from lab.simulation.catalogue import Catalogue, load_catalogue
from lab.simulation.frames import Frames, item_id
from lab.simulation.journey_types import Half
from lab.simulation.people import BLOCK, Ints, Setting
from lab.simulation.seasons import seasons_of

Progress = Callable[[str, float], None]

PART = 80 * BLOCK
"""People of a part: enough for long columns, few enough that a part takes little memory."""

# Of the variants, which makes a fifth of all items.
_LATER_SHARE = 0.3
_CHANGED_SHARE = 0.02


class SimulationError(ExpectedError, ValueError, carries_user_text=False):
    """A world that cannot be simulated, or not there; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class World:
    """A simulated world, or a part of its people: the landing frames with their truth.

    Attributes
    ----------
    searches, engagements, board_items : pl.DataFrame
        The contract's columns, arrival_day (Date), and journey (String): the name of the journey type that
        the event belongs to, null for noise. In order of arrival day and time.
    items : pl.DataFrame
        The contract's columns and arrival_day.
    journeys : pl.DataFrame
        One row per user and journey with an event in the window: user_id, journey, lifecycle (situational or
        evergreen; a seasonal journey is situational), starts and ends
        (Date, may lie outside of the window; ends is null for evergreen journeys), pace (Float64, sittings per day that
        are expected while it lasts).
    people : pl.DataFrame
        One row per user: user_id, activity (Float64, mean near 1), joined (Date), minutes_ahead (of UTC), bot.
    """

    users: int
    seed: int
    first_day: date
    last_day: date
    searches: pl.DataFrame
    engagements: pl.DataFrame
    board_items: pl.DataFrame
    items: pl.DataFrame
    journeys: pl.DataFrame
    people: pl.DataFrame


def build_world(
    *,
    users: int,
    days: int,
    seed: int,
    last_day: date = date(2025, 6, 30),
    half: Half | None = None,
    progress: Progress | None = None,
) -> World:
    """Simulate users over a window of days. Same arguments, same world.

    Parameters and errors are those of `world_parts`.
    """
    parts = list(world_parts(users=users, days=days, seed=seed, last_day=last_day, half=half, progress=progress))
    if len(parts) == 1:
        return parts[0]
    order = ["arrival_day", "occurred_at"]
    events = {
        name: pl.concat([getattr(part, name) for part in parts]).sort(order, maintain_order=True)
        for name in ("searches", "engagements", "board_items")
    }
    tables = {name: pl.concat([getattr(part, name) for part in parts]) for name in ("journeys", "people")}
    return replace(parts[0], **events, **tables)


def world_parts(
    *,
    users: int,
    days: int,
    seed: int,
    last_day: date = date(2025, 6, 30),
    half: Half | None = None,
    progress: Progress | None = None,
) -> Iterator[World]:
    """Simulate users over a window of days, `PART` of them at a time. Same arguments, same world.

    A user's history depends on `days`, `seed`, `last_day` and `half`, not on how many users there are.

    Parameters
    ----------
    users, days : int
        How many, at least 1.
    seed : int
        Not negative.
    last_day : date
        Last UTC day of the window.
    half : {"tune", "report"}, optional
        Of the catalogue, to choose settings on or to report figures on; by default all of it.
    progress : callable, optional
        Called with what is being done and the share of users done.

    Yields
    ------
    World
        Of some of the people; `items` are the same in all.

    Raises
    ------
    SimulationError
        An argument is out of range.
    """
    for name, value, least in (("users", users, 1), ("days", days, 1), ("seed", seed, 0)):
        if value < least:
            raise SimulationError(f"{name} is {value}; it must be at least {least}")
    first_day = last_day - timedelta(days=days - 1)
    catalogue = load_catalogue(half)
    rng = Generator(PCG64(SeedSequence(seed, spawn_key=(0,))))
    setting = Setting(
        catalogue=catalogue,
        popularity=rng.normal(0, 0.5, len(catalogue.journeys)),
        seasons=seasons_of(catalogue.journeys, first_day=first_day, days=days),
        launch_day=_launch_days(rng, catalogue, days=days),
        days=days,
        first_weekday=first_day.weekday(),
    )
    items = _items(rng, setting, first_day=first_day)
    frames = Frames(setting, first_day=first_day)
    for begin in range(0, users, PART):
        drawn: list[tuple[pl.DataFrame, ...]] = []
        for first in range(begin, min(begin + PART, users), BLOCK):
            stream = Generator(PCG64(SeedSequence(seed, spawn_key=(1, first // BLOCK))))
            number = (pl.col("person") + first).cast(pl.Int32)
            # The last block is simulated whole and cut, or its people would depend on `users`.
            drawn.append(
                tuple(
                    table.with_columns(person=number).filter(pl.col("person") < users)
                    for table in simulate_block(stream, setting)
                )
            )
            if progress is not None:
                progress("simulating users", min(1.0, (first + BLOCK) / users))
        events, journeys, people = (pl.concat(tables) for tables in zip(*drawn, strict=True))
        events = frames.arrived(events)
        yield World(
            users=users,
            seed=seed,
            first_day=first_day,
            last_day=last_day,
            searches=frames.searches(events),
            engagements=frames.engagements(events),
            board_items=frames.board_items(events),
            items=items,
            journeys=frames.journeys(journeys, events),
            people=frames.people(people),
        )


def _launch_days(rng: Generator, catalogue: Catalogue, *, days: int) -> Ints:
    """Day of the window on which each item appears: the first one for all plain items and most variants."""
    n = len(catalogue.items)
    is_plain = np.array([item.plain == number for number, item in enumerate(catalogue.items)])
    later = ~is_plain & (rng.random(n) < _LATER_SHARE) & (days > 1)
    return np.where(later, 1 + np.floor(rng.random(n) * (days - 1)).astype(np.int64), 0)


def _items(rng: Generator, setting: Setting, *, first_day: date) -> pl.DataFrame:
    """Item rows: each item on its first day, and a few again on a later day with one more annotation."""
    items = setting.catalogue.items
    n = len(items)
    fresh = pl.DataFrame(
        {
            "item": np.arange(n),
            "title": [item.title for item in items],
            "annotations": [list(item.annotations) for item in items],
            "interests": [list(item.interests) for item in items],
            "day": setting.launch_day,
        }
    )
    change_day = setting.launch_day + 1 + np.floor(rng.random(n) * setting.days).astype(np.int64)
    changes = (rng.random(n) < _CHANGED_SHARE) & (change_day < setting.days)
    # What a changed item gains: the first annotation of its journey type's first title.
    of_type = np.array([item.journey for item in items])
    donor = np.searchsorted(of_type, of_type)
    gained = pl.col("annotations").gather(donor).list.head(1)
    changed = fresh.with_columns(
        day=pl.Series(change_day),
        annotations=pl.col("annotations").list.concat(gained).list.unique(maintain_order=True),
    ).filter(pl.Series(changes) & (pl.col("annotations").list.len() > fresh["annotations"].list.len()))
    return (
        pl.concat([fresh, changed])
        .sort("day", "item")
        .select(
            item_id(),
            "title",
            "annotations",
            "interests",
            (pl.lit(first_day) + pl.duration(days="day")).alias("arrival_day"),
        )
    )
