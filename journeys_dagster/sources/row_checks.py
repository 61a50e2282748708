"""The contract of a source as SQL: a row's values in their types, and the first reason to reject it."""

import re
from dataclasses import dataclass

from journeys_dagster.sources.contracts import MAX_ROW_TEXT, Field, Source
from journeys_dagster.sources.files import FileGroup
from journeys_dagster.tables import quote_literal

# Ids are often numbers: a whole number counts as text, in every format.
_TEXT_TYPE = re.compile(r"VARCHAR|UUID|U?(TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT)|DECIMAL\(\d+,0\)")
_NUMBER_TYPE = re.compile(r"FLOAT|DOUBLE|DECIMAL\(\d+,\d+\)")
_JSON_TEXT_TYPES = "('VARCHAR', 'BIGINT', 'UBIGINT')"
_ISO_TIME = r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]([01]\d|2[0-3])(:?[0-5]\d)?)?)?"
_WHOLE_NUMBER = r"^\s*([+-]?\d+)(\.0*)?\s*$"
_BLANK = r"[\s\p{C}\p{Z}]*"


@dataclass(frozen=True)
class Limits:
    """What the settings allow: see `journeys_dagster.sources.reader.read_days`."""

    max_text_length: int
    future_tolerance_hours: float
    max_rows_per_user_per_day: int


def check_sql(source: Source, group: FileGroup, limits: Limits) -> str:
    """Select of the group's rows: typed columns, and the first reason to reject each row."""
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


def _field_checks(name: str, field: Field, limits: Limits) -> list[str]:
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
    """SQL expression of a text, cut to its beginning and its length where it is long."""
    return (
        f"case when length({text}) <= {MAX_ROW_TEXT} then {text} "
        f"else left({text}, {MAX_ROW_TEXT}) || format(' … ({{:,}} characters)', length({text})) end"
    )
