"""Opening landing files: which there are, and their rows as DuckDB relations, whatever the format.

A file that cannot be read is reported, never raised: the other files of the day still count.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import duckdb
import polars as pl

from journeys_dagster.sources.columns import AmbiguousColumnError, match_single_columns
from journeys_dagster.sources.json_rows import ColumnsOf
from journeys_dagster.sources.text_blocks import UNPACKING_ERRORS, UnreadableFileError
from journeys_dagster.sources.text_files import Frame, text_columns, text_frames
from journeys_dagster.tables import quote_literal

_NO_DATA = ("_", ".")
"""Beginnings of names that are no data: marks of producers, and hidden files."""
_UNFINISHED = (
    *(".tmp", ".temp", ".inprogress", ".unfinished", ".partial", ".part", ".filepart", ".part~", ".crdownload"),
    *(".download", ".swp", ".crc", "~"),
)
_OF_THE_SYSTEM = frozenset({"thumbs.db", "desktop.ini"})
_PARQUET = b"PAR1"
_MAX_REASON = 200
_TEXT_ROWS_AT_ONCE = 500_000
_TEXT_VIEW = "text_rows"
_DUCKDB_VALUE = re.compile(r'\bvalue ".*"(?= is )', flags=re.DOTALL)
_DUCKDB_ERROR_KIND = re.compile(r"^[A-Z][A-Za-z ]*Error: ")


@dataclass(frozen=True, kw_only=True)
class FileGroup:
    """Files with one schema, read as one relation.

    Attributes
    ----------
    format : {'parquet', 'csv', 'json'}
    relation_sql : str
        Query over the files: columns ``path``, ``row_number`` (from 1), and those that the other properties use.
    column_types : mapping of str to str
        DuckDB type of each of the files' own columns, in the relation ``c0``, ``c1``, … Their own names could be
        anything. Empty for JSON, where each value carries its own type.
    columns : mapping of str to list of str
        The files' own names of the contract's columns; of JSON objects, which need not be alike, several.
    """

    format: Literal["parquet", "csv", "json"]
    paths: tuple[Path, ...]
    relation_sql: str
    column_types: Mapping[str, str]
    columns: Mapping[str, Sequence[str]]

    def value(self, name: str) -> tuple[str, str] | None:
        """SQL expression of a column and its DuckDB type; nothing where the files do not have the column."""
        if self.format == "json":
            paths = (quote_literal(f"$.{json_key(key)}") for key in self.columns.get(name, [name]))
            return f"coalesce({', '.join(f'json_extract(json_line, {path})' for path in paths)}, null)", "JSON"
        if name not in self.columns:
            return None
        (own,) = self.columns[name]
        value, column_type = f"c{list(self.column_types).index(own)}", self.column_types[own]
        # Text that its writer did not mark as text comes as bytes.
        return (f"try(decode({value}))", "VARCHAR") if column_type == "BLOB" else (value, column_type)

    @property
    def row_sql(self) -> str:
        """SQL expression of the whole row as text."""
        if self.format == "json":
            return "line"
        pairs = ", ".join(f"{quote_literal(name)}, c{index}" for index, name in enumerate(self.column_types))
        row = f"cast(json_object({pairs}) as varchar)"
        return f"coalesce(line, {row})" if self.format == "csv" else row

    @property
    def malformed_row_check(self) -> str | None:
        """``when … then …`` of an SQL case, for rows that have no values."""
        return {
            "csv": "when fault is not null then fault",
            "json": "when fault is not null then fault when json_line is null then 'the line is not a JSON object'",
        }.get(self.format)

    def single_files(self) -> Iterator["FileGroup"]:
        """The same files, each by itself: finds the one that spoils the group."""
        for path in self.paths:
            if self.format == "parquet":
                yield _parquet_group([path], self.column_types, self.columns)
            else:
                sql = f"from ({self.relation_sql}) where path = {quote_literal(str(path))}"
                yield replace(self, paths=(path,), relation_sql=sql)


def landing_files(folder: Path) -> list[Path]:
    """Data files of one day's folder, sorted by name."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if is_landing_file(path.name))


def is_landing_file(name: str) -> bool:
    """Whether a file or folder of that name holds data, readable or not.

    Marks of producers, hidden, unfinished and the system's own files do not.
    """
    lower = name.lower()
    return not lower.startswith(_NO_DATA) and not lower.endswith(_UNFINISHED) and lower not in _OF_THE_SYSTEM


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
    connection: duckdb.DuckDBPyConnection,
    files: Sequence[Path],
    unreadable: dict[Path, str],
    *,
    contract: Sequence[str],
    named: Mapping[str, str],
) -> Iterator[FileGroup]:
    """Sort files into groups that are read at once: by what they hold, whatever they are called, and by columns.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        Where the groups' relations can be read, each until the next one is asked for.
    files : sequence of Path
        Landing files of any format.
    unreadable : dict of Path to str
        Files to leave out. Gets the ones that cannot be read, with the reason.
    contract : sequence of str
        The columns that are wanted.
    named : mapping of str to str
        What files call them, where the settings say so.
    """
    parquet: dict[tuple[tuple[str, str], ...], list[Path]] = {}
    texts = _TextFrames(connection)
    for path in files:
        if path in unreadable:
            continue
        try:
            _refuse_odd_file(path)
            if path.stat().st_size == 0:
                continue
            if _is_parquet(path):
                schema = _parquet_schema(connection, path)
                match_single_columns([name for name, _ in schema], contract, named)
                parquet.setdefault(schema, []).append(path)
                continue
            for frame in text_frames(path, contract, named):
                yield from texts.add(path, frame)
        except (UnreadableFileError, AmbiguousColumnError, duckdb.Error, OSError, *UNPACKING_ERRORS) as error:
            unreadable[path] = failure_text(error, path)
    yield from texts.rest()
    for schema, paths in parquet.items():
        columns = match_single_columns([name for name, _ in schema], contract, named)
        yield _parquet_group(paths, dict(schema), columns)


class _TextFrames:
    """Rows of text files, gathered into groups with the same columns until there are enough of them."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._frames: dict[tuple[tuple[str, ...], str], list[tuple[Frame, pl.DataFrame]]] = {}

    def add(self, path: Path, frame: Frame) -> Iterator[FileGroup]:
        key = frame.header, repr(sorted(frame.columns.items()))
        held = self._frames.setdefault(key, [])
        held.append((frame, frame.rows.with_columns(path=pl.lit(str(path)))))
        if sum(rows.height for _, rows in held) >= _TEXT_ROWS_AT_ONCE:
            yield from self._group(self._frames.pop(key))

    def rest(self) -> Iterator[FileGroup]:
        while self._frames:
            yield from self._group(self._frames.pop(next(iter(self._frames))))

    def _group(self, held: Sequence[tuple[Frame, pl.DataFrame]]) -> Iterator[FileGroup]:
        rows = pl.concat((rows for _, rows in held), how="diagonal")
        first, _ = held[0]
        sql = f"from {_TEXT_VIEW}"
        if not first.header:
            # Nested, because json_type refuses what json_valid does not vouch for.
            sql = (
                "select *, case when json_valid(line) then case when json_type(line) = 'OBJECT' "
                f"then cast(line as json) end end as json_line from {_TEXT_VIEW}"
            )
        elif "line" not in rows.columns:
            rows = rows.with_columns(line=pl.lit(None, pl.String), fault=pl.lit(None, pl.String))
        self._connection.register(_TEXT_VIEW, rows)
        yield FileGroup(
            format="csv" if first.header else "json",
            paths=tuple(Path(name) for name in rows["path"].unique(maintain_order=True)),
            relation_sql=sql,
            column_types=dict.fromkeys(first.header, "VARCHAR"),
            columns=first.columns,
        )
        self._connection.unregister(_TEXT_VIEW)


def json_key(name: str) -> str:
    """A key as DuckDB's JSON paths take it."""
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def found_columns(connection: duckdb.DuckDBPyConnection, path: Path, columns_of: ColumnsOf) -> list[str]:
    """Columns of a file, as it calls them.

    Parameters
    ----------
    columns_of : callable
        How many of the columns that are wanted some names are: tells a JSON object around rows from a row.

    Raises
    ------
    UnreadableFileError, duckdb.Error, OSError
        It cannot be read.
    """
    _refuse_odd_file(path)
    if _is_parquet(path):
        return [name for name, _ in _parquet_schema(connection, path)]
    return text_columns(path, columns_of)


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


def _is_parquet(path: Path) -> bool:
    if path.suffix.lower() in {".parquet", ".parq", ".pq"}:
        return True
    with path.open("rb") as file:
        return file.read(len(_PARQUET)) == _PARQUET


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


def _parquet_group(
    paths: Sequence[Path], column_types: Mapping[str, str], own: Mapping[str, Sequence[str]]
) -> FileGroup:
    columns = "".join(
        f', "{name.replace(chr(34), chr(34) * 2)}" as c{index}' for index, name in enumerate(column_types)
    )
    sql = (
        f"select landing_path as path, file_row_number + 1 as row_number{columns} "
        f"from read_parquet({_path_list(paths)}, filename = 'landing_path', file_row_number = true, "
        "hive_partitioning = false)"
    )
    return FileGroup(format="parquet", paths=tuple(paths), relation_sql=sql, column_types=column_types, columns=own)
