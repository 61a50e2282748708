"""A simulated platform: all people's events as landing frames, with the truth beside them.

`build_world` keeps in memory what each event came from; writing it into a landing zone belongs to `landing`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
from numpy.random import PCG64, Generator, SeedSequence

from journeys_dagster.simulation.activity import (
    CLICKTHROUGH,
    CLOSEUP,
    PURCHASE,
    SAVE,
    SEARCH,
    Setting,
    simulate_block,
)
from journeys_dagster.simulation.catalogue import Catalogue, load_catalogue
from journeys_dagster.simulation.people import BLOCK, MAX_JOURNEYS, Floats, Ints

Progress = Callable[[str, float], None]

_ACTIONS = {CLOSEUP: "closeup", SAVE: "save", CLICKTHROUGH: "clickthrough", PURCHASE: "purchase"}
_LATER_SHARE = 0.3  # of the variants, which makes a fifth of all items
_CHANGED_SHARE = 0.02


class SimulationError(ValueError):
    """A world that cannot be simulated, or not there; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class World:
    """A simulated world: the landing frames with their truth.

    Attributes
    ----------
    searches, engagements, board_items : pl.DataFrame
        The contract's columns, arrival_day (Date), and journey (String): the name of the journey type that the event
        belongs to, null for noise. In order of arrival day and time.
    items : pl.DataFrame
        The contract's columns and arrival_day.
    journeys : pl.DataFrame
        One row per user and journey with an event in the window: user_id, journey, lifecycle, starts and ends
        (Date, may lie outside of the window; ends is null for evergreen journeys).
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


def build_world(
    *, users: int, days: int, seed: int, last_day: date = date(2025, 6, 30), progress: Progress | None = None
) -> World:
    """Simulate users over a window of days. Same arguments, same world.

    A user's history depends on `days`, `seed` and `last_day`, not on how many users there are.

    Parameters
    ----------
    users, days : int
        How many, at least 1.
    seed : int
        Not negative.
    last_day : date
        Last UTC day of the window.
    progress : callable, optional
        Told what is being done and the share of users done.

    Raises
    ------
    SimulationError
        An argument is out of range.
    """
    for name, value, least in (("users", users, 1), ("days", days, 1), ("seed", seed, 0)):
        if value < least:
            raise SimulationError(f"{name} is {value}; it must be at least {least}")
    first_day = last_day - timedelta(days=days - 1)
    catalogue = load_catalogue()
    rng = Generator(PCG64(SeedSequence(seed, spawn_key=(0,))))
    setting = Setting(
        catalogue=catalogue,
        popularity=rng.normal(0, 0.35, len(catalogue.journeys)),
        launch_day=_launch_days(rng, catalogue, days=days),
        days=days,
        first_weekday=first_day.weekday(),
    )
    items = _items(rng, setting, first_day=first_day)
    blocks: list[pl.DataFrame] = []
    tables: list[pl.DataFrame] = []
    for block, first in enumerate(range(0, users, BLOCK)):
        stream = Generator(PCG64(SeedSequence(seed, spawn_key=(1, block))))
        number = (pl.col("person") + first).cast(pl.Int32)
        events, journeys = simulate_block(stream, setting)
        # The last block is simulated whole and cut, or its people would depend on `users`.
        blocks.append(events.with_columns(person=number).filter(pl.col("person") < users))
        tables.append(journeys.with_columns(person=number).filter(pl.col("person") < users))
        if progress is not None:
            progress("simulating users", min(1.0, (first + BLOCK) / users))
    frames = _Frames(setting, first_day=first_day)
    events = frames.arrived(pl.concat(blocks))
    return World(
        users=users,
        seed=seed,
        first_day=first_day,
        last_day=last_day,
        searches=frames.searches(events),
        engagements=frames.engagements(events),
        board_items=frames.board_items(events),
        items=items,
        journeys=frames.journeys(pl.concat(tables), events),
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
            "number": np.arange(n),
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
        .sort("day", "number")
        .select(
            pl.format("sim-item-{}", (pl.col("number") + 1).cast(pl.String).str.zfill(5)).alias("item_id"),
            "title",
            "annotations",
            "interests",
            (pl.lit(first_day) + pl.duration(days="day")).alias("arrival_day"),
        )
    )


class _Frames:
    """Turns the blocks' numbers into landing rows."""

    def __init__(self, setting: Setting, *, first_day: date) -> None:
        catalogue = setting.catalogue
        self._days = setting.days
        self._first_day = first_day
        self._lifecycles = pl.Series([journey.lifecycle for journey in catalogue.journeys])
        self._journeys = pl.Series([journey.name for journey in catalogue.journeys])
        self._queries = pl.Series([*catalogue.queries, *(query[:1].upper() + query[1:] for query in catalogue.queries)])
        own_boards = (name for journey in catalogue.journeys for name in journey.boards)
        self._boards = pl.Series([*catalogue.mixed_boards, *own_boards])

    def arrived(self, events: pl.DataFrame) -> pl.DataFrame:
        """The events with their arrival day (days since the first one), duplicates included, in order of arrival."""
        last = self._days - 1
        day = (pl.col("time") // 86_400_000).cast(pl.Int32)
        events = events.with_columns(arrival=pl.min_horizontal(day + pl.col("late"), last).cast(pl.Int32))
        again = events.filter(pl.col("again").is_not_null())
        again = again.with_columns(
            arrival=pl.min_horizontal(pl.col("arrival") + pl.col("again"), last).cast(pl.Int32)
        )
        order = ["arrival", "time", "person", "kind", "item", "query"]
        return pl.concat([events, again]).sort(order, maintain_order=True)

    def searches(self, events: pl.DataFrame) -> pl.DataFrame:
        """Rows of `searches`."""
        place = pl.col("query") + pl.col("capital").cast(pl.Int32) * (len(self._queries) // 2)
        query = _looked_up(self._queries, place).alias("query")
        return events.filter(pl.col("kind") == SEARCH).select(self._user(), query, *self._common())

    def engagements(self, events: pl.DataFrame) -> pl.DataFrame:
        """Rows of `engagements`."""
        action = pl.col("kind").replace_strict(_ACTIONS, return_dtype=pl.String).alias("action")
        return events.filter(pl.col("kind") != SEARCH).select(self._user(), _item_id(), action, *self._common())

    def board_items(self, events: pl.DataFrame) -> pl.DataFrame:
        """Rows of `board_items`: the saves that go on a board."""
        board_id = pl.format(
            "sim-board-{}-{}",
            (pl.col("person") + 1).cast(pl.String).str.zfill(6),
            pl.when(pl.col("board_slot") == MAX_JOURNEYS).then(0).otherwise(pl.col("board_slot") + 1),
        ).alias("board_id")
        name = _looked_up(self._boards, pl.col("board")).alias("board_name")
        return events.filter(pl.col("board").is_not_null()).select(
            self._user(), board_id, name, _item_id(), *self._common()
        )

    def journeys(self, journeys: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
        """Rows of `World.journeys`."""
        seen = events.select("person", pl.col("type").cast(pl.Int64)).unique()
        lifecycle = _looked_up(self._lifecycles, pl.col("type"))
        ends = pl.when(lifecycle == "situational").then(self._date("ends"))
        return (
            journeys.join(seen, on=["person", "type"], how="semi")
            .sort("person", "type")
            .select(
                self._user(),
                _looked_up(self._journeys, pl.col("type")).alias("journey"),
                lifecycle.alias("lifecycle"),
                self._date("starts").alias("starts"),
                ends.alias("ends"),
            )
        )

    def _user(self) -> pl.Expr:
        return pl.format("sim-user-{}", (pl.col("person") + 1).cast(pl.String).str.zfill(6)).alias("user_id")

    def _common(self) -> list[pl.Expr]:
        start = datetime(self._first_day.year, self._first_day.month, self._first_day.day)  # noqa: DTZ001
        occurred = (pl.lit(start).cast(pl.Datetime("us")) + pl.duration(milliseconds="time")).dt.replace_time_zone("UTC")
        return [
            occurred.alias("occurred_at"),
            self._date("arrival").alias("arrival_day"),
            _looked_up(self._journeys, pl.col("type")).alias("journey"),
        ]

    def _date(self, column: str) -> pl.Expr:
        return pl.lit(self._first_day) + pl.duration(days=pl.col(column).floor().cast(pl.Int64))


def _looked_up(texts: pl.Series, place: pl.Expr) -> pl.Expr:
    return pl.lit(texts).gather(place)


def _item_id() -> pl.Expr:
    return pl.format("sim-item-{}", (pl.col("item") + 1).cast(pl.String).str.zfill(5)).alias("item_id")
