"""Faults of a feed: what goes wrong with a day's landing rows on the way, as functions on frames."""

import base64
from collections.abc import Callable
from datetime import timedelta

import numpy as np
import polars as pl

Fault = Callable[[pl.DataFrame, pl.DataFrame, np.random.Generator], pl.DataFrame | None]
"""Takes a day's rows, the rows of the day before, and a generator; returns what lands, or nothing for no folder."""

_TEXT_COLUMNS = ("query", "title", "annotations", "board_name")


def _rows_of_hours(rows: pl.DataFrame, *, late: bool) -> pl.DataFrame:
    """The later or the earlier half of a day's rows."""
    middle = pl.col("occurred_at").median()
    return rows.filter(pl.col("occurred_at") > middle if late else pl.col("occurred_at") <= middle)


def _sample(rows: pl.DataFrame, generator: np.random.Generator, share: float) -> pl.DataFrame:
    return rows.filter(pl.Series(generator.random(len(rows)) < share))


def _moved(rows: pl.DataFrame, hours: int) -> pl.DataFrame:
    return rows.with_columns(pl.col("occurred_at") + timedelta(hours=hours))


def _with_texts(rows: pl.DataFrame, change: Callable[[str], str], chosen: np.ndarray | None = None) -> pl.DataFrame:
    chosen = np.ones(len(rows), dtype=bool) if chosen is None else chosen
    columns = []
    for name in set(_TEXT_COLUMNS) & set(rows.columns):
        values = [
            value if not taken else [change(text) for text in value] if isinstance(value, list) else change(value)
            for value, taken in zip(rows[name].to_list(), chosen, strict=True)
        ]
        columns.append(pl.Series(name, values, dtype=rows.schema[name]))
    return rows.with_columns(columns)


def _random_letters(generator: np.random.Generator) -> Callable[[str], str]:
    return lambda text: "".join(chr(97 + code) for code in generator.integers(0, 26, max(3, len(text))))


EVENT_FAULTS: dict[str, Fault] = {
    "morning missing": lambda rows, _, __: _rows_of_hours(rows, late=True),
    "afternoon missing": lambda rows, _, __: _rows_of_hours(rows, late=False),
    "every second row missing": lambda rows, _, generator: _sample(rows, generator, 0.5),
    "nine rows in ten missing": lambda rows, _, generator: _sample(rows, generator, 0.1),
    "no folder": lambda _, __, ___: None,
    "empty folder": lambda rows, _, __: rows.clear(),
    "file twice": lambda rows, _, __: pl.concat([rows, rows]),
    "yesterday's file again": lambda rows, before, __: pl.concat([rows, before]),
    "only yesterday's file": lambda _, before, __: before,
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
TEXT_FAULTS: dict[str, Fault] = {
    "random letters": lambda rows, _, generator: _with_texts(rows, _random_letters(generator)),
    "random letters in a third": lambda rows, _, generator: _with_texts(
        rows, _random_letters(generator), generator.random(len(rows)) < 1 / 3
    ),
    "base64": lambda rows, _, __: _with_texts(rows, lambda text: base64.b64encode(text.encode()).decode()),
    "letters read as ?": lambda rows, _, __: _with_texts(rows, lambda text: "?" * len(text)),
    "wrong character set": lambda rows, _, __: _with_texts(rows, lambda text: text.encode("utf-16-le").decode("cp037")),
    "one text for all": lambda rows, _, __: _with_texts(rows, lambda _text: "test query"),
    "texts cut to 4 characters": lambda rows, _, __: _with_texts(rows, lambda text: text[:4]),
}
