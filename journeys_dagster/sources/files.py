"""Opening landing files: which there are, and their rows as DuckDB relations, whatever the format.

A file that cannot be read is reported, never raised: the other files of the day still count.
"""

import csv
import hashlib
import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import polars as pl

from journeys_dagster.errors import JourneysError
from journeys_dagster.tables import quote_literal

FORMATS = (".parquet", ".csv", ".ndjson")
# Data that cannot be read is reported, so that a day does not lose it in silence.
_OTHER_FORMATS = (".json", ".jsonl", ".tsv", ".avro", ".orc", ".arrow", ".feather", ".gz", ".zst", ".bz2", ".zip")
_NESTED_PARTITION = re.compile(r"\w+=[^.]*")
_MAX_RECORD_LINES = 100
_MAX_REASON = 200
_TEXT_ROWS_AT_ONCE = 500_000
_TEXT_VIEW = "text_rows"
_DUCKDB_VALUE = re.compile(r'\bvalue ".*"(?= is )', flags=re.DOTALL)
_DUCKDB_ERROR_KIND = re.compile(r"^[A-Z][A-Za-z ]*Error: ")
# How long a text may be is a matter of the contract.
csv.field_size_limit(2**31 - 1)


class UnreadableFileError(JourneysError, carries_user_text=False):
    """A landing file that cannot be opened or decoded; the message says why."""


@dataclass(frozen=True, kw_only=True)
class FileGroup:
    """Files with one schema, read as one relation.

    Attributes
    ----------
    suffix : str
        The files' format, one of `FORMATS`.
    relation_sql : str
        Query over the files: columns ``path``, ``row_number`` (from 1), and those that the other properties use.
    column_types : mapping of str to str
        DuckDB type of each of the files' own columns, in the relation ``c0``, ``c1``, … Their own names could be
        anything. Empty for NDJSON, where each value carries its own type.
    """

    suffix: str
    paths: tuple[Path, ...]
    relation_sql: str
    column_types: Mapping[str, str]

    def value(self, name: str) -> tuple[str, str] | None:
        """SQL expression of a column and its DuckDB type; nothing where the files do not have the column."""
        if self.suffix == ".ndjson":
            return f"json_extract(json_line, '$.\"{name}\"')", "JSON"
        if name not in self.column_types:
            return None
        return f"c{list(self.column_types).index(name)}", self.column_types[name]

    @property
    def row_sql(self) -> str:
        """SQL expression of the whole row as text."""
        if self.suffix == ".ndjson":
            return "line"
        pairs = ", ".join(f"{quote_literal(name)}, c{index}" for index, name in enumerate(self.column_types))
        row = f"cast(json_object({pairs}) as varchar)"
        return f"coalesce(line, {row})" if self.suffix == ".csv" else row

    @property
    def malformed_row_check(self) -> str | None:
        """``when … then …`` of an SQL case, for rows that have no values."""
        return {
            ".csv": "when line is not null then 'the line does not split into the columns of the header: "
            "a stray quote, or too many or too few fields'",
            ".ndjson": "when json_line is null then 'the line is not a JSON object'",
        }.get(self.suffix)

    def single_files(self) -> Iterator["FileGroup"]:
        """The same files, each by itself: finds the one that spoils the group."""
        for path in self.paths:
            if self.suffix == ".parquet":
                yield _parquet_group([path], self.column_types)
            else:
                sql = f"from ({self.relation_sql}) where path = {quote_literal(str(path))}"
                yield replace(self, paths=(path,), relation_sql=sql)


def landing_files(folder: Path) -> list[Path]:
    """Data files of one day's folder, sorted by name; names that start with ``_`` or ``.`` are not data."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if is_landing_file(path.name))


def is_landing_file(name: str) -> bool:
    """Whether a file of that name holds data, readable or not; so does a folder such as ``hour=12``."""
    if name.startswith(("_", ".")):
        return False
    return name.lower().endswith(FORMATS + _OTHER_FORMATS) or _NESTED_PARTITION.fullmatch(name) is not None


def fingerprint(files: Iterable[Path | os.DirEntry[str]]) -> str:
    """Hash of names, sizes and change times: it differs when a day's files have changed."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(os.fsencode(path.name))
        try:
            status = path.stat()
        except OSError:
            digest.update(b"\0?\0")
        else:
            digest.update(f"\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return digest.hexdigest()[:16]


def file_groups(
    connection: duckdb.DuckDBPyConnection, files: Sequence[Path], unreadable: dict[Path, str]
) -> Iterator[FileGroup]:
    """Sort files into groups that are read at once: by format and columns.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        Where the groups' relations can be read, each until the next one is asked for.
    files : sequence of Path
        Landing files of any format.
    unreadable : dict of Path to str
        Files to leave out. Gets the ones that cannot be read, with the reason.
    """
    parquet: dict[tuple[tuple[str, str], ...], list[Path]] = {}
    texts: dict[tuple[str, tuple[str, ...]], list[pl.DataFrame]] = {}
    for path in files:
        if path in unreadable:
            continue
        suffix = path.suffix.lower()
        try:
            _refuse_odd_file(path)
            if suffix not in FORMATS:
                raise UnreadableFileError(f"its format is not read; write one of {', '.join(FORMATS)}")
            if suffix == ".parquet":
                parquet.setdefault(_parquet_schema(connection, path), []).append(path)
                continue
            header, frame = _read_csv(path) if suffix == ".csv" else ((), _read_ndjson(path))
        except (UnreadableFileError, duckdb.Error, OSError) as error:
            unreadable[path] = failure_text(error, path)
            continue
        frames = texts.setdefault((suffix, header), [])
        frames.append(frame.with_columns(path=pl.lit(str(path))))
        if sum(frame.height for frame in frames) >= _TEXT_ROWS_AT_ONCE:
            yield from _text_group(connection, suffix, header, texts.pop((suffix, header)))
    for (suffix, header), frames in texts.items():
        yield from _text_group(connection, suffix, header, frames)
    for schema, paths in parquet.items():
        yield _parquet_group(paths, dict(schema))


def failure_text(error: Exception, path: Path) -> str:
    """One line on why a file cannot be read, without the folder it lies in."""
    text = str(error.strerror if isinstance(error, OSError) else error) or type(error).__name__
    if isinstance(error, duckdb.Error):
        # Reasons are counted and shown; the text of a user is not repeated in them.
        text = f"DuckDB says: {_DUCKDB_VALUE.sub('a value', _DUCKDB_ERROR_KIND.sub('', text))}"
    for folder in (_no_glob(path.parent), str(path.parent)):
        text = text.replace(f"{folder}{os.sep}", "")
    printable = "".join(char if char.isprintable() else " " for char in text.partition("\n")[0])
    return printable.strip()[:_MAX_REASON]


def display_name(path: Path) -> str:
    """The file's name as text that can be stored and shown, whatever its bytes."""
    return os.fsencode(path.name).decode("utf-8", errors="replace")


def _refuse_odd_file(path: Path) -> None:
    if path.is_dir():
        raise UnreadableFileError("it is a folder; files are read from the day's own folder only")
    if path.exists() and not path.is_file():
        # Reading a pipe would wait for its writer.
        raise UnreadableFileError("it is a pipe or a device, not a file")
    if display_name(path) != path.name:
        raise UnreadableFileError("its name is not UTF-8 text")


def _path_list(paths: Sequence[Path]) -> str:
    return "[" + ", ".join(quote_literal(_no_glob(path)) for path in paths) + "]"


def _no_glob(path: Path) -> str:
    # DuckDB reads *, ? and [ as patterns; a bracket expression of one character stands for itself. A path with a
    # backslash is no pattern.
    text = str(path)
    return text if "\\" in text else "".join(f"[{char}]" if char in "*?[" else char for char in text)


def _parquet_schema(connection: duckdb.DuckDBPyConnection, path: Path) -> tuple[tuple[str, str], ...]:
    rows = connection.execute(f"describe from read_parquet({_path_list([path])}, hive_partitioning = false)").fetchall()
    return tuple((row[0], row[1]) for row in rows)


def _parquet_group(paths: Sequence[Path], column_types: Mapping[str, str]) -> FileGroup:
    columns = "".join(
        f', "{name.replace(chr(34), chr(34) * 2)}" as c{index}' for index, name in enumerate(column_types)
    )
    sql = (
        f"select landing_path as path, file_row_number + 1 as row_number{columns} "
        f"from read_parquet({_path_list(paths)}, filename = 'landing_path', file_row_number = true, "
        "hive_partitioning = false)"
    )
    return FileGroup(suffix=".parquet", paths=tuple(paths), relation_sql=sql, column_types=column_types)


def _text_group(
    connection: duckdb.DuckDBPyConnection, suffix: str, header: tuple[str, ...], frames: list[pl.DataFrame]
) -> Iterator[FileGroup]:
    rows = pl.concat(frames)
    sql = f"from {_TEXT_VIEW}"
    if suffix == ".ndjson":
        # Nested, because json_type refuses what json_valid does not vouch for.
        sql = (
            "select *, case when json_valid(line) then case when json_type(line) = 'OBJECT' "
            f"then cast(line as json) end end as json_line from {_TEXT_VIEW}"
        )
    paths = tuple(Path(name) for name in rows["path"].unique(maintain_order=True))
    connection.register(_TEXT_VIEW, rows)
    yield FileGroup(suffix=suffix, paths=paths, relation_sql=sql, column_types=dict.fromkeys(header, "VARCHAR"))
    connection.unregister(_TEXT_VIEW)


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableFileError(f"it is not UTF-8 text (first at byte {error.start + 1})") from None


def _read_ndjson(path: Path) -> pl.DataFrame:
    """Columns ``row_number`` and ``line``; blank lines are left out."""
    lines = pl.DataFrame({"line": _read_text(path).split("\n")}, schema={"line": pl.String})
    return lines.select(pl.int_range(1, pl.len() + 1).alias("row_number"), "line").filter(
        pl.col("line").str.strip_chars(" \t\r") != ""
    )


def _read_csv(path: Path) -> tuple[tuple[str, ...], pl.DataFrame]:
    """Header, and all rows as text: columns ``row_number``, ``c0``, ``c1``, … and ``line``.

    A row that does not split into the header's columns has nulls and its text in ``line``. A stray quote would
    make a CSV reader swallow the rest of the file; here it costs its own line only.
    """
    lines = list(io.StringIO(_read_text(path), newline=""))
    header = _csv_header(lines[0] if lines else "")
    rows: list[list[str | None]] = []
    numbers: list[int] = []
    malformed: list[tuple[int, str]] = []
    for number, line, fields in _csv_records(lines, width=len(header)):
        if fields is not None:
            rows.append([field or None for field in fields])
            numbers.append(number)
        else:
            malformed.append((number, line))
    columns = [f"c{index}" for index in range(len(header))]
    good = pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String), orient="row").with_columns(
        pl.Series("row_number", numbers, dtype=pl.Int64)
    )
    bad = pl.DataFrame(malformed, schema={"row_number": pl.Int64, "line": pl.String}, orient="row")
    return header, pl.concat([good, bad], how="diagonal")


def _csv_header(line: str) -> tuple[str, ...]:
    if not line.strip():
        raise UnreadableFileError("it is empty or its first line is; a CSV file starts with a header line")
    fields = _csv_fields(line)
    if fields is None:
        raise UnreadableFileError("its header line has a stray quote")
    header = tuple(name or f"column {number}" for number, name in enumerate(fields, start=1))
    # By number, not by name: where the header is missing, the first line is a user's.
    if repeated := [str(number) for number, name in enumerate(header, start=1) if name in header[: number - 1]]:
        raise UnreadableFileError(f"its header repeats a column (field {', '.join(repeated)})")
    return header


def _csv_records(lines: Sequence[str], *, width: int) -> Iterator[tuple[int, str, list[str] | None]]:
    """Line number (from 1, after the header), first line and fields of each record; blank lines are left out.

    A quoted field may span lines. Where joining lines gives no row of the right width, the first line alone is
    malformed and the next line starts afresh.
    """
    index = 1
    while index < len(lines):
        line, end = lines[index], index + 1
        fields = _csv_fields(line)
        if fields is None:
            end = _joined_end(lines, index)
            fields = _csv_fields("".join(lines[index:end]))
        if fields is None or len(fields) != width:
            end, fields = index + 1, None
        if line.strip():
            yield index, line, fields
        index = end


def _joined_end(lines: Sequence[str], start: int) -> int:
    """End of the fewest lines from `start` whose quotes pair."""
    quotes = 0
    last = min(len(lines), start + _MAX_RECORD_LINES)
    for index in range(start, last):
        quotes += lines[index].count('"')
        if quotes % 2 == 0:
            return index + 1
    return last


def _csv_fields(record: str) -> list[str] | None:
    """Fields of one record, or nothing where its quotes do not pair."""
    record = record.rstrip("\r\n")
    if '"' not in record:
        return record.split(",")
    try:
        return next(csv.reader([record], strict=True))
    except csv.Error:
        return None
