"""CSV files as rows of text: any of the usual separators, quoted fields that span lines, and stray quotes.

A stray quote would make a CSV reader swallow the rest of the file; here it costs its own line only.
"""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from journeys_dagster.sources.columns import match_columns, match_single_columns
from journeys_dagster.sources.text_blocks import BAD_LINE, NOT_UTF8, Block, UnreadableFileError

_SEPARATORS = (",", ";", "\t", "|")
_MAX_RECORD_LINES = 100
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*')
_DOES_NOT_SPLIT = "the line does not split into the columns of the header: a stray quote, or too many or too few fields"
_BACKSLASH = "the line has a backslash before a quote: write a quote inside a quoted field twice"
# How long a text may be is a matter of the contract.
csv.field_size_limit(2**31 - 1)


@dataclass(frozen=True)
class _Dialect:
    """How a CSV file is written; `is_padded`: blanks follow its separators, as its header shows."""

    separator: str
    header: tuple[str, ...]
    is_padded: bool

    def fields(self, record: str) -> list[str] | None:
        """Fields of one record, or nothing where its quotes do not pair."""
        return split_fields(record, self.separator, is_padded=self.is_padded)


def csv_frames(
    blocks: Iterator[Block], contract: Sequence[str], named: Mapping[str, str]
) -> Iterator[tuple[tuple[str, ...], dict[str, list[str]], pl.DataFrame]]:
    """Header, the contract's columns and rows of each block, as the attributes of `text_files.Frame`.

    Raises
    ------
    UnreadableFileError
        There is no header, or it names no column of the contract.
    AmbiguousColumnError
        Two columns of it could be one of the contract.
    """
    dialect, columns, number = None, {}, 0
    rest, bad_lines = "", {}
    following = next(blocks, None)
    while following is not None:
        block, following = following, next(blocks, None)
        # The number of a bad line is its own within a block only.
        block.text, block.bad_lines = rest + block.text, bad_lines | block.bad_lines
        if dialect is None:
            dialect, skipped = _dialect(block, contract, named)
            columns = match_single_columns(dialect.header, contract, named)
            number = 1
            block.text = "".join(block.lines()[skipped:])
        rows, rest, taken = _csv_rows(block, dialect, number, is_last=following is None)
        number += taken
        bad_lines = {mark: line for mark, line in block.bad_lines.items() if mark in rest}
        yield dialect.header, columns, rows


def _dialect(block: Block, contract: Sequence[str], named: Mapping[str, str]) -> tuple[_Dialect, int]:
    """How the file is written, by its first line that is not blank, and the lines up to it."""
    line, separators, skipped = header_line(block.lines())
    split = {separator: split_fields(line, separator, is_padded=True) for separator in separators}
    headers = {
        separator: tuple(name.strip() or f"column {number}" for number, name in enumerate(fields, start=1))
        for separator, fields in split.items()
        if fields is not None
    }
    separator, header = max(
        headers.items(), key=lambda item: len(match_columns(item[1], contract, named)), default=("", ())
    )
    is_known = bool(match_columns(header, contract, named))
    if not is_known and None in split.values():
        raise UnreadableFileError("its header line has a stray quote")
    # By number, not by name: where the header is missing, the first line is a user's.
    if repeated := [str(number) for number, name in enumerate(header, start=1) if name in header[: number - 1]]:
        raise UnreadableFileError(f"its header repeats a column (field {', '.join(repeated)})")
    if not is_known:
        counted = f"{len(header)} fields" if len(header) > 1 else "one field"
        # Not repeated: where the header is missing, the line is a user's.
        raise UnreadableFileError(
            f"its first line, of {counted}, names no column of the source: write a header line, or name the "
            "columns in the settings"
        )
    is_padded = f"{separator} " in line
    return _Dialect(separator, header, is_padded), skipped


def header_line(lines: Sequence[str]) -> tuple[str, Sequence[str], int]:
    """The first line that is not blank, at what it may split, and the lines up to it; one may name the separator."""
    place = next((place for place, line in enumerate(lines) if line.strip()), len(lines))
    separators: Sequence[str] = _SEPARATORS
    if place < len(lines) and (told := _SEPARATOR_LINE.fullmatch(lines[place])):
        separators, place = (told[1],), place + 1
    line = lines[place] if place < len(lines) else ""
    if not line.strip():
        raise UnreadableFileError("it has no header line; a CSV file starts with one")
    return line, separators, place + 1


def _csv_rows(block: Block, dialect: _Dialect, number: int, *, is_last: bool) -> tuple[pl.DataFrame, str, int]:
    """Rows of a block, the first line of which has that number; text of a record that it cuts off; lines before it."""
    text = block.text.replace("\r\n", "\n")
    if '"' not in text and "\r" not in text and not block.bad_lines:
        return _plain_rows(text, dialect, number), "", text.count("\n")
    lines = block.lines()
    found = None if block.bad_lines else _quoted_rows(lines, dialect)
    end = len(lines)
    if found is None:
        found, end = _record_rows(lines, dialect, is_last=is_last)
    places, rows, malformed = found
    columns = zip(*rows, strict=True) if rows else ([] for _ in dialect.header)
    fields = {f"c{index}": pl.Series(list(column), dtype=pl.String) for index, column in enumerate(columns)}
    good = pl.DataFrame({"row_number": pl.Series(places, dtype=pl.Int64), **fields})
    bad = pl.DataFrame(
        [_malformed(place, line, block.bad_lines) for place, line in malformed],
        schema={"row_number": pl.Int64, "line": pl.String, "fault": pl.String},
        orient="row",
    )
    rows_of_block = pl.concat([good, bad], how="diagonal").with_columns(
        pl.col("row_number") + number, *(_empty_is_null(pl.col(name), dialect) for name in fields)
    )
    return rows_of_block, "".join(lines[end:]), end


def _malformed(place: int, line: str, bad_lines: Mapping[str, str]) -> tuple[int, str, str]:
    if line.startswith(BAD_LINE):
        return place, bad_lines[line.rstrip("\n")], NOT_UTF8
    line = line.rstrip("\r\n")
    return place, line, _BACKSLASH if '\\"' in line else _DOES_NOT_SPLIT


def _plain_rows(text: str, dialect: _Dialect, number: int) -> pl.DataFrame:
    """Rows of lines without quotes: they split at each separator."""
    width = len(dialect.header)
    lines = pl.DataFrame({"line": text.removesuffix("\n").split("\n")}, schema={"line": pl.String})
    lines = lines.with_row_index("row_number", offset=number).with_columns(pl.col("row_number").cast(pl.Int64))
    lines = lines.filter(pl.col("line").str.contains(r"\S"))
    splits = pl.col("line").str.count_matches(dialect.separator, literal=True) == width - 1
    fields = pl.col("line").str.split_exact(dialect.separator, width - 1).struct
    names = [f"c{index}" for index in range(width)]
    good = lines.filter(splits).select(
        "row_number", *(_empty_is_null(fields.field(f"field_{index}"), dialect, names[index]) for index in range(width))
    )
    bad = lines.filter(~splits).with_columns(fault=pl.lit(_DOES_NOT_SPLIT))
    return pl.concat([good, bad], how="diagonal")


def _empty_is_null(field: pl.Expr, dialect: _Dialect, name: str | None = None) -> pl.Expr:
    text = field.str.strip_chars() if dialect.is_padded else field
    kept = pl.when(text != "").then(text)
    return kept.alias(name) if name else kept


_Rows = tuple[list[int], list[list[str]], list[tuple[int, str]]]


def _quoted_rows(lines: Sequence[str], dialect: _Dialect) -> _Rows | None:
    """Line and fields of each row, and the lines that are none; nothing where a quote may be astray."""
    places, rows, malformed = [], [], []
    reader = csv.reader(lines, delimiter=dialect.separator, strict=True, skipinitialspace=dialect.is_padded)
    start = 0
    try:
        for fields in reader:
            if len(fields) == len(dialect.header):
                places.append(start)
                rows.append(fields)
            elif reader.line_num - start > 1:
                return None
            elif lines[start].strip():
                malformed.append((start, lines[start]))
            start = reader.line_num
    except csv.Error:
        return None
    return places, rows, malformed


def _record_rows(lines: Sequence[str], dialect: _Dialect, *, is_last: bool) -> tuple[_Rows, int]:
    """The same where quotes may be astray, and the line from which on a record goes on after the last line.

    A quoted field may span lines. Where joining lines gives no row of the right width, the first line alone is
    malformed and the next line starts afresh: a stray quote would make a CSV reader swallow the rest of the file.
    """
    places, rows, malformed = [], [], []
    place = 0
    while place < len(lines):
        line, end = lines[place], place + 1
        fields = dialect.fields(line)
        if fields is None:
            end, is_whole = _joined_end(lines, place)
            if not is_whole and not is_last and len(lines) - place < _MAX_RECORD_LINES:
                return (places, rows, malformed), place
            fields = dialect.fields("".join(lines[place:end]))
        if fields is None or len(fields) != len(dialect.header) or any(BAD_LINE in text for text in fields):
            end, fields = place + 1, None
        if fields is not None:
            places.append(place)
            rows.append(fields)
        elif line.strip():
            malformed.append((place, line))
        place = end
    return (places, rows, malformed), place


def _joined_end(lines: Sequence[str], start: int) -> tuple[int, bool]:
    """End of the fewest lines from `start` whose quotes pair, and whether they do."""
    quotes = 0
    last = min(len(lines), start + _MAX_RECORD_LINES)
    for index in range(start, last):
        quotes += lines[index].count('"')
        if quotes % 2 == 0:
            return index + 1, True
    return last, False


def split_fields(record: str, separator: str, *, is_padded: bool) -> list[str] | None:
    """Fields of one record, or nothing where its quotes do not pair; `is_padded`: blanks may follow separators."""
    record = record.rstrip("\r\n")
    if '"' not in record:
        return record.split(separator)
    try:
        return next(csv.reader([record], delimiter=separator, strict=True, skipinitialspace=is_padded))
    except csv.Error:
        return None
