"""Frames as markdown tables, for the Dagster UI and the report.

Cells hold user text as data: whatever it contains, it is shown and does nothing.
"""

from collections.abc import Callable, Iterable
from datetime import date, datetime, time
from typing import Any

import polars as pl
from polars.datatypes import DataTypeClass

from journeys_dagster.reporting.text import (
    escape_markdown,
    format_datetime,
    format_number,
    printable,
    shorten,
)

NO_ROWS = "(no rows)"
# A longer list of numbers is an embedding, or as good as one: its length says more than its values.
_MAX_NUMBERS = 8
_MAX_WIDTH = 60


def markdown_table(frame: pl.DataFrame, *, max_rows: int = 10) -> str:
    """Write the first rows of a frame as a table in GitHub-flavoured markdown.

    Parameters
    ----------
    frame
        Any columns. Floats are written with four significant digits or as whole numbers, points in time to
        the minute, nulls as nothing, lists with commas, lists of structs by their field ``shown`` or else their
        first, arrays and long lists of numbers by their length (``[384 floats]``), binary by its length.
    max_rows
        The most rows to show.

    Returns
    -------
    str
        Lines without a final line break; ``(no rows)`` when there are none. Numeric columns are aligned
        right. A cell has at most 60 characters as displayed; what is cut ends in "…".
    """
    if frame.is_empty():
        return NO_ROWS
    columns = [
        [_cell(_plain(value, dtype)) for value in frame.get_column(name).head(max_rows).to_list()]
        for name, dtype in frame.schema.items()
    ]
    heads = [_cell(name) for name in frame.columns]
    rules = ["---:" if dtype.is_numeric() else "---" for dtype in frame.dtypes]
    return "\n".join(_line(cells) for cells in [heads, rules, *zip(*columns, strict=True)])


def _cell(text: str) -> str:
    return escape_markdown(shorten(printable(text), width=_MAX_WIDTH))


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(value: object, dtype: pl.DataType) -> str:
    if value is None:
        return ""
    if isinstance(value, list | pl.Series) and isinstance(dtype, pl.List | pl.Array):
        return _plain_list(list(value), dtype)
    if isinstance(value, dict) and isinstance(dtype, pl.Struct):
        fields = ((field.name, _instance(field.dtype)) for field in dtype.fields)
        parts = ((name, _plain(value[name], inner)) for name, inner in fields)
        return ", ".join(f"{name}: {text}" for name, text in parts if text)
    for kind, written in _WRITTEN:
        if isinstance(value, kind):
            return written(value)
    return str(value)


def _plain_list(values: list[Any], dtype: pl.List | pl.Array) -> str:
    inner = _instance(dtype.inner)
    if inner.is_numeric() and (isinstance(dtype, pl.Array) or len(values) > _MAX_NUMBERS):
        kind = "float" if inner.is_float() else "integer" if inner.is_integer() else "number"
        return f"[{len(values)} {kind}{'' if len(values) == 1 else 's'}]"
    if isinstance(inner, pl.Struct) and inner.fields:
        told = next((field for field in inner.fields if field.name == "shown"), inner.fields[0])
        values = [None if value is None else value[told.name] for value in values[:_MAX_WIDTH]]
        inner = _instance(told.dtype)
    texts = [_plain(value, inner) for value in values[:_MAX_WIDTH]]
    if isinstance(inner, pl.List | pl.Array):
        texts = [f"[{text}]" for text in texts]
    return ", ".join(text for text in texts if text)


def _instance(dtype: pl.DataType | DataTypeClass) -> pl.DataType:
    return dtype() if isinstance(dtype, type) else dtype


# The first kind that fits wins: a bool is an int, a datetime is a date.
_WRITTEN: tuple[tuple[type, Callable[[Any], str]], ...] = (
    (bool, lambda value: "true" if value else "false"),
    (float, format_number),
    (datetime, format_datetime),
    (date, date.isoformat),
    (time, lambda value: f"{value:%H:%M}"),
    (bytes, lambda value: f"[{len(value)} byte{'' if len(value) == 1 else 's'}]"),
)
