"""JSON files as rows: an object a line, several glued on one line, arrays, or objects over several lines."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import polars as pl

from journeys_dagster.sources.text_blocks import NOT_UTF8, read_blocks

_KEYS_OF_OBJECTS = 200
_NEXT_OBJECT = re.compile(r"(?<=\})\s*(?=\{)")
_BETWEEN_OBJECTS = re.compile(r"[\s,\[\]\x1e]*")
"""Commas, the brackets of an array, and the sign that sets records apart (RFC 7464)."""
_SEVERAL_OBJECTS = r"\}[\s,\x1e]*\{|^\s*\[\s*\{|^\s*\x1e|\}\s*,\s*$"


def is_document(text: str) -> bool:
    """Whether the file is one array, or objects over several lines, rather than one object a line."""
    first = text.partition("\n")[0].strip()
    if first.startswith("[") and not first.endswith("]"):
        return True
    return first == "{" and _end_of_value(text, 0) is not None


def json_frames(path: Path, *, whole: bool) -> Iterator[pl.DataFrame]:
    """``row_number``, ``line`` and ``fault``, an object a row where that can be told; blank lines are left out."""
    if whole:
        text = "".join(block.text for block in read_blocks(path))
        values = _json_values(text)
        yield _json_frame(list(range(1, len(values) + 1)), values, {})
        return
    number = 1
    for block in read_blocks(path):
        lines = block.text.split("\n")
        yield _json_frame(list(range(number, number + len(lines))), lines, block.bad_lines)
        number += len(lines) - 1


def _json_frame(numbers: list[int], lines: list[str], bad_lines: Mapping[str, str]) -> pl.DataFrame:
    rows = pl.DataFrame({"row_number": numbers, "line": lines}, schema={"row_number": pl.Int64, "line": pl.String})
    rows = rows.filter(pl.col("line").str.strip_chars(" \t\r") != "")
    glued = pl.col("line").str.contains(_SEVERAL_OBJECTS)
    if rows.select(glued.any()).item():
        apart = rows.filter(glued)
        apart = apart.with_columns(line=pl.Series([_json_values(line) for line in apart["line"]])).explode("line")
        rows = pl.concat([rows.filter(~glued), apart]).sort("row_number", maintain_order=True)
    if not bad_lines:
        return rows.with_columns(fault=pl.lit(None, pl.String))
    is_bad = pl.col("line").is_in(list(bad_lines))
    return rows.with_columns(
        line=pl.col("line").replace(bad_lines), fault=pl.when(is_bad).then(pl.lit(NOT_UTF8)).otherwise(None)
    )


def _json_values(text: str) -> list[str]:
    """Objects that were written one after the other, and whatever lies between them and is none, each as it is."""
    values, place = [], 0
    while (place := _after_gap(text, place)) < len(text):
        end = _end_of_value(text, place)
        if end is None:
            following = _NEXT_OBJECT.search(text, place + 1)
            end = following.end() if following else len(text)
        values.append(text[place:end].strip())
        place = end
    return values


def _after_gap(text: str, place: int) -> int:
    gap = _BETWEEN_OBJECTS.match(text, place)
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
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            keys |= dict.fromkeys(value)
    return list(keys)
