"""Checking landing rows against their source's contract: good rows typed, bad rows put aside with a reason.

The checks are SQL over whole files in a database of their own in memory, so that one bad row among millions costs
nothing but itself. Rows read = accepted + duplicates + rejected + over the cap of their user, always.
"""

import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import polars as pl

from journeys_dagster.sources.contracts import LANDED_DAYS, MAX_ROW_TEXT, Field, Source
from journeys_dagster.sources.files import (
    FileGroup,
    display_name,
    failure_text,
    file_groups,
    fingerprint,
    landing_files,
    quote_literal,
)

# Ids are often numbers: a whole number counts as text, in every format.
_TEXT_TYPE = re.compile(r"VARCHAR|UUID|U?(TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT)|DECIMAL\(\d+,0\)")
_NUMBER_TYPE = re.compile(r"FLOAT|DOUBLE|DECIMAL\(\d+,\d+\)")
_JSON_TEXT_TYPES = "('VARCHAR', 'BIGINT', 'UBIGINT')"
_ISO_TIME = r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]([01]\d|2[0-3])(:?[0-5]\d)?)?)?"
_WHOLE_NUMBER = r"^\s*([+-]?\d+)(\.0*)?\s*$"
_BLANK = r"[\s\p{C}\p{Z}]*"
_OVER_CAP = {"arrival_day": pl.Date, "user_id": pl.String, "rows_over_cap": pl.Int64}


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
    over_cap : DataFrame
        Users who had more rows in a day than they may have: ``arrival_day``, ``user_id``, ``rows_over_cap``.
    """

    accepted: pl.DataFrame
    rejected: pl.DataFrame
    days: pl.DataFrame
    over_cap: pl.DataFrame


def read_days(
    source: Source,
    folders: dict[date, Path],
    *,
    max_text_length: int,
    future_tolerance_hours: float,
    max_rows_per_user_per_day: int,
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
    max_rows_per_user_per_day : int
        Distinct rows of one user and day that are accepted: the newest by ``occurred_at``, ties by the other columns,
        so that the order of files and rows plays no part. Sources without a user have no such limit.

    Returns
    -------
    LandedRows
        For every day: rows read = accepted + duplicate + rejected + over the cap.
    """
    limits = _Limits(max_text_length, future_tolerance_hours, max_rows_per_user_per_day)
    # DuckDB gives back the paths of files without links and dots.
    files = {day: landing_files(folder.resolve()) for day, folder in folders.items()}
    try:
        return _read(source, files, {}, limits)
    except duckdb.FatalException:
        # A damaged Parquet file can take the database down, and with it what the other files held.
        return _read(source, files, _fatal_files(source, files, limits), limits)


@dataclass(frozen=True)
class _Limits:
    max_text_length: int
    future_tolerance_hours: float
    max_rows_per_user_per_day: int


def _fatal_files(source: Source, files: dict[date, list[Path]], limits: _Limits) -> dict[Path, str]:
    """The files that take the database down, each tried in a database of its own."""
    fatal: dict[Path, str] = {}
    for day, paths in files.items():
        for path in paths:
            try:
                _read(source, {day: [path]}, {}, limits)
            except duckdb.FatalException:
                fatal[path] = "it is damaged; DuckDB breaks down on it"
    return fatal


def _read(source: Source, files: dict[date, list[Path]], unreadable: dict[Path, str], limits: _Limits) -> LandedRows:
    # Taken before the rows are read: should a file change meanwhile, the day counts as changed afterwards.
    fingerprints = {day: fingerprint(paths) for day, paths in files.items()}
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        _create_work_tables(connection, source, files)
        for group in file_groups(connection, [path for paths in files.values() for path in paths], unreadable):
            unreadable |= _take_in(connection, source, group, limits)
        accepted, over_cap = _accepted_rows(connection, source, limits)
        rejected, counts = _rejected_rows(connection, source)
    for frame in (
        accepted.group_by("arrival_day").len("rows_accepted"),
        over_cap.group_by("arrival_day").agg(pl.col("rows_over_cap").sum()),
    ):
        counts = counts.join(frame, on="arrival_day", how="left")
    return LandedRows(
        accepted,
        pl.concat([rejected, _unreadable_rows(source, files, unreadable, rejected.schema)]),
        _landed_days(source, files, fingerprints, unreadable, counts),
        over_cap,
    )


def _create_work_tables(connection: duckdb.DuckDBPyConnection, source: Source, files: dict[date, list[Path]]) -> None:
    arrivals = pl.DataFrame(
        [
            (str(path), display_name(path), day)
            for day, paths in files.items()
            for path in paths
            if display_name(path) == path.name
        ],
        schema={"path": pl.String, "file": pl.String, "arrival_day": pl.Date},
        orient="row",
    )
    connection.register("arrivals", arrivals)
    columns = ", ".join(f'"{name}" {source.table.columns[name].type}' for name in source.fields)
    connection.execute(
        "create table checked (arrival_day date not null, file varchar not null, row_number bigint not null, "
        f"{columns}, reason varchar, row_text varchar)"
    )


def _take_in(
    connection: duckdb.DuckDBPyConnection, source: Source, group: FileGroup, limits: _Limits
) -> dict[Path, str]:
    """Check a group's rows into the work table; the files that cannot be read, with the reason."""
    try:
        connection.execute(f"insert into checked {_check_sql(source, group, limits)}")
    except duckdb.Error as error:
        if len(group.paths) == 1:
            return {group.paths[0]: failure_text(error, group.paths[0])}
        unreadable: dict[Path, str] = {}
        for single in group.single_files():
            unreadable |= _take_in(connection, source, single, limits)
        return unreadable
    return {}


def _check_sql(source: Source, group: FileGroup, limits: _Limits) -> str:
    """Select of the group's rows: typed columns, and the first reason that speaks against each row."""
    values: list[str] = []
    checks = [group.malformed_row_check] if group.malformed_row_check else []
    for name, field in source.fields.items():
        raw, column_type = group.value(name) or ("null", "")
        if not column_type and field.kind != "text_list":
            values.append(f'null as "{name}"')
            checks.append(f"when true then 'column {name} is missing from the file'")
            continue
        values.append(f'{_typed(raw, column_type, field)} as "{name}"')
        values.append(f'{_is_missing(raw, column_type)} as "missing {name}"')
        checks += _field_checks(name, field, limits)
    return f"""
        select arrival_day, file, row_number,
            {", ".join(f'"{name}"' for name in source.fields)},
            case {" ".join(checks)} end as reason,
            case when reason is not null then {_cut(group.row_sql)} end
        from (select raw.*, {", ".join(values)} from ({group.relation_sql}) raw)
        left join arrivals using (path)
    """


def _is_missing(raw: str, column_type: str) -> str:
    return f"coalesce(json_type({raw}) = 'NULL', true)" if column_type == "JSON" else f"{raw} is null"


def _typed(raw: str, column_type: str, field: Field) -> str:
    """The value in the contract's type, or null where it does not have it."""
    if field.kind == "text_list":
        listed = _as_list(raw, column_type)
        return f"case when {_is_missing(raw, column_type)} then [] else {_clean_list(listed)} end"
    if column_type == "JSON":
        kinds = "('VARCHAR', 'BIGINT', 'UBIGINT', 'DOUBLE')" if field.kind == "integer" else _JSON_TEXT_TYPES
        # Objects and lists have a text form too, but are no text.
        raw = f"(case when json_type({raw}) in {kinds} then json_extract_string({raw}, '$') end)"
        column_type = "VARCHAR"
    if field.kind == "text":
        return f"cast({raw} as varchar)" if _TEXT_TYPE.fullmatch(column_type) else "cast(null as varchar)"
    if field.kind == "integer":
        return _as_integer(raw, column_type)
    return _as_time(raw, column_type)


def _as_integer(raw: str, column_type: str) -> str:
    if not _TEXT_TYPE.fullmatch(column_type) and not _NUMBER_TYPE.fullmatch(column_type):
        return "cast(null as integer)"
    # A cast of the value itself would round 4.6 to 5.
    return f"try_cast(regexp_extract(cast({raw} as varchar), '{_WHOLE_NUMBER}', 1) as integer)"


def _as_time(raw: str, column_type: str) -> str:
    if column_type == "VARCHAR":
        # A cast to TIMESTAMP would ignore the zone; TIMESTAMPTZ takes a time without zone as UTC (session zone).
        return (
            f"case when regexp_full_match(trim({raw}), '{_ISO_TIME}') "
            f"then try_cast(trim({raw}) as timestamptz) at time zone 'UTC' end"
        )
    if column_type == "TIMESTAMP WITH TIME ZONE" or column_type.startswith("TIMESTAMPTZ"):
        return f"try_cast({raw} as timestamptz) at time zone 'UTC'"
    if column_type == "DATE" or column_type.startswith("TIMESTAMP"):
        return f"try_cast({raw} as timestamp)"
    return "cast(null as timestamp)"


def _as_list(raw: str, column_type: str) -> str:
    if column_type == "JSON":
        text = f"json_extract_string({raw}, '$')"
        return f"case when json_type({raw}) = 'VARCHAR' then {_split(text)} else {_json_list(raw)} end"
    if column_type == "VARCHAR":
        return _split(raw)
    element_type = column_type.removesuffix("[]")
    if element_type != column_type and (element_type == '"NULL"' or _TEXT_TYPE.fullmatch(element_type)):
        return f"cast({raw} as varchar[])"
    return "cast(null as varchar[])"


def _split(text: str) -> str:
    """A list that is written as text: as JSON, or separated by ``|``."""
    as_json = _json_list(f"try_cast({text} as json)")
    return f"case when {text} like '[%' then {as_json} else string_split({text}, '|') end"


def _json_list(raw: str) -> str:
    # The cast alone would turn nested objects into texts.
    return (
        f"case when json_type({raw}) = 'ARRAY' and len(list_filter(json_type({raw}, '$[*]'), "
        f"lambda kind: kind not in {_JSON_TEXT_TYPES} and kind <> 'NULL')) = 0 "
        f"then try_cast({raw} as varchar[]) end"
    )


def _clean_list(listed: str) -> str:
    return f"list_filter(list_transform({listed}, lambda x: trim(x)), lambda x: not regexp_full_match(x, '{_BLANK}'))"


def _field_checks(name: str, field: Field, limits: _Limits) -> list[str]:
    missing, value = f'"missing {name}"', f'"{name}"'
    if field.kind == "text_list":
        return [
            f"when {value} is null then '{name} is not a list of texts'",
            f"when list_any_value(list_filter({value}, lambda x: length(x) > {limits.max_text_length})) is not null "
            f"then '{name} holds a text longer than {limits.max_text_length} characters'",
        ]
    checks = [f"when {missing} then '{name} is missing'"]
    if field.kind == "text":
        checks += [
            f"when {value} is null then '{name} is not text'",
            f"when regexp_full_match({value}, '{_BLANK}') then '{name} is blank'",
            f"when length({value}) > {limits.max_text_length} "
            f"then '{name} is longer than {limits.max_text_length} characters'",
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
            checks.append(f"when {value} not between {low} and {high} then '{name} is not in {low} to {high}'")
    else:
        checks += [
            f"when {value} is null then '{name} is not a time (ISO 8601 expected)'",
            f"when {value} < timestamp '1970-01-01' then '{name} is before 1970'",
            f"when {value} >= arrival_day + interval 1 day + to_seconds({limits.future_tolerance_hours * 3600}) "
            f"then '{name} is in the future of the arrival day'",
        ]
    return checks


def _cut(text: str) -> str:
    """SQL expression of a text that is told by its beginning and its length where it is long."""
    return (
        f"case when length({text}) <= {MAX_ROW_TEXT} then {text} "
        f"else left({text}, {MAX_ROW_TEXT}) || format(' … ({{:,}} characters)', length({text})) end"
    )


def _accepted_rows(
    connection: duckdb.DuckDBPyConnection, source: Source, limits: _Limits
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Accepted rows, and how many of whom were over the cap."""
    columns = ", ".join(f'"{name}"' for name in ("arrival_day", *source.fields))
    good = f"select distinct {columns} from checked where reason is null"
    if not source.has_user_events or not _find_busy_users(connection, limits):
        return connection.sql(f"{good} order by all").pl(), pl.DataFrame(schema=_OVER_CAP)
    cap = limits.max_rows_per_user_per_day
    connection.execute(
        "create table busy_rows as select *, row_number() over "
        f"(partition by arrival_day, user_id order by occurred_at desc, {columns}) as place "
        f"from ({good} and (arrival_day, user_id) in (from busy_users))"
    )
    accepted = connection.sql(
        f"{good} and (arrival_day, user_id) not in (from busy_users) "
        f"union all select {columns} from busy_rows where place <= {cap} order by all"
    ).pl()
    over_cap = connection.sql(
        f"select arrival_day, user_id, count(*) as rows_over_cap from busy_rows where place > {cap} "
        "group by all order by all"
    ).pl()
    return accepted, over_cap


def _find_busy_users(connection: duckdb.DuckDBPyConnection, limits: _Limits) -> int:
    """Put aside who may be over the cap: duplicates count here. On most days there is nobody."""
    (count,) = connection.execute(
        "create table busy_users as select arrival_day, user_id from checked where reason is null "
        f"group by all having count(*) > {limits.max_rows_per_user_per_day}"
    ).fetchall()[0]
    return count


def _rejected_rows(connection: duckdb.DuckDBPyConnection, source: Source) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rejected rows, and by day the rows read, good and rejected."""
    rejected = connection.sql(
        f"select arrival_day, {quote_literal(source.name)} as source, file, row_number, reason, row_text as row "
        "from checked where reason is not null order by all"
    ).pl()
    counts = connection.sql(
        "select arrival_day, count(*) as rows_read, count(*) filter (reason is null) as rows_good, "
        "count(*) filter (reason is not null) as rows_rejected from checked group by all"
    ).pl()
    return rejected, counts


def _unreadable_rows(
    source: Source, files: dict[date, list[Path]], unreadable: dict[Path, str], schema: pl.Schema
) -> pl.DataFrame:
    return pl.DataFrame(
        [
            (day, source.name, display_name(path), None, f"unreadable file: {unreadable[path]}", None)
            for day, paths in files.items()
            for path in paths
            if path in unreadable
        ],
        schema=schema,
        orient="row",
    )


def _landed_days(
    source: Source,
    files: dict[date, list[Path]],
    fingerprints: dict[date, str],
    unreadable: dict[Path, str],
    counts: pl.DataFrame,
) -> pl.DataFrame:
    days = pl.DataFrame(
        [
            (day, source.name, fingerprints[day], len(paths), sum(path in unreadable for path in paths))
            for day, paths in files.items()
        ],
        schema={
            "arrival_day": pl.Date,
            "source": pl.String,
            "fingerprint": pl.String,
            "files": pl.Int32,
            "unreadable_files": pl.Int32,
        },
        orient="row",
    )
    counted = ("rows_read", "rows_good", "rows_rejected", "rows_accepted", "rows_over_cap")
    return (
        days.join(counts, on="arrival_day", how="left")
        .with_columns(pl.col(counted).fill_null(0).cast(pl.Int64))
        .with_columns(rows_duplicate=pl.col("rows_good") - pl.col("rows_accepted") - pl.col("rows_over_cap"))
        .select(list(LANDED_DAYS.columns))
        .sort("arrival_day")
    )
