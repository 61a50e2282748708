"""Text files of a landing zone: opened, unpacked and decoded in blocks, and cut into CSV records and JSON objects.

A line that cannot be read costs itself only. What a file's rows must hold is the contract's matter.
"""

import bz2
import csv
import gzip
import io
import json
import lzma
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

import polars as pl
import pyarrow as pa

from journeys_dagster.errors import JourneysError
from journeys_dagster.sources.columns import match_columns, match_single_columns

BLOCK_BYTES = 16 << 20
SEPARATORS = (",", ";", "\t", "|")
_MAX_RECORD_LINES = 100
_HEAD_BYTES = 64 << 10
_KEYS_OF_OBJECTS = 200
_PACKED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2", b"\xfd7zXZ": "xz"}
_OTHER_FORMATS = {
    b"Obj\x01": "Avro",
    b"ORC": "ORC",
    b"ARROW1": "Arrow",
    b"FEA1": "Feather",
    b"PK\x03\x04": "zip or Excel",
    b"\xd0\xcf\x11\xe0": "Excel",
    b"SEQ\x06": "a Hadoop sequence file",
    b"SQLite format 3": "SQLite",
    b"\x89HDF": "HDF5",
    b"PAR1": "Parquet inside another file",
}
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*')
# Stands for a line that is not UTF-8 text while records are put together; no text file holds it.
_BAD_LINE = "\0\ufffebad line "
_NEXT_OBJECT = re.compile(r"(?<=\})\s*(?=\{)")
_BETWEEN_OBJECTS = re.compile(r"[\s,\[\]]*")
_DOES_NOT_SPLIT = "the line does not split into the columns of the header: a stray quote, or too many or too few fields"
_BACKSLASH = "the line has a backslash before a quote: write a quote inside a quoted field twice"
_NOT_UTF8 = "the line is not UTF-8 text"
UNPACKING_ERRORS = (EOFError, zlib.error, lzma.LZMAError, pa.ArrowException)
"""What libraries raise where a packed file is damaged, beside `OSError`."""
# How long a text may be is a matter of the contract.
csv.field_size_limit(2**31 - 1)


class UnreadableFileError(JourneysError, carries_user_text=False):
    """A landing file that cannot be opened or decoded; the message says why."""


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


@dataclass
class _Block:
    """Whole lines of a file, some of which may not be UTF-8 text."""

    text: str
    bad_lines: dict[str, str] = field(default_factory=dict)

    def lines(self) -> list[str]:
        return list(io.StringIO(self.text, newline=""))


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
        yield from _csv_frames(_blocks(path), contract, named)
        return
    for rows in _json_frames(path, is_document=form == "document"):
        yield Frame((), match_columns(_keys(rows), contract, named), rows)


def text_columns(path: Path) -> list[str]:
    """Names of a CSV file's header, split at the sign that gives the most of them, or keys of the first JSON objects.

    Raises
    ------
    UnreadableFileError
        The file holds no such text.
    """
    form = _form(path)
    if form == "empty":
        return []
    if form != "csv":
        return _keys(next(_json_frames(path, is_document=form == "document")))
    lines = next(_blocks(path)).lines()
    line, separators, _ = _header_line(lines)
    split = (_fields(line, separator, is_padded=True) or [] for separator in separators)
    return [name.strip() for name in max(split, key=len)]


def _form(path: Path) -> Literal["csv", "lines", "document", "empty"]:
    """What a text file holds: CSV, JSON line by line, JSON as a whole, or nothing."""
    head, is_utf16 = _head(path)
    text = head.decode("utf-16" if is_utf16 else "utf-8-sig", errors="ignore").lstrip()
    if not text:
        return "empty"
    called = {suffix.lower() for suffix in path.suffixes}
    if text.startswith("{") or (text.startswith("[") and not called & {".csv", ".tsv"}):
        return "document" if _is_document(text) else "lines"
    return "lines" if called & {".ndjson", ".jsonl", ".json"} else "csv"


def _head(path: Path) -> tuple[bytes, bool]:
    with _opened(path) as file:
        head = file.read(_HEAD_BYTES)
    for magic, name in _OTHER_FORMATS.items():
        if head.startswith(magic):
            raise UnreadableFileError(f"its format ({name}) is not read; write Parquet, CSV or NDJSON")
    is_utf16 = head.startswith(_UTF16)
    if not is_utf16 and head.count(b"\0") > len(head) // 8:
        raise UnreadableFileError("it is no text in UTF-8, and of no format that is read; write Parquet, CSV or NDJSON")
    return head, is_utf16


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The file's bytes, unpacked where they are packed."""
    with ExitStack() as stack:
        file: Any = stack.enter_context(path.open("rb"))
        start = file.read(6)
        file.seek(0)
        packing = next((name for magic, name in _PACKED.items() if start.startswith(magic)), None)
        if packing == "zstd":
            file = stack.enter_context(pa.CompressedInputStream(file, "zstd"))
        elif packing is not None:
            file = stack.enter_context({"gzip": gzip.open, "bz2": bz2.open, "xz": lzma.open}[packing](file))
        yield file


def _blocks(path: Path) -> Iterator[_Block]:
    """The file's text in blocks of whole lines."""
    with _opened(path) as file:
        rest, is_first = b"", True
        while content := file.read(BLOCK_BYTES):
            content = rest + content
            if is_first and content.startswith(_UTF16):
                yield _of_utf16(content + file.read())
                return
            if is_first:
                content, is_first = content.removeprefix(b"\xef\xbb\xbf"), False
            end = content.rfind(b"\n") + 1
            rest = content[end:]
            if end:
                yield _decoded(content[:end])
        if rest:
            yield _decoded(rest)


def _of_utf16(content: bytes) -> _Block:
    try:
        return _Block(content.decode("utf-16"))
    except UnicodeDecodeError:
        raise UnreadableFileError("it begins as UTF-16 text and does not go on so") from None


def _decoded(content: bytes) -> _Block:
    try:
        return _Block(content.decode())
    except UnicodeDecodeError:
        block = _Block("")
    lines = []
    for line in content.splitlines(keepends=True):
        try:
            lines.append(line.decode())
        except UnicodeDecodeError:
            mark = f"{_BAD_LINE}{len(block.bad_lines)}"
            block.bad_lines[mark] = line.decode(errors="replace")
            lines.append(f"{mark}\n")
    block.text = "".join(lines)
    return block


# ---- JSON ----


def _is_document(text: str) -> bool:
    """Whether the file is one array, or objects over several lines, rather than one object a line."""
    first = text.partition("\n")[0].strip()
    if first.startswith("[") and not first.endswith("]"):
        return True
    return first == "{" and _end_of_value(text, 0) is not None


def _json_frames(path: Path, *, is_document: bool) -> Iterator[pl.DataFrame]:
    """``row_number``, ``line`` and ``fault``, an object a row where that can be told; blank lines are left out."""
    if is_document:
        text = "".join(block.text for block in _blocks(path))
        values = _json_values(text)
        yield _json_frame(list(range(1, len(values) + 1)), values, {})
        return
    number = 1
    for block in _blocks(path):
        lines = block.text.split("\n")
        yield _json_frame(list(range(number, number + len(lines))), lines, block.bad_lines)
        number += len(lines) - 1


def _json_frame(numbers: list[int], lines: list[str], bad_lines: Mapping[str, str]) -> pl.DataFrame:
    rows = pl.DataFrame({"row_number": numbers, "line": lines}, schema={"row_number": pl.Int64, "line": pl.String})
    rows = rows.filter(pl.col("line").str.strip_chars(" \t\r") != "")
    glued = pl.col("line").str.contains(r"\}\s*\{")
    if rows.select(glued.any()).item():
        apart = rows.filter(glued)
        apart = apart.with_columns(line=pl.Series([_json_values(line) for line in apart["line"]])).explode("line")
        rows = pl.concat([rows.filter(~glued), apart]).sort("row_number", maintain_order=True)
    if not bad_lines:
        return rows.with_columns(fault=pl.lit(None, pl.String))
    is_bad = pl.col("line").is_in(list(bad_lines))
    return rows.with_columns(
        line=pl.col("line").replace(bad_lines), fault=pl.when(is_bad).then(pl.lit(_NOT_UTF8)).otherwise(None)
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


def _keys(rows: pl.DataFrame) -> list[str]:
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


# ---- CSV ----


@dataclass(frozen=True)
class _Dialect:
    """How a CSV file is written; `is_padded`: blanks follow its separators, as its header shows."""

    separator: str
    header: tuple[str, ...]
    is_padded: bool

    def fields(self, record: str) -> list[str] | None:
        """Fields of one record, or nothing where its quotes do not pair."""
        return _fields(record, self.separator, is_padded=self.is_padded)


def _csv_frames(blocks: Iterator[_Block], contract: Sequence[str], named: Mapping[str, str]) -> Iterator[Frame]:
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
        yield Frame(dialect.header, columns, rows)


def _dialect(block: _Block, contract: Sequence[str], named: Mapping[str, str]) -> tuple[_Dialect, int]:
    """How the file is written, by its first line that is not blank, and the lines up to it."""
    line, separators, skipped = _header_line(block.lines())
    split = {separator: _fields(line, separator, is_padded=True) for separator in separators}
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
        # Not repeated: where the header is missing, the line is a user's.
        raise UnreadableFileError(
            f"its first line ({len(header)} fields) names no column of the source: write a header line, or name the "
            "columns in the settings"
        )
    is_padded = f"{separator} " in line
    return _Dialect(separator, header, is_padded), skipped


def _header_line(lines: Sequence[str]) -> tuple[str, Sequence[str], int]:
    """The first line that is not blank, at what it may split, and the lines up to it; one may name the separator."""
    place = next((place for place, line in enumerate(lines) if line.strip()), len(lines))
    separators: Sequence[str] = SEPARATORS
    if place < len(lines) and (told := _SEPARATOR_LINE.fullmatch(lines[place])):
        separators, place = (told[1],), place + 1
    line = lines[place] if place < len(lines) else ""
    if not line.strip():
        raise UnreadableFileError("it has no header line; a CSV file starts with one")
    return line, separators, place + 1


def _csv_rows(block: _Block, dialect: _Dialect, number: int, *, is_last: bool) -> tuple[pl.DataFrame, str, int]:
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
    if line.startswith(_BAD_LINE):
        return place, bad_lines[line.rstrip("\n")], _NOT_UTF8
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
    bad = lines.filter(~splits).with_columns(pl.col("line") + "\n", fault=pl.lit(_DOES_NOT_SPLIT))
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
        if fields is None or len(fields) != len(dialect.header) or any(_BAD_LINE in text for text in fields):
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


def _fields(record: str, separator: str, *, is_padded: bool) -> list[str] | None:
    record = record.rstrip("\r\n")
    if '"' not in record:
        return record.split(separator)
    try:
        return next(csv.reader([record], delimiter=separator, strict=True, skipinitialspace=is_padded))
    except csv.Error:
        return None
