"""What goes wrong with a day on its way: faults of a feed as functions on its rows, faults of a snapshot as SQL."""

import base64
from collections.abc import Callable
from datetime import timedelta

import numpy as np
import polars as pl

FeedFault = Callable[[pl.DataFrame, pl.DataFrame, np.random.Generator], pl.DataFrame | None]
"""Takes a day's rows, those of the landed day before, and a generator; returns what lands, or nothing for no folder."""

_TEXT_COLUMNS = ("query", "title", "annotations", "board_name")


def _half_day(rows: pl.DataFrame, *, late: bool) -> pl.DataFrame:
    middle = pl.col("occurred_at").median()
    return rows.filter(pl.col("occurred_at") > middle if late else pl.col("occurred_at") <= middle)


def _share(rows: pl.DataFrame, generator: np.random.Generator, share: float) -> pl.DataFrame:
    return rows.filter(pl.Series(generator.random(len(rows)) < share))


def _moved(rows: pl.DataFrame, hours: int) -> pl.DataFrame:
    return rows.with_columns(pl.col("occurred_at") + timedelta(hours=hours))


def _with_texts(
    rows: pl.DataFrame, change: Callable[[str], str], generator: np.random.Generator, share: float = 1.0
) -> pl.DataFrame:
    chosen = generator.random(len(rows)) < share
    columns = []
    for name in (name for name in _TEXT_COLUMNS if name in rows.columns):
        values = [
            ([change(text) for text in value] if isinstance(value, list) else change(value)) if taken else value
            for value, taken in zip(rows[name].to_list(), chosen, strict=True)
        ]
        columns.append(pl.Series(name, values, dtype=rows.schema[name]))
    return rows.with_columns(columns)


def _random_letters(generator: np.random.Generator) -> Callable[[str], str]:
    return lambda text: "".join(chr(97 + code) for code in generator.integers(0, 26, max(3, len(text))))


EVENT_FAULTS: dict[str, FeedFault] = {
    "morning missing": lambda rows, _, __: _half_day(rows, late=True),
    "afternoon missing": lambda rows, _, __: _half_day(rows, late=False),
    "every second row missing": lambda rows, _, generator: _share(rows, generator, 0.5),
    "nine rows in ten missing": lambda rows, _, generator: _share(rows, generator, 0.1),
    "source silent, no folder": lambda _, __, ___: None,
    "source silent, empty folder": lambda rows, _, __: rows.clear(),
    "file delivered twice": lambda rows, _, __: pl.concat([rows, rows]),
    "yesterday delivered again": lambda rows, before, __: pl.concat([rows, before]),
    "yesterday in place of today": lambda _, before, __: before,
    "clock +1 h": lambda rows, _, __: _moved(rows, 1),
    "clock +2 h": lambda rows, _, __: _moved(rows, 2),
    "clock +5 h": lambda rows, _, __: _moved(rows, 5),
    "clock -5 h": lambda rows, _, __: _moved(rows, -5),
    "clock a day behind": lambda rows, _, __: _moved(rows, -24),
    "3 % of rows without user": lambda rows, _, generator: rows.with_columns(
        user_id=pl.when(pl.Series(generator.random(len(rows)) < 0.03)).then(None).otherwise("user_id")
    ),
    "all rows under one user": lambda rows, _, __: rows.with_columns(user_id=pl.lit("unknown")),
}
TEXT_FAULTS: dict[str, FeedFault] = {
    "random letters": lambda rows, _, generator: _with_texts(rows, _random_letters(generator), generator),
    "random letters in a third": lambda rows, _, generator: _with_texts(
        rows, _random_letters(generator), generator, 1 / 3
    ),
    "base64": lambda rows, _, generator: _with_texts(
        rows, lambda text: base64.b64encode(text.encode()).decode(), generator
    ),
    "letters read as ?": lambda rows, _, generator: _with_texts(rows, lambda text: "?" * len(text), generator),
    "wrong character set": lambda rows, _, generator: _with_texts(
        rows, lambda text: text.encode("utf-16-le").decode("cp037"), generator
    ),
    "one text for all": lambda rows, _, generator: _with_texts(rows, lambda _text: "test query", generator),
    "texts cut to 4 characters": lambda rows, _, generator: _with_texts(rows, lambda text: text[:4], generator),
}
_A_THIRD = "hash(user_id) % 3 = 0"
SNAPSHOT_FAULTS: dict[str, tuple[str, ...]] = {
    "a third of users without journeys": (
        f"delete from user_journeys where as_of = $day and {_A_THIRD}",
        f"update user_snapshots set journeys = 0 where as_of = $day and {_A_THIRD}",
    ),
    "half of the journeys lost": (
        "delete from user_journeys where as_of = $day and rank % 2 = 0",
        "update user_snapshots set journeys = (journeys + 1) // 2 where as_of = $day",
    ),
    "half of the keywords lost": ("update user_snapshots set keywords = keywords // 2 where as_of = $day",),
    "a tenth of journeys without name": ("update user_journeys set name = '?' where as_of = $day and rank = 1",),
    "confidence of 0.5 for all": ("update user_journeys set confidence = 0.5 where as_of = $day",),
    "scores four times as large": ("update user_journeys set score = 4 * score where as_of = $day",),
    "all ongoing journeys ended": (
        "update user_journeys set stage = 'ended' where as_of = $day and stage = 'ongoing'",
    ),
    "1 % of vectors lost": ("delete from keyword_embeddings where hash(keyword) % 100 = 0",),
}
SNAPSHOT_TABLES = ("user_journeys", "user_snapshots", "keyword_embeddings")
