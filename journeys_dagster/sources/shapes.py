"""Rejected rows as they may be shown: ids and texts by their shape, so that what is wrong is seen and nobody is."""

import json
import re
import unicodedata
from collections.abc import Mapping

from journeys_dagster.sources.contracts import Field, Source

_MOST_CHARACTERS = 60
_MOST_LISTED = 5
# What is verbatim must not be a telephone number, nor a name, in a column of times.
_TIME = re.compile(
    r"\s*(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4})"
    r"(?:[T ]+\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?)?\s*(?:Z|UTC|GMT|[AaPp][Mm])?\s*(?:[+-]\d{2}:?(?:\d{2})?)?\s*"
    r"(?:[A-Z][A-Za-z]{2,15}/[A-Z][A-Za-z_]{2,20})?\s*",
    re.ASCII,
)
_PLAIN_WORD = re.compile(r"[A-Za-z_-]{1,30}")


def shape(text: str) -> str:
    """A text with x for each letter and 9 for each digit; all else stands, and what is invisible is written out."""
    shown = "".join(_shape_of(char) for char in text[: _MOST_CHARACTERS + 1])
    return shown if len(text) <= _MOST_CHARACTERS else f"{shown[:_MOST_CHARACTERS]}… ({len(text):,} characters)"


def row_shape(row: str | None, source: Source | None) -> str:
    """A row of `rejected_rows` as it may be shown.

    Parameters
    ----------
    row : str, optional
        The row as JSON, or a line that is no row.
    source : Source, optional
        Its contract, by which times and actions are shown as they are; without, everything is a shape.
    """
    if row is None:
        return ""
    try:
        values = json.loads(row)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        return shape(row)
    shapes = ((_name_shape(name, source), _value_shape(name, value, source)) for name, value in values.items())
    return ", ".join(f"{name}: {value}" for name, value in shapes)


def _name_shape(name: str, source: Source | None) -> str:
    # Where a file has no header, its columns are named by a user's row.
    return name if _plain(name) in _fields(source) and name.isprintable() else shape(name)


def _value_shape(name: str, value: object, source: Source | None) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, list):
        more = ", …" if len(value) > _MOST_LISTED else ""
        return f"[{', '.join(_value_shape('', each, None) for each in value[:_MOST_LISTED])}{more}]"
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, Mapping) else str(value)
    field = _fields(source).get(_plain(name))
    if field is not None and field.kind == "timestamp" and _TIME.fullmatch(text):
        return text.strip()
    if field is not None and field.one_of and _PLAIN_WORD.fullmatch(text):
        return text
    return shape(text)


def _fields(source: Source | None) -> dict[str, Field]:
    """The contract's columns by what files call them."""
    if source is None:
        return {}
    return {
        _plain(called): field
        for name, field in source.fields.items()
        for called in (name, source.columns.get(name, name))
    }


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()


def _shape_of(char: str) -> str:
    category = unicodedata.category(char)
    if category.startswith(("L", "M")):
        return "x"
    if category.startswith("N"):
        return "9"
    # A combining mark or a blank of another kind is often what is wrong.
    return char if char == " " or not category.startswith(("C", "Z")) else f"<U+{ord(char):04X}>"
