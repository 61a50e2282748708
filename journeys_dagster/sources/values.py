"""How values are written in files: ids, times and lists in the spellings of warehouses and languages, as SQL.

What cannot be told for sure, as the order of day and month, is not guessed: the value is null, and its row rejected.
"""

import re
from collections.abc import Sequence

from journeys_dagster.settings import TimeUnit
from journeys_dagster.sources.contracts import Field
from journeys_dagster.tables import quote_literal

BLANK = r"[\s\p{C}\p{Z}]*"
# Ids are often numbers: a whole number counts as text, in every format.
_WHOLE_TYPE = re.compile(r"U?(TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT)|DECIMAL\(\d+,0\)")
_TEXT_TYPE = re.compile(rf"VARCHAR|UUID|{_WHOLE_TYPE.pattern}")
_FRACTION_TYPE = re.compile(r"FLOAT|DOUBLE|DECIMAL\(\d+,\d+\)")
_JSON_TEXT_TYPES = "('VARCHAR', 'BIGINT', 'UBIGINT')"
_WHOLE_NUMBER = r"^\s*([+-]?\d+)(\.0*)?\s*$"
_LARGEST_EXACT = 2**53
# A carriage return stays in the last column of files that were read without minding it.
_BLANKS = "' ' || chr(9) || chr(10) || chr(13)"
_ISO_TIME = r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]([01]\d|2[0-3])(:?[0-5]\d)?)?)?"
_CLOCK = r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?"
# An offset may be followed by its zone's letters. Letters alone, but for UTC's, mean another zone in another place.
_ZONE = (
    r"[Zz]|UTC|GMT|(?:UTC|GMT)?[+-](?:[01]\d|2[0-3])(?::?[0-5]\d)?(?: [A-Z]{2,5}| \(.*\))?"
    r"|[A-Z][A-Za-z_]+(?:/[A-Za-z0-9_+-]+)+"
)
# Java writes the zone's name behind the offset that it had.
_ZONE_NAME = r"(?:\[[A-Za-z0-9/_+-]+\])?"
_YEAR_FIRST = (
    r"^(\d{4}-\d{1,2}-\d{1,2}|\d{4}/\d{1,2}/\d{1,2}|\d{4}\.\d{1,2}\.\d{1,2}|\d{8}|\d{4}-\d{3}|\d{4}-?W\d{2}-?[1-7])"
    rf"(?:[Tt ]+({_CLOCK}|\d{{2}}(?:\d{{2}}(?:\d{{2}}(?:[.,]\d+)?)?)?))?\s*(?:({_ZONE}){_ZONE_NAME})?$"
)
_WEEKDAY = r"^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,? "
_NAMED_MONTH = (
    (rf"^(\d{{1,2}})[ /-]([A-Z][A-Za-z]{{2}})[a-z]*[ /-](\d{{4}})[: ,T]+({_CLOCK})\s*({_ZONE})?$", r"\3 \2 \1|\4|\5"),
    (rf"^([A-Z][a-z]{{2}})[a-z]*\.? (\d{{1,2}}),? (\d{{4}})[, T]+({_CLOCK})\s*({_ZONE})?$", r"\3 \1 \2|\4|\5"),
    (rf"^([A-Z][a-z]{{2}}) +(\d{{1,2}}) ({_CLOCK}) ?({_ZONE})? (\d{{4}})$", r"\5 \1 \2|\3|\4"),
)
_HALF_DAY = r"(?i)^(.*?\b)(\d{1,2})((?::\d\d){1,2}(?:[.,]\d+)?)[ \x{202F}]?([ap])\.?m\b\.?(.*)$"
"""A time by a clock of twelve hours."""
_NO_VALUES = ("", "null", "none", "nan", "n/a", "na", "nil", r"\n", "-", "undefined", "(no genres listed)", "(not set)")
_APART = r"[,;~^•·¦\t\n\x1e\x1f]|::|^\s*#\S+\s+#"
"""What may set a list's entries apart, and seldom stands in a phrase."""
_TAGS = r"^\s*(?:<[A-Za-z0-9][^<>/=]*>)+\s*$"
_MARKUP = r"^\s*<(?:b|br|div|em|hr|i|img|li|ol|p|span|strong|u|ul)>\s*$"
_CALL = r"^\s*\w*\(\s*([\[{].*[\]}])\s*(?:,\s*dtype=\w+\s*)?\)\s*$"
"""A list within a call, as Python prints sets and NumPy arrays."""
_SCALA = r"^\s*(?:Wrapped)?(?:Array|List|Seq|Set|Vector|Buffer)(?:Buffer|Seq)?\(((?s:.*))\)\s*$"
_TUPLE = r"""^\s*\(\s*(['"].*['"])\s*,?\s*\)\s*$"""
_TWICE = r'^\s*"\s*\[.*\]\s*"\s*$'
"""JSON that was written as a text of JSON."""
_BRACKETS = "|".join([r"^\s*[\[{].*[\]}]\s*$", _TAGS, _CALL, _SCALA, _TUPLE, _TWICE])
# A quoted text, or a run without quotes, of a list as Postgres, DuckDB, Python and NumPy write it.
_ELEMENT = r"""[\s,]*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.|'')*'|[^,\s"'][^,]*)"""


def list_facts(name: str, text: str) -> str:
    """How the lists of a file are spelled: texts with `|`, texts without brackets, and those of them with commas."""
    plain = f"not regexp_matches({text}, {quote_literal(_BRACKETS)})"
    return ", ".join(
        f'count(*) filter ({condition}) over (partition by path) as "{fact} {name}"'
        for fact, condition in (
            ("piped", f"contains({text}, '|')"),
            ("plain", plain),
            ("apart", f"regexp_matches({text}, {quote_literal(_APART)}) and {plain}"),
        )
    )


def looks_like_a_list(name: str, text: str) -> str:
    """Whether a text without brackets is one of a column that holds lists in a spelling that is not read.

    One in five of the column's texts, none of them with `|`, has a comma or the like; a few may be phrases.
    """
    return (
        f'"piped {name}" = 0 and 5 * "apart {name}" >= "plain {name}" '
        f"and regexp_matches({text}, {quote_literal(_APART)}) "
        f"and not regexp_matches({text}, {quote_literal(_BRACKETS)})"
    )


def typed_value(raw: str, column_type: str, field: Field, time_unit: TimeUnit | None) -> str:
    """The value in the contract's type, or null where it does not have it."""
    if field.kind == "text_list":
        missing = f"coalesce(json_type({raw}) = 'NULL', true)" if column_type == "JSON" else f"{raw} is null"
        return f"case when {missing} then [] else clean_list({_as_list(raw, column_type)}) end"
    if column_type == "JSON":
        # Objects and lists have a text form too, but are no text.
        text = f"json_extract_string({raw}, '$')"
        if field.kind == "id":
            return (
                f"case json_type({raw}) when 'VARCHAR' then written_id({text}) "
                f"when 'DOUBLE' then whole_number(try_cast({text} as double)) "
                f"when 'BIGINT' then {text} when 'UBIGINT' then {text} end"
            )
        kinds = _JSON_TEXT_TYPES if field.kind == "text" else "('VARCHAR', 'BIGINT', 'UBIGINT', 'DOUBLE')"
        raw, column_type = f"(case when json_type({raw}) in {kinds} then {text} end)", "VARCHAR"
    if field.kind == "id":
        return _as_id(raw, column_type)
    if field.kind == "text":
        text = f"cast({raw} as varchar)" if _TEXT_TYPE.fullmatch(column_type) else "cast(null as varchar)"
        return _one_of(text, field.one_of) if field.one_of else text
    if field.kind == "integer":
        return _as_integer(raw, column_type)
    return _as_time(raw, column_type, time_unit)


def _as_id(raw: str, column_type: str) -> str:
    if column_type == "VARCHAR":
        return f"written_id({raw})"
    if _TEXT_TYPE.fullmatch(column_type):
        return f"cast({raw} as varchar)"
    return f"whole_number({raw})" if _FRACTION_TYPE.fullmatch(column_type) else "cast(null as varchar)"


def _one_of(text: str, options: Sequence[str]) -> str:
    """The option that is meant, whatever its capitals and the blanks around it."""
    known = " ".join(f"when {quote_literal(option.lower())} then {quote_literal(option)}" for option in options)
    return f"case lower(trim({text})) {known} else trim({text}) end"


def _as_integer(raw: str, column_type: str) -> str:
    if not _TEXT_TYPE.fullmatch(column_type) and not _FRACTION_TYPE.fullmatch(column_type):
        return "cast(null as integer)"
    # A cast of the value itself would round 4.6 to 5.
    return f"try_cast(regexp_extract(cast({raw} as varchar), '{_WHOLE_NUMBER}', 1) as integer)"


def _as_time(raw: str, column_type: str, time_unit: TimeUnit | None) -> str:
    if column_type == "VARCHAR":
        written = f"written_time(trim({raw}, {_BLANKS}))"
        return f"coalesce({written}, {_of_number(raw, time_unit)})" if time_unit else written
    if column_type == "TIMESTAMP WITH TIME ZONE" or column_type.startswith("TIMESTAMPTZ"):
        return f"try_cast({raw} as timestamptz) at time zone 'UTC'"
    if column_type == "DATE" or column_type.startswith("TIMESTAMP"):
        return f"try_cast({raw} as timestamp)"
    if time_unit and (_WHOLE_TYPE.fullmatch(column_type) or _FRACTION_TYPE.fullmatch(column_type)):
        return _of_number(raw, time_unit)
    return "cast(null as timestamp)"


def _of_number(raw: str, time_unit: TimeUnit) -> str:
    microseconds = {"s": "* 1000000", "ms": "* 1000", "us": "", "ns": "/ 1000"}[time_unit]
    return f"counted_time(try_cast({raw} as decimal(28, 6)) {microseconds})"


def _as_list(raw: str, column_type: str) -> str:
    if column_type == "JSON":
        text = f"json_extract_string({raw}, '$')"
        return f"case when json_type({raw}) = 'VARCHAR' then written_list({text}) else json_list({raw}) end"
    if column_type == "VARCHAR":
        return f"written_list({raw})"
    element_type = column_type.removesuffix("[]")
    if element_type != column_type and (element_type == '"NULL"' or _TEXT_TYPE.fullmatch(element_type)):
        return f"cast({raw} as varchar[])"
    return "cast(null as varchar[])"


def _with_year_first(text: str) -> str:
    """SQL: a time with a month's name as ``year month day|clock|zone``."""
    for pattern, order in _NAMED_MONTH:
        text = f"regexp_replace({text}, {quote_literal(pattern)}, {quote_literal(order)})"
    return text


_WITHOUT_VALUE = ", ".join(quote_literal(word) for word in _NO_VALUES)
VALUE_MACROS = (
    # A trace of addresses, of markup, of entities, or of UTF-8 that was read as another encoding.
    r"""create macro has_wrapping(text) as regexp_matches(
        text,
        '%[0-9A-Fa-f]{2}|\S\+\S|\x{FFFD}|& ?amp|&[#A-Za-z]|<[A-Za-z/!]|\]\]>'
        || '|[Â-ÅÎ-ÑÖ-Ûâã-ïð][\x{80}-\x{BF}€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ«»]'
    )""",
    # Most ids are plain. Blanks around the others mean nothing, nor does the fraction of a whole number.
    r"""create macro written_id(raw) as case
        when regexp_full_match(raw, '[A-Za-z0-9_:@-]+') then raw
        -- A spreadsheet keeps a number's zeros where it is a formula.
        else regexp_replace(
            regexp_replace(raw, '^[\s\p{C}\p{Z}]+|[\s\p{C}\p{Z}]+$', '', 'g'), '^(?:(-?\d+)\.0+|="([^"]*)")$', '\1\2'
        )
    end""",
    f"""create macro whole_number(number) as case
        when number = trunc(number) and abs(number) < {_LARGEST_EXACT} then cast(cast(number as bigint) as varchar)
    end""",
    """create macro counted_time(microseconds) as case
        when microseconds between 0 and 253402300799000000 then make_timestamp(cast(trunc(microseconds) as bigint))
    end""",
    # A clock may be without colons; no clock is midnight.
    r"""create macro clock_time(clock) as try_cast(case
        when clock = '' then '00:00'
        when contains(clock, ':') then replace(clock, ',', '.')
        when length(clock) = 2 then clock || ':00'
        else rtrim(regexp_replace(replace(clock, ',', '.'), '^(\d\d)(\d\d)(\d\d)?', '\1:\2:\3'), ':')
    end as time)""",
    r"""create macro calendar_day(day) as cast(case
        when contains(day, 'W') then try_strptime(replace(day, '-', ''), '%GW%V%u')
        when regexp_full_match(day, '\d{8}') then try_strptime(day, '%Y%m%d')
        when regexp_full_match(day, '\d{4}-\d{3}') then try_strptime(day, '%Y-%j')
        when regexp_matches(day, '[A-Z]') then try_strptime(day, '%Y %b %d')
        else try_cast(translate(day, '/.', '--') as timestamp)
    end as date)""",
    r"""create macro offset_minutes(zone) as case
        when not regexp_matches(zone, '[+-]\d\d') then 0
        else cast(regexp_extract(zone, '([+-])\d', 1) || '1' as integer) * (
            60 * cast(regexp_extract(zone, '[+-](\d\d)', 1) as integer)
            + coalesce(try_cast(regexp_extract(zone, '[+-]\d\d:?(\d\d)', 1) as integer), 0)
        )
    end""",
    r"""create macro in_utc(local, zone) as case
        -- At the beginning only: Etc/GMT+2 is a name, of what is two hours behind.
        when zone in ('', 'Z', 'z', 'UTC', 'GMT') or regexp_matches(zone, '^(?:UTC|GMT)?[+-]\d\d')
            then local - to_minutes(offset_minutes(zone))
        when list_contains(getvariable('time_zones'), zone) then timezone(zone, local) at time zone 'UTC'
    end""",
    # Over a list of one, so that what is made is made once.
    f"""create macro of_24_hours(written) as list_transform(
        [regexp_extract(written, {quote_literal(_HALF_DAY)}, ['before', 'hour', 'rest', 'half', 'after'])],
        lambda part: case when try_cast(part.hour as integer) between 1 and 12
            then part.before || (part.hour::integer % 12 + if(lower(part.half) = 'p', 12, 0)) || part.rest || part.after
        end
    )[1]""",
    rf"""create macro time_parts(written) as case
        when regexp_matches(written, {quote_literal(_YEAR_FIRST)})
            then regexp_extract(written, {quote_literal(_YEAR_FIRST)}, ['day', 'clock', 'zone'])
        when regexp_matches(written, '[A-Z][A-Za-z]{{2}}.*\d:\d\d') then list_transform(
            [string_split({_with_year_first(f"regexp_replace(written, '{_WEEKDAY}', '')")}, '|')],
            lambda part: {{'day': part[1], 'clock': part[2], 'zone': part[3]}}
        )[1]
    end""",
    # A cast to TIMESTAMP would ignore the zone; TIMESTAMPTZ takes a time without zone as UTC (session zone).
    rf"""create macro written_time(written) as case
        when regexp_full_match(written, '{_ISO_TIME}') then try_cast(written as timestamptz) at time zone 'UTC'
        when regexp_full_match(written, '(?:19|20)\d{{12}}') then try_strptime(written, '%Y%m%d%H%M%S')
        else list_transform(
            list_transform(
                [if(regexp_matches(written, {quote_literal(_HALF_DAY)}), of_24_hours(written), written)],
                lambda whole: time_parts(whole)
            ),
            lambda part: in_utc(calendar_day(part.day) + clock_time(part.clock), part.zone)
        )[1]
    end""",
    # The cast alone would turn nested objects into texts.
    f"""create macro json_list(written) as case
        when json_type(written) = 'ARRAY' and len(list_filter(
            json_type(written, '$[*]'), lambda kind: kind not in {_JSON_TEXT_TYPES} and kind <> 'NULL'
        )) = 0 then try_cast(written as varchar[])
    end""",
    r"""create macro unquoted(element) as case
        when starts_with(element, '"') then regexp_replace(element[2:-2], '\\(.)', '\1', 'g')
        when starts_with(element, '''') then regexp_replace(replace(element[2:-2], '''''', ''''), '\\(.)', '\1', 'g')
        else element
    end""",
    f"""create macro listed_elements(inside) as list_transform(
        regexp_extract_all(inside, {quote_literal(_ELEMENT)}, 1), lambda element: unquoted(trim(element))
    )""",
    # Over a list of one, so that it is unwrapped once.
    f"""create macro unwrapped_list(written) as case
        when regexp_matches(written, {quote_literal(_CALL)}) then regexp_extract(written, {quote_literal(_CALL)}, 1)
        when regexp_matches(written, {quote_literal(_TUPLE)})
            then '[' || regexp_extract(written, {quote_literal(_TUPLE)}, 1) || ']'
        when regexp_matches(written, {quote_literal(_SCALA)})
            then '[' || regexp_extract(written, {quote_literal(_SCALA)}, 1) || ']'
        when regexp_matches(written, {quote_literal(_TWICE)}) then case
            when json_valid(written) then json_extract_string(written, '$')
            else replace(trim(written)[2:-2], '""', '"')
        end
        else written
    end""",
    r"""create macro bare_list(written) as case
        when regexp_matches(written, '^\s*\[') then case
            when json_valid(written) then json_list(try_cast(written as json))
            when regexp_matches(written, '^\s*\[[^\[\]{}]*\]\s*$')
                then listed_elements(regexp_extract(written, '\[(?s:(.*))\]', 1))
        end
        when regexp_matches(written, '^\s*\{[^{}:]*\}\s*$')
            then listed_elements(regexp_extract(written, '\{(?s:(.*))\}', 1))
        when regexp_matches(written, '^\s*\{.*\}\s*$') then null
        else string_split(written, '|')
    end""",
    f"""create macro written_list(written) as case
        when regexp_matches(written, {quote_literal(_TAGS)}) and not regexp_matches(written, {quote_literal(_MARKUP)})
            then regexp_extract_all(written, '<([^<>]+)>', 1)
        else list_transform([unwrapped_list(written)], lambda bare: bare_list(bare))[1]
    end""",
    rf"""create macro clean_list(listed) as list_filter(
        list_transform(listed, lambda element: trim(element)),
        lambda element: not regexp_full_match(element, '{BLANK}') and lower(element) not in ({_WITHOUT_VALUE})
    )""",
)
"""Macros of the database in which files are read, in the order in which they need each other."""
