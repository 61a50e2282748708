"""JSON files as rows: an object a line, several on one, arrays, objects over several lines or around rows."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import polars as pl

from journeys_dagster.sources.text_blocks import NOT_UTF8, UnreadableFileError, read_blocks

ColumnsOf = Callable[[Sequence[str]], int]
"""How many of the columns that are wanted an object with these keys has."""
_KEYS_OF_OBJECTS = 200
_BETWEEN_ROWS = re.compile(r"[\s,]*")
_NEXT_OBJECT = re.compile(r"(?<=\})\s*(?=\{)")
_BETWEEN_OBJECTS = re.compile(r"[\s,\[\]\x1e]*")
"""Commas, the brackets of an array, and the sign that sets records apart (RFC 7464)."""
_SEVERAL_OBJECTS = r"\}[\s,\x1e]*\{|^\s*\[\s*\{|^\s*\x1e|\}\s*,\s*$"
_SURROGATE = r"\\u[dD][89a-fA-F]"
_ESCAPES = re.compile(
    r"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)
_HAS_OBJECTS_WITHIN = r"(?s)^\s*\{.*\[\s*\{"
_TEXT = r'"(?:[^"\\\n]|\\.)*+"'
_UP_TO_OBJECTS = re.compile(rf'(?:[^"\[\]]|{_TEXT}|\[(?:[^"\[\]{{}}]|{_TEXT})*+\])*+\[\s*(?=\{{)')
"""From within an object to the first one of a list that it holds: ``"total": 2, "data": [``."""


def is_document(text: str) -> bool:
    """Whether the file is one array, or objects over several lines, rather than one object a line, by its beginning."""
    first = text.partition("\n")[0].strip()
    if first.startswith("[") and not first.endswith("]"):
        return True
    if first == "{" and _end_of_value(text, 0) is not None:
        return True
    return _end_of_value(first, 0) is None and text.startswith("{") and _UP_TO_OBJECTS.match(text, 1) is not None


def json_frames(path: Path, columns_of: ColumnsOf, *, whole: bool) -> Iterator[pl.DataFrame]:
    """``row_number``, ``line`` and ``fault``, an object a row where that can be told; blank lines are left out."""
    if whole:
        text = "".join(block.text for block in read_blocks(path))
        values = _rows_of(text, columns_of, is_whole=True)
        yield _json_frame(list(range(1, len(values) + 1)), values, {}, columns_of)
        return
    number = 1
    for block in read_blocks(path):
        lines = block.text.split("\n")
        yield _json_frame(list(range(number, number + len(lines))), lines, block.bad_lines, columns_of)
        number += len(lines) - 1


def _json_frame(
    numbers: list[int], lines: list[str], bad_lines: Mapping[str, str], columns_of: ColumnsOf
) -> pl.DataFrame:
    rows = pl.DataFrame({"row_number": numbers, "line": lines}, schema={"row_number": pl.Int64, "line": pl.String})
    rows = rows.filter(pl.col("line").str.strip_chars(" \t\r") != "")
    halved = pl.col("line").str.contains(_SURROGATE)
    if rows.select(halved.any()).item():
        whole = pl.col("line").map_elements(_without_half_characters, return_dtype=pl.String)
        rows = rows.with_columns(line=pl.when(halved).then(whole).otherwise("line"))
    glued = pl.col("line").str.contains(_SEVERAL_OBJECTS) | pl.col("line").str.contains(_HAS_OBJECTS_WITHIN)
    if len(rows) == 1 and numbers[0] == 1:
        glued = pl.lit(value=True)
    if rows.select(glued.any()).item():
        apart = rows.filter(glued)
        values = [_rows_of(line, columns_of, is_whole=len(rows) == 1 and numbers[0] == 1) for line in apart["line"]]
        apart = apart.with_columns(line=pl.Series(values)).explode("line")
        rows = pl.concat([rows.filter(~glued), apart]).sort("row_number", maintain_order=True)
    if not bad_lines:
        return rows.with_columns(fault=pl.lit(None, pl.String))
    is_bad = pl.col("line").is_in(list(bad_lines))
    return rows.with_columns(
        line=pl.col("line").replace(bad_lines), fault=pl.when(is_bad).then(pl.lit(NOT_UTF8)).otherwise(None)
    )


def _rows_of(text: str, columns_of: ColumnsOf, *, is_whole: bool) -> list[str]:
    """Objects of a text, in place of those around rows what they hold.

    Raises
    ------
    UnreadableFileError
        The text is all of its file, and holds columns and not rows: to count it as one row would say too little.
    """
    values = _json_values(text)
    is_whole &= len(values) == 1
    if is_whole and _holds_columns(values[0], columns_of):
        raise UnreadableFileError("it holds JSON by column: write one object a row (in pandas, orient='records')")
    return [row for value in values for row in _rows_within(value, columns_of, is_whole=is_whole) or [value]]


def _rows_within(text: str, columns_of: ColumnsOf, *, is_whole: bool) -> list[str]:
    """The objects of that list in an object which have most columns, if they have more than the object itself: services
    answer so. What is alone in its file and has no column is no row, and what it holds is counted.
    """
    if not text.startswith("{") or not (found := _UP_TO_OBJECTS.match(text, 1)):
        return []
    best: list[str] = []
    most = columns_of(_keys(text))
    if is_whole and not most:
        most = -1
    while found:
        rows, place = [], found.end()
        while text.startswith("{", place) and (end := _end_of_value(text, place)) is not None:
            rows.append(text[place:end])
            place = _after_gap(text, end, _BETWEEN_ROWS)
        if rows and (columns := columns_of(_keys(rows[0]))) > most:
            best, most = rows, columns
        found = _UP_TO_OBJECTS.match(text, place + 1)
    return best


def _holds_columns(text: str, columns_of: ColumnsOf) -> bool:
    """Whether an object has a list or an object for each column, objects by number, or rows beside a list of names."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    if not isinstance(value, dict) or not value:
        return False
    names = value.get("columns")
    if isinstance(names, list) and columns_of([name for name in names if isinstance(name, str)]):
        return True
    if not all(isinstance(each, list | dict) for each in value.values()):
        return False
    within = next(iter(value.values()))
    return columns_of(list(value)) > 1 or (isinstance(within, dict) and columns_of(list(within)) > 1)


def _json_values(text: str) -> list[str]:
    """Objects that were written one after the other, and whatever lies between them and is none, each as it is."""
    values, place = [], 0
    while (place := _after_gap(text, place)) < len(text):
        end = _end_of_value(text, place)
        if end is None and text.startswith("{", place) and (rows := _UP_TO_OBJECTS.match(text, place + 1)):
            # What stands around rows is not whole: they may be, up to where it ends.
            place = rows.end()
            continue
        if end is None:
            following = _NEXT_OBJECT.search(text, place + 1)
            end = following.end() if following else len(text)
        values.append(text[place:end].strip())
        place = end
    return values


def _without_half_characters(text: str) -> str:
    """A text that was cut within an emoji ends in the half of it: in the sign for what is no character."""
    return _ESCAPES.sub(lambda found: r"\ufffd" if found[1] else found[0], text)


def _after_gap(text: str, place: int, between: re.Pattern[str] = _BETWEEN_OBJECTS) -> int:
    gap = between.match(text, place)
    return gap.end() if gap else place


def _end_of_value(text: str, place: int) -> int | None:
    try:
        return json.JSONDecoder().raw_decode(text, place)[1]
    except (ValueError, RecursionError):
        return None


def object_keys(rows: pl.DataFrame) -> list[str]:
    """Keys of some of the objects; a file's objects have the same ones."""
    keys: dict[str, None] = {}
    for line in rows["line"].head(_KEYS_OF_OBJECTS):
        keys |= dict.fromkeys(_keys(line))
    return list(keys)


def _keys(text: str) -> list[str]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return []
    return list(value) if isinstance(value, dict) else []
