"""Text files of a landing zone as rows, by what they hold. What a row must hold is the contract's matter."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import starmap
from pathlib import Path
from typing import Literal

import polars as pl

from journeys_dagster.sources.columns import match_columns
from journeys_dagster.sources.csv_rows import csv_frames, header_line, split_fields
from journeys_dagster.sources.json_rows import ColumnsOf, is_document, json_frames, object_keys
from journeys_dagster.sources.text_blocks import UnreadableFileError, read_blocks, read_head

# The names in its brackets would be taken for a header.
_SQL = re.compile(r"(?:--[^\n]*\s+)*(?:insert\s+into|create\s+table|copy)\s+[^\s,;|]+\s*\(", re.IGNORECASE)


@dataclass(frozen=True)
class Frame:
    """Rows of one text file.

    Attributes
    ----------
    header : tuple of str
        Columns of a CSV file, in the frame ``c0``, ``c1``, …; empty for JSON.
    columns : mapping of str to list of str
        Of the contract, see `match_columns`.
    rows : DataFrame
        ``row_number``; ``line``, of JSON and of lines that are no row; ``fault``, what is wrong with such a line.
    """

    header: tuple[str, ...]
    columns: Mapping[str, list[str]]
    rows: pl.DataFrame


def text_frames(path: Path, contract: Sequence[str], named: Mapping[str, str]) -> Iterator[Frame]:
    """Rows of a text file, block by block: JSON if it looks so or is called so, else CSV.

    Parameters
    ----------
    contract : sequence of str
        Columns that are looked for.
    named : mapping of str to str
        As in `match_columns`.

    Raises
    ------
    UnreadableFileError
        The file holds no such text, or its header names no column of the contract.
    """
    form = _form(path)
    if form == "empty":
        return
    if form == "csv":
        yield from starmap(Frame, csv_frames(read_blocks(path), contract, named))
        return
    for rows in json_frames(path, lambda keys: len(match_columns(keys, contract, named)), whole=form == "document"):
        yield Frame((), match_columns(object_keys(rows), contract, named), rows)


def text_columns(path: Path, columns_of: ColumnsOf) -> list[str]:
    """Names of a CSV file's header, split at the sign that gives the most of them, or keys of the first JSON objects.

    Parameters
    ----------
    columns_of : callable
        How many of the columns that are wanted some names are.

    Raises
    ------
    UnreadableFileError
        The file holds no such text.
    """
    form = _form(path)
    if form == "empty":
        return []
    if form != "csv":
        return object_keys(next(json_frames(path, columns_of, whole=form == "document")))
    lines = next(read_blocks(path)).lines()
    line, separators, _ = header_line(lines)
    split = (split_fields(line, separator, is_padded=True) or [] for separator in separators)
    return [name.strip() for name in max(split, key=len)]


def _form(path: Path) -> Literal["csv", "lines", "document", "empty"]:
    """What a text file holds: CSV, JSON line by line, JSON as a whole, or nothing."""
    head, is_utf16 = read_head(path)
    text = head.decode("utf-16" if is_utf16 else "utf-8-sig", errors="ignore").lstrip()
    if not text:
        return "empty"
    if _SQL.match(text):
        raise UnreadableFileError("its format (SQL) is not read; write Parquet, CSV or NDJSON")
    called = {suffix.lower() for suffix in path.suffixes}
    if text.startswith("{") or (text.startswith("[") and not called & {".csv", ".tsv"}):
        return "document" if is_document(text) else "lines"
    return "lines" if called & {".ndjson", ".jsonl", ".json"} else "csv"
