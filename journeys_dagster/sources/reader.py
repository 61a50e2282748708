"""Checking landing rows against their source's contract: good rows typed, bad rows put aside with a reason.

The checks are SQL over whole files in a database of their own in memory, so that one bad row among millions costs
nothing but itself. Rows read = accepted + duplicates + rejected, always.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import polars as pl

from journeys_dagster.sources.contracts import LANDED_DAYS, REJECTED_ROWS, Field, Source
from journeys_dagster.sources.files import (
    FileGroup,
    failure_text,
    fingerprint,
    group_files,
    landing_files,
    quote_literal,
    single_file_groups,
)

_TEXT_TYPES = (
    "VARCHAR",
    "BIGINT",
    "INTEGER",
    "SMALLINT",
    "TINYINT",
    "UBIGINT",
    "UINTEGER",
    "HUGEINT",
    "UUID",
)
_ISO_TIME = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?\s*(Z|[+-]\d{2}(:?\d{2})?)?)?$"


@dataclass(frozen=True)
class LandedRows:
    """What some days of one source held.

    Attributes
    ----------
    accepted : DataFrame
        Columns of the source's table, exact duplicates of a day once.
    rejected : DataFrame
        Columns of `REJECTED_ROWS`.
    days : DataFrame
        Columns of `LANDED_DAYS`: one row per day that has a folder.
    """

    accepted: pl.DataFrame
    rejected: pl.DataFrame
    days: pl.DataFrame


def read_days(
    source: Source,
    folders: dict[date, Path],
    *,
    max_text_length: int,
    future_tolerance_hours: float,
) -> LandedRows:
    """Read and check days of one source.

    Parameters
    ----------
    source : Source
        The contract.
    folders : dict of date to Path
        The day folders to read.
    max_text_length : int
        Longest accepted text, in characters.
    future_tolerance_hours : float
        Hours that a time may lie after the end of its arrival day.

    Returns
    -------
    LandedRows
        For every day: rows read = accepted + duplicate + rejected.
    """
    files = {path: day for day, folder in folders.items() for path in landing_files(folder)}
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        _create_work_tables(connection, source, files)
        groups, unreadable = group_files(connection, list(files))
        for group in groups:
            select = _check_sql(
                source, group, max_text_length=max_text_length, future_tolerance_hours=future_tolerance_hours
            )
            try:
                connection.execute(f"insert into checked {select}")
            except duckdb.Error:
                unreadable |= _read_one_by_one(
                    connection, source, group, max_text_length, future_tolerance_hours
                )
        return _collect(connection, source, folders, files, unreadable)


def _create_work_tables(
    connection: duckdb.DuckDBPyConnection, source: Source, files: dict[Path, date]
) -> None:
    arrivals = pl.DataFrame(
        {"filename": [str(path) for path in files], "arrival_day": list(files.values())},
        schema={"filename": pl.String, "arrival_day": pl.Date},
    )
    connection.register("arrivals", arrivals)
    columns = ", ".join(f'"{name}" {source.table.columns[name].type}' for name in source.fields)
    connection.execute(
        "create table checked (arrival_day date, filename varchar, row_number bigint, "
        f"{columns}, reason varchar, raw_row varchar)"
    )


def _read_one_by_one(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    group: FileGroup,
    max_text_length: int,
    future_tolerance_hours: float,
) -> dict[Path, str]:
    unreadable = {}
    for single in single_file_groups(group):
        select = _check_sql(
            source, single, max_text_length=max_text_length, future_tolerance_hours=future_tolerance_hours
        )
        try:
            connection.execute(f"insert into checked {select}")
        except duckdb.Error as error:
            unreadable[single.paths[0]] = failure_text(error, single.paths[0])
    return unreadable


def _check_sql(
    source: Source, group: FileGroup, *, max_text_length: int, future_tolerance_hours: float
) -> str:
    """Select of the group's rows: typed columns, and the first reason that speaks against each row."""
    is_json = "json_line" in group.column_types
    has_malformed = "malformed_row" in group.column_types
    values, checks = [], []
    if is_json:
        checks.append(
            "when coalesce(json_type(json_line) <> 'OBJECT', true) then 'the line is not a JSON object'"
        )
    if has_malformed:
        checks.append(
            "when malformed_row is not null then 'the row has another number of fields than the header'"
        )
    for name, field in source.fields.items():
        known = is_json or name in group.column_types
        if not known and field.kind != "text_list":
            values.append(f'null as "{name}"')
            checks.append(f"when true then 'column {name} is missing from the file'")
            continue
        column_type = "JSON" if is_json else group.column_types.get(name, '"NULL"')
        raw = f"json_extract(json_line, '$.\"{name}\"')" if is_json else f'"{name}"' if known else "null"
        values.append(f'{_typed(raw, column_type, field)} as "{name}"')
        values.append(f'{_is_missing(raw, column_type)} as "missing {name}"')
        checks += _field_checks(name, field, max_text_length, future_tolerance_hours)
    own_columns = [name for name in group.column_types if name != "malformed_row"]
    whole_row = "line" if is_json else _json_of(own_columns)
    if has_malformed:
        whole_row = f"coalesce(malformed_row, {whole_row})"
    return f"""
        select arrival_day, filename, row_number,
            {", ".join(f'"{name}"' for name in source.fields)},
            case {" ".join(checks)} end as reason,
            case when reason is not null then raw_row end
        from (
            select raw.filename, raw.row_number, {", ".join(values)}, {whole_row} as raw_row
                {", malformed_row" if has_malformed else ""}{", json_line" if is_json else ""}
            from ({group.relation_sql}) raw
        )
        join arrivals using (filename)
    """


def _json_of(columns: Sequence[str]) -> str:
    pairs = ", ".join(f'"{name}" := "{name}"' for name in columns)
    return f"cast(to_json(struct_pack({pairs})) as varchar)"


def _is_missing(raw: str, column_type: str) -> str:
    return f"coalesce(json_type({raw}) = 'NULL', true)" if column_type == "JSON" else f"{raw} is null"


def _typed(raw: str, column_type: str, field: Field) -> str:
    """The value in the contract's type, or null where it does not have it."""
    if column_type == "JSON":
        # ->> would also turn objects into text; only scalars are text.
        text = (
            f"case when json_type({raw}) in ('VARCHAR', 'BIGINT', 'UBIGINT') "
            f"then json_extract_string({raw}, '$') end"
        )
        listed = f"case when json_type({raw}) = 'ARRAY' then try_cast({raw} as varchar[]) end"
        if field.kind == "text_list":
            return f"case when {_is_missing(raw, column_type)} then [] else {_clean_list(listed)} end"
        return _typed(f"({text})", "VARCHAR", field)
    if field.kind == "text":
        return f"cast({raw} as varchar)" if column_type in _TEXT_TYPES else "cast(null as varchar)"
    if field.kind == "text_list":
        if column_type == "VARCHAR[]":
            listed = raw
        elif column_type == "VARCHAR":
            listed = (
                f"case when {raw} like '[%' then try_cast(try_cast({raw} as json) as varchar[]) "
                f"else string_split({raw}, '|') end"
            )
        else:
            listed = "cast(null as varchar[])"
        return f"case when {raw} is null then [] else {_clean_list(listed)} end"
    if field.kind == "integer":
        return f"try_cast({raw} as integer)" if column_type in _TEXT_TYPES else "cast(null as integer)"
    if column_type == "TIMESTAMP WITH TIME ZONE":
        return f"{raw} at time zone 'UTC'"
    if column_type == "DATE" or column_type.startswith("TIMESTAMP"):
        return f"try_cast({raw} as timestamp)"
    if column_type == "VARCHAR":
        # A cast to TIMESTAMP would ignore the zone; TIMESTAMPTZ takes a time without zone as UTC (session zone).
        return (
            f"case when regexp_full_match(trim({raw}), '{_ISO_TIME}') "
            f"then try_cast(trim({raw}) as timestamptz) at time zone 'UTC' end"
        )
    return "cast(null as timestamp)"


def _clean_list(listed: str) -> str:
    return f"list_filter(list_transform({listed}, lambda x: trim(x)), lambda x: x is not null and x <> '')"


def _field_checks(name: str, field: Field, max_text_length: int, future_tolerance_hours: float) -> list[str]:
    missing, value = f'"missing {name}"', f'"{name}"'
    if field.kind == "text_list":
        return [
            f"when {value} is null then '{name} is not a list of texts'",
            f"when list_any_value(list_filter({value}, lambda x: length(x) > {max_text_length})) is not null "
            f"then '{name} holds a text longer than {max_text_length} characters'",
        ]
    checks = [f"when {missing} then '{name} is missing'"]
    if field.kind == "text":
        checks += [
            f"when {value} is null then '{name} is not text'",
            rf"when regexp_full_match({value}, '[\s\p{{C}}\p{{Z}}]*') then '{name} is blank'",
            f"when length({value}) > {max_text_length} "
            f"then '{name} is longer than {max_text_length} characters'",
        ]
        if field.one_of:
            accepted = ", ".join(quote_literal(option) for option in field.one_of)
            # Only a short plain word is repeated: reasons are counted and shown, user text is not.
            checks.append(
                f"when {value} not in ({accepted}) then 'unknown {name}' || "
                f"case when regexp_full_match({value}, '[A-Za-z_-]{{1,30}}') then ' ' || {value} else '' end"
            )
    elif field.kind == "integer":
        checks.append(f"when {value} is null then '{name} is not a whole number'")
        if field.between:
            low, high = field.between
            checks.append(
                f"when {value} not between {low} and {high} then '{name} is not in {low} to {high}'"
            )
    else:
        checks += [
            f"when {value} is null then '{name} is not a time (ISO 8601 expected)'",
            f"when {value} < timestamp '1970-01-01' then '{name} is before 1970'",
            f"when {value} >= arrival_day + interval 1 day + to_seconds({future_tolerance_hours * 3600}) "
            f"then '{name} is in the future of the arrival day'",
        ]
    return checks


def _collect(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    folders: dict[date, Path],
    files: dict[Path, date],
    unreadable: dict[Path, str],
) -> LandedRows:
    columns = ", ".join(f'"{name}"' for name in ("arrival_day", *source.fields))
    accepted = connection.sql(
        f"select distinct {columns} from checked where reason is null order by all"
    ).pl()
    rejected = connection.sql(
        "select arrival_day, "
        f"{quote_literal(source.name)} as source, parse_filename(filename) as file, row_number, reason, raw_row as row "
        "from checked where reason is not null order by all"
    ).pl()
    broken = pl.DataFrame(
        [
            (files[path], source.name, path.name, None, f"unreadable file: {reason}", None)
            for path, reason in sorted(unreadable.items())
        ],
        schema=rejected.schema,
        orient="row",
    )
    counts = connection.sql(
        "select arrival_day, count(*) as rows_read, count(*) filter (reason is null) as rows_good, "
        "count(*) filter (reason is not null) as rows_rejected from checked group by all"
    ).pl()
    kept = accepted.group_by("arrival_day").len("rows_accepted")
    days = (
        _day_files(source, folders, unreadable)
        .join(counts, on="arrival_day", how="left")
        .join(kept, on="arrival_day", how="left")
        .with_columns(
            pl.col("rows_read", "rows_good", "rows_rejected", "rows_accepted").fill_null(0).cast(pl.Int64)
        )
        .with_columns(rows_duplicate=pl.col("rows_good") - pl.col("rows_accepted"))
        .select(list(LANDED_DAYS.columns))
        .sort("arrival_day")
    )
    return LandedRows(accepted, pl.concat([rejected, broken]).select(list(REJECTED_ROWS.columns)), days)


def _day_files(source: Source, folders: dict[date, Path], unreadable: dict[Path, str]) -> pl.DataFrame:
    rows: list[tuple[date, str, str, int, int]] = []
    for day, folder in folders.items():
        paths: Sequence[Path] = landing_files(folder)
        rows.append(
            (day, source.name, fingerprint(paths), len(paths), sum(path in unreadable for path in paths))
        )
    return pl.DataFrame(
        rows,
        schema={
            "arrival_day": pl.Date,
            "source": pl.String,
            "fingerprint": pl.String,
            "files": pl.Int32,
            "unreadable_files": pl.Int32,
        },
        orient="row",
    )
