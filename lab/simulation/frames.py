"""Turning a block's numbers into landing rows: ids, texts, times, arrival days, late and duplicate rows."""

from datetime import date

import polars as pl

from lab.simulation.activity import CLICKTHROUGH, CLOSEUP, PURCHASE, SAVE, SEARCH
from lab.simulation.people import MAX_JOURNEYS, Setting
from lab.simulation.sessions import DAY_MS

_ACTIONS = {CLOSEUP: "closeup", SAVE: "save", CLICKTHROUGH: "clickthrough", PURCHASE: "purchase"}


class Frames:
    """Turns the numbers of `simulate_block` into landing rows with their truth."""

    def __init__(self, setting: Setting, *, first_day: date) -> None:
        catalogue = setting.catalogue
        self._days = setting.days
        self._first_day = first_day
        self._lifecycles = pl.Series(
            ["evergreen" if journey.evergreen else "situational" for journey in catalogue.journeys]
        )
        self._journeys = pl.Series([journey.name for journey in catalogue.journeys])
        self._queries = pl.Series([*catalogue.queries, *(query[:1].upper() + query[1:] for query in catalogue.queries)])
        own_boards = (name for journey in catalogue.journeys for name in journey.boards)
        self._boards = pl.Series([*catalogue.mixed_boards, *own_boards])

    def arrived(self, events: pl.DataFrame) -> pl.DataFrame:
        """The events and their duplicates with `arrival`, days since the first day, in order of arrival."""
        last = self._days - 1
        day = (pl.col("time") // DAY_MS).cast(pl.Int32)
        events = events.with_columns(arrival=pl.min_horizontal(day + pl.col("late"), last).cast(pl.Int32))
        again = events.filter(pl.col("again").is_not_null())
        again = again.with_columns(arrival=pl.min_horizontal(pl.col("arrival") + pl.col("again"), last).cast(pl.Int32))
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
        return events.filter(pl.col("kind") != SEARCH).select(self._user(), item_id(), action, *self._common())

    def board_items(self, events: pl.DataFrame) -> pl.DataFrame:
        """Rows of `board_items`: the saves that go on a board."""
        board_id = pl.format(
            "sim-board-{}-{}",
            _number("person", width=6),
            pl.when(pl.col("board_slot") == MAX_JOURNEYS).then(0).otherwise(pl.col("board_slot") + 1),
        ).alias("board_id")
        name = _looked_up(self._boards, pl.col("board")).alias("board_name")
        return events.filter(pl.col("board").is_not_null()).select(
            self._user(), board_id, name, item_id(), *self._common()
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
                "pace",
            )
        )

    def people(self, people: pl.DataFrame) -> pl.DataFrame:
        """Rows of `World.people`."""
        return people.select(
            self._user(),
            "activity",
            self._date("joined").alias("joined"),
            (pl.col("zone") * 60).cast(pl.Int16).alias("minutes_ahead"),
            "bot",
        )

    def _user(self) -> pl.Expr:
        return pl.format("sim-user-{}", _number("person", width=6)).alias("user_id")

    def _common(self) -> list[pl.Expr]:
        start = pl.lit(self._first_day).cast(pl.Datetime("us"))
        occurred = (start + pl.duration(milliseconds="time")).dt.replace_time_zone("UTC")
        return [
            occurred.alias("occurred_at"),
            self._date("arrival").alias("arrival_day"),
            _looked_up(self._journeys, pl.col("type")).alias("journey"),
        ]

    def _date(self, column: str) -> pl.Expr:
        return pl.lit(self._first_day) + pl.duration(days=pl.col(column).floor().cast(pl.Int64))


def item_id() -> pl.Expr:
    """The id of the item whose number is in column `item`."""
    return pl.format("sim-item-{}", _number("item", width=5)).alias("item_id")


def _number(column: str, *, width: int) -> pl.Expr:
    return (pl.col(column) + 1).cast(pl.String).str.zfill(width)


def _looked_up(texts: pl.Series, place: pl.Expr) -> pl.Expr:
    return pl.lit(texts).gather(place)
