"""The contract of a source as SQL: a row's values in their types, and the first reason to reject it."""

from collections.abc import Sequence

from journeys_dagster.settings import LandingSettings
from journeys_dagster.sources.columns import shown_names
from journeys_dagster.sources.contracts import MAX_ROW_TEXT, Field, Source
from journeys_dagster.sources.files import FileGroup
from journeys_dagster.sources.values import BLANK, list_facts, looks_like_a_list, typed_value
from journeys_dagster.tables import quote_literal

_DAY_AND_MONTH = r"\s*\d{1,2}[./-]\d{1,2}[./-]\d{2,4}\b.*"
_NUMBER = r"\s*-?\d+(\.\d+)?([eE][+-]?\d+)?\s*"


def check_sql(source: Source, group: FileGroup, landing: LandingSettings, *, written: Sequence[str] = ()) -> str:
    """Select of the group's rows: typed columns, and the first reason to reject each row.

    It needs the macros `VALUE_MACROS` and a table ``arrivals``. Of the fields in `written` it also gives what stands in
    the file where that is not the value itself.
    """
    values: list[str] = []
    checks = [group.malformed_row_check] if group.malformed_row_check else []
    facts: list[str] = []
    texts = dict.fromkeys(written, "cast(null as varchar)")
    for name, field in source.fields.items():
        if name in source.constants:
            raw, column_type = quote_literal(source.constants[name]), "VARCHAR"
        else:
            raw, column_type = group.value(name) or ("null", "")
        if not column_type and field.is_optional:
            values.append(f'null as "{name}", true as "missing {name}"')
            continue
        if not column_type and field.kind != "text_list":
            values.append(f'null as "{name}"')
            checks.append(f"when true then {quote_literal(_missing_column(name, group))}")
            continue
        value, missing = typed_value(raw, column_type, field, source.time_unit), _is_missing(raw, column_type)
        text = f"json_extract_string({raw}, '$')" if column_type == "JSON" else f"cast({raw} as varchar)"
        if field.is_optional:
            missing = f"({missing} or {_says_nothing(text, field, landing)})"
            value = f"case when not {missing} then {value} end"
        values.append(f'{f"left({value}, {landing.max_text_length})" if field.is_cut else value} as "{name}"')
        values.append(f'{missing} as "missing {name}"')
        if field.kind == "text_list" and column_type in {"VARCHAR", "JSON"}:
            facts.append(list_facts(name, text))
            checks.append(
                f"when {looks_like_a_list(name, text)} then "
                f"'{name} look like a list with another separator than |: write a|b|c, or JSON'"
            )
        checks += _field_checks(name, field, source, landing, text)
        if name in texts:
            texts[name] = f'nullif({text}, "{name}")'
    checks += [f"when {condition} then {quote_literal(reason)}" for reason, condition in source.row_checks.items()]
    of_files = f"select *, {', '.join(facts)} from ({group.relation_sql})" if facts else group.relation_sql
    return f"""
        select arrival_day, file, row_number,
            {", ".join(f'"{name}"' for name in source.fields)},
            case {" ".join(checks)} end as reason,
            case when reason is not null then {_cut(group.row_sql)} end{"".join(f", {text}" for text in texts.values())}
        from (select raw.*, {", ".join(values)} from ({of_files}) raw)
        left join arrivals using (path)
    """


def _missing_column(name: str, group: FileGroup) -> str:
    return f"column {name} is missing from the file, which has {shown_names(list(group.column_types))}"


def _is_missing(raw: str, column_type: str) -> str:
    return f"coalesce(json_type({raw}) = 'NULL', true)" if column_type == "JSON" else f"{raw} is null"


def _field_checks(name: str, field: Field, source: Source, landing: LandingSettings, text: str) -> list[str]:
    """Why a value is none of the contract; `text` is what stands in the file."""
    missing, value, longest = f'"missing {name}"', f'"{name}"', landing.max_text_length
    if field.kind == "text_list":
        return [
            f"when {value} is null then '{name} is not a list of texts'",
            f"when list_any_value(list_filter({value}, lambda x: length(x) > {longest})) is not null "
            f"then '{name} holds a text longer than {longest} characters'",
        ]
    checks = [] if field.is_optional else [f"when {missing} then '{name} is missing'"]
    if field.kind in {"text", "id"}:
        if field.kind == "id":
            checks.append(
                f"when {value} is null and not {missing} and regexp_full_match({text}, '{_NUMBER}') then '{name} is a "
                "number with a fraction, or too large to be exact: write it as text'"
            )
        checks += [
            f"when {value} is null and not {missing} then '{name} is not text'",
            f"when regexp_full_match({value}, '{BLANK}') then '{name} is blank'",
            f"when length({value}) > {longest} then '{name} is longer than {longest} characters'",
        ]
        if field.kind == "id":
            checks.append(_placeholder_check(name, landing))
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
            f"when {value} is null and regexp_full_match({text}, '{_NUMBER}') then '{name} is a number: say in "
            f"sources.{source.name}.time_unit whether it counts s, ms, us or ns'",
            f"when {value} is null and regexp_full_match({text}, '{_DAY_AND_MONTH}') then '{name} does not tell the "
            "day from the month: write 2025-06-30T14:00:00Z'",
            f"when {value} is null then '{name} is not a time (ISO 8601 expected)'",
            f"when {value} < timestamp '1970-01-01' then '{name} is before 1970'",
            f"when {value} >= arrival_day + interval 1 day + to_seconds({landing.future_tolerance_hours * 3600}) "
            f"then '{name} is in the future of the arrival day'",
        ]
    return checks


def _says_nothing(text: str, field: Field, landing: LandingSettings) -> str:
    """Whether what stands in the file is blank or, in place of an id, a word for nothing."""
    words = [word.lower() for word in landing.no_user if field.kind == "id" and not word.removeprefix("-").isdigit()]
    listed = ", ".join(map(quote_literal, ["", *words]))
    return f"coalesce(regexp_full_match({text}, '{BLANK}') or lower(trim({text})) in ({listed}), false)"


def _placeholder_check(name: str, landing: LandingSettings) -> str:
    """Of a user every placeholder of the settings; of another thing those that are no plain number."""
    # A header that was written again, where files were joined, names its columns.
    words = [*(word.lower() for word in landing.no_user), name]
    if name != "user_id":
        words = [word for word in words if not word.removeprefix("-").isdigit()]
    listed = ", ".join(quote_literal(word) for word in words) or "null"
    zeros = f" or regexp_full_match(\"{name}\", '0+')" if "0" in words else ""
    return (
        f"when lower(\"{name}\") in ({listed}){zeros} then '{name} is a word for nobody or nothing (landing.no_user)'"
    )


def _cut(text: str) -> str:
    """SQL expression of a text, cut to its beginning and its length where it is long."""
    return (
        f"case when length({text}) <= {MAX_ROW_TEXT} then {text} "
        f"else left({text}, {MAX_ROW_TEXT}) || format(' … ({{:,}} characters)', length({text})) end"
    )
