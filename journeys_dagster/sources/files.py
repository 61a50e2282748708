"""Opening landing files: which there are, and their rows as DuckDB relations, whatever the format.

A file that cannot be read is reported, never raised: the other files of the day still count.
"""

import csv
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import polars as pl

FORMATS = (".parquet", ".csv", ".ndjson")
_MAX_RECORD_LINES = 100
_ROW_NUMBER = "row_number"


class UnreadableFileError(Exception):
    """A landing file that cannot be opened or decoded; the message says why."""


@dataclass(frozen=True)
class FileGroup:
    """Files with one schema, read as one relation.

    Attributes
    ----------
    relation_sql : str
        Query over the files; columns ``filename``, ``row_number`` (from 1) and the files' own.
    column_types : dict of str to str
        DuckDB type of each of the files' own columns. ``JSON`` where a value carries its own type.
    """

    paths: tuple[Path, ...]
    relation_sql: str
    column_types: dict[str, str]


def landing_files(folder: Path) -> list[Path]:
    """Data files of one day's folder, sorted by name; names that start with ``_`` or ``.`` are not data."""
    if not folder.is_dir():
        return []
    return sorted(
        path for path in folder.iterdir() if path.suffix in FORMATS and not path.name.startswith(("_", "."))
    )


def fingerprint(files: Sequence[Path]) -> str:
    """Hash of names, sizes and change times: it differs when a day's files have changed."""
    digest = hashlib.sha256()
    for path in files:
        status = path.stat()
        digest.update(f"{path.name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return digest.hexdigest()[:16]


def group_files(
    connection: duckdb.DuckDBPyConnection, files: Sequence[Path]
) -> tuple[list[FileGroup], dict[Path, str]]:
    """Sort files into groups that are read at once.

    Returns
    -------
    groups : list of FileGroup
        Parquet files by schema, all NDJSON files, and each CSV file by itself.
    unreadable : dict of Path to str
        Files that cannot be read, with the reason.
    """
    unreadable: dict[Path, str] = {}
    by_schema: dict[tuple[tuple[str, str], ...], list[Path]] = {}
    groups: list[FileGroup] = []
    json_files: list[Path] = []
    for path in files:
        try:
            if path.suffix == ".parquet":
                by_schema.setdefault(_parquet_schema(connection, path), []).append(path)
            elif path.suffix == ".csv":
                groups.append(_csv_group(connection, path))
            else:
                path.read_text(encoding="utf-8")
                json_files.append(path)
        except (UnreadableFileError, duckdb.Error, OSError, UnicodeDecodeError) as error:
            unreadable[path] = failure_text(error, path)
    for schema, paths in by_schema.items():
        groups.append(_parquet_group(paths, dict(schema)))
    if json_files:
        groups.append(_ndjson_group(json_files))
    return groups, unreadable


def single_file_groups(group: FileGroup) -> Iterator[FileGroup]:
    """The same files, each by itself: finds the one that spoils a group."""
    for path in group.paths:
        if path.suffix == ".parquet":
            yield _parquet_group([path], group.column_types)
        elif path.suffix == ".ndjson":
            yield _ndjson_group([path])
        else:
            yield group


def failure_text(error: Exception, path: Path) -> str:
    """One line on why a file cannot be read, without the folder it lies in."""
    return str(error).splitlines()[0].replace(str(path), path.name)[:200]


def quote_literal(text: str) -> str:
    """Text as an SQL literal; for file names, which DuckDB's readers do not take as parameters everywhere."""
    return "'" + text.replace("'", "''") + "'"


def _path_list(paths: Sequence[Path]) -> str:
    return "[" + ", ".join(quote_literal(_no_glob(path)) for path in paths) + "]"


def _no_glob(path: Path) -> str:
    # DuckDB reads *, ? and [ as patterns; a bracket expression of one character stands for itself.
    return "".join(f"[{char}]" if char in "*?[" else char for char in str(path))


def _parquet_schema(connection: duckdb.DuckDBPyConnection, path: Path) -> tuple[tuple[str, str], ...]:
    rows = connection.execute(
        f"describe from read_parquet({_path_list([path])}, hive_partitioning = false)"
    ).fetchall()
    return tuple((row[0], row[1]) for row in rows)


def _parquet_group(paths: Sequence[Path], column_types: dict[str, str]) -> FileGroup:
    sql = (
        f"select * exclude (file_row_number), file_row_number + 1 as {_ROW_NUMBER} "
        f"from read_parquet({_path_list(paths)}, file_row_number = true, filename = true, hive_partitioning = false)"
    )
    return FileGroup(tuple(paths), sql, column_types)


def _ndjson_group(paths: Sequence[Path]) -> FileGroup:
    sql = f"""
        select filename, {_ROW_NUMBER}, line, case when json_valid(line) then cast(line as json) end as json_line
        from (
            select
                filename,
                unnest(string_split(content, chr(10))) as line,
                generate_subscripts(string_split(content, chr(10)), 1) as {_ROW_NUMBER}
            from read_text({_path_list(paths)})
        )
        where trim(line, chr(13) || chr(9) || ' ') <> ''
    """
    return FileGroup(tuple(paths), sql, {"json_line": "JSON"})


def _csv_group(connection: duckdb.DuckDBPyConnection, path: Path) -> FileGroup:
    frame = _read_csv(path).with_columns(filename=pl.lit(str(path)))
    view = "csv_" + hashlib.sha256(str(path).encode()).hexdigest()[:16]
    connection.register(view, frame)
    types = {name: "VARCHAR" for name in frame.columns if name not in ("filename", _ROW_NUMBER)}
    return FileGroup((path,), f'from "{view}"', types)


def _read_csv(path: Path) -> pl.DataFrame:
    """All rows as text; a row with a wrong number of fields is kept whole in ``malformed_row``.

    A stray quote would make a CSV reader swallow the rest of the file; here it costs its own line only.
    """
    lines = path.read_text(encoding="utf-8-sig").splitlines(keepends=True)
    if not lines:
        raise UnreadableFileError("the file is empty; a CSV file starts with a header line")
    header = next(csv.reader([lines[0]]))
    duplicated = {name for name in header if header.count(name) > 1}
    if duplicated or {"filename", _ROW_NUMBER, "malformed_row"} & set(header):
        raise UnreadableFileError(
            f"the header repeats a column or uses a reserved name: {', '.join(header)}"[:200]
        )
    good: list[list[str]] = []
    numbers: list[int] = []
    malformed: list[tuple[int, str]] = []
    for number, record, fields in _records(lines, width=len(header)):
        if fields is not None:
            good.append(fields)
            numbers.append(number)
        elif record.strip():
            malformed.append((number, record))
    rows = pl.DataFrame(good, schema=dict.fromkeys(header, pl.String), orient="row").with_columns(
        pl.Series(_ROW_NUMBER, numbers, dtype=pl.Int64)
    )
    bad = pl.DataFrame(malformed, schema={_ROW_NUMBER: pl.Int64, "malformed_row": pl.String}, orient="row")
    return pl.concat([rows, bad], how="diagonal").with_columns(pl.col(*header).replace("", None))


def _records(lines: list[str], *, width: int) -> Iterator[tuple[int, str, list[str] | None]]:
    """Row number (from 1, by line), text and fields of each record after the header.

    A quoted field may span lines. Where joining lines does not give a row of the right width, the first line
    alone is malformed and the next line starts afresh.
    """
    index = 1
    while index < len(lines):
        end, record = index + 1, lines[index]
        while record.count('"') % 2 and end < min(len(lines), index + _MAX_RECORD_LINES):
            record += lines[end]
            end += 1
        fields = _fields(record, width)
        if fields is None:
            end, record = index + 1, lines[index]
        yield index, record, fields
        index = end


def _fields(record: str, width: int) -> list[str] | None:
    try:
        fields = next(csv.reader([record], strict=True), None)
    except csv.Error:
        return None
    return fields if fields is not None and len(fields) == width else None
