"""Ids of users and items as an inspection sees them: that may be one and count as two, or that may be nobody.

Queries over `inspected_rows`' tables. Ids leave this module as shapes only.
"""

from typing import Any

import duckdb

from journeys_dagster.sources.inspected_facts import dicts, row
from journeys_dagster.sources.shapes import shape
from journeys_dagster.tables import quote_literal

_NOBODY = (
    "test", "tester", "testuser", "test-user", "test_user", "admin", "administrator", "root", "system", "nobody",
    "no_user", "no-user", "no user", "nouser", "user", "users", "default", "dummy", "empty", "missing", "blank",
    "deleted", "deleted_user", "removed", "anon", "anonym", "anonymous_user", "anonymous-user", "visitor", "public",
    "everyone", "logged_out", "logged out", "not logged in", "not_logged_in", "unauthenticated", "unknown_user", "bot",
    "n.a.", "na", "?", "-", "--", "_", ".", "*", "#", "true", "false", "[]", "{}", "null null", "user_id", "userid",
    "id", "#ref!", "#value!", "#name?", "#null!", "#div/0!", "inf", "infinity", "-inf", "void", "nothing", "no value",
)  # fmt: skip
_UUID = r"[{(]?[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}[)}]?"
_PLAIN_FORMS = {
    "capitals": ("lower(id)", "true"),
    "leading zeros": ("ltrim(id, '0')", r"regexp_full_match(id, '\d+')"),
    "hyphens or brackets": (
        "translate(lower(id), '-{}()', '')", f"regexp_full_match(lower(id), '{_UUID}')",
    ),
    "quotes": ("""trim(id, '="''`')""", "true"),
    "accents composed in two ways": ("nfc_normalize(id)", "true"),
}  # fmt: skip
"""By what two ids differ that may be one: the form in which they do not, and which ids have it."""
_SCIENTIFIC = r"[+-]?\d([.,]\d+)?[eE]\+\d+|\d[.,]\d+[eE]\d+"


def id_facts(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """Ids of users and items that may be one and are counted as two, or may be nobody."""
    connection.execute(
        "create or replace temp table user_ids as select user_id as id, sum(rows) as rows, sum(padded) as padded, "
        "sum(fractions) as fractions from people group by user_id"
    )
    connection.execute(
        "create or replace temp table item_ids as select item_id as id, sum(rows) as rows, sum(padded) as padded, "
        "sum(fractions) as fractions from things group by item_id"
    )
    placeholders = dicts(
        connection,
        "select source, field, word, sum(rows)::bigint as rows from placeholders group by all order by rows desc, "
        "source, field, word",
    )
    return {
        "users": _ids(connection, "user_ids") | {"busiest": _busiest(connection), "shared": _shared(connection)},
        "items": _ids(connection, "item_ids"),
        "placeholders": placeholders,
    }


def _ids(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, Any]:
    nobody = ", ".join(quote_literal(word) for word in _NOBODY)
    found = row(
        connection,
        f"""
        select count(*) as ids, sum(rows)::bigint as rows,
            count(*) filter (padded > 0) as with_blanks, sum(padded)::bigint as rows_with_blanks,
            count(*) filter (fractions > 0) as with_fraction, sum(fractions)::bigint as rows_with_fraction,
            count(*) filter (padded + fractions between 1 and rows - 1 or (padded > 0 and fractions > 0))
                as spelled_in_two_ways,
            count(*) filter (is_scientific) as scientific, sum(rows) filter (is_scientific) as rows_scientific,
            min(id) filter (is_scientific) as example,
            count(*) filter (is_long) as long, count(*) filter (is_long and ends_with(id, '0')) as long_with_last_zero,
            count(*) filter (is_nobody) as nobody, sum(rows) filter (is_nobody) as rows_nobody
        from (
            select *, regexp_full_match(id, {quote_literal(_SCIENTIFIC)}) as is_scientific,
                regexp_full_match(id, '\\d{{16,}}') as is_long,
                lower(id) in ({nobody}) or regexp_full_match(lower(id), '[0-]{{4,}}|[f-]{{8,}}|9{{6,}}|[x*?#]{{2,}}')
                    as is_nobody
            from {table}
        )
        """,
    )
    example = found.pop("example")
    return {
        **{name: int(value or 0) for name, value in found.items()},
        "scientific_example": None if example is None else shape(example).replace("x", "E"),
        "alike": {kind: alike for kind in _PLAIN_FORMS if (alike := _alike(connection, table, kind))["groups"]},
    }


def _alike(connection: duckdb.DuckDBPyConnection, table: str, kind: str) -> dict[str, Any]:
    plain, having = _PLAIN_FORMS[kind]
    found = row(
        connection,
        f"""
        select count(*) as groups, sum(ids)::bigint as ids, sum(rows)::bigint as rows, min(pair) as pair
        from (
            select count(*) as ids, sum(rows) as rows, (list(id order by id))[1:2] as pair from {table} where {having}
            group by {plain} having count(*) > 1
        )
        """,
    )
    pair = found.pop("pair") or []
    return found | {"example": " and ".join(shape(each) for each in pair)}


def _busiest(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """The user with the most rows, and what is usual."""
    return row(
        connection,
        "select max(rows)::bigint as rows, max(rows) / sum(rows) as share, median(rows)::bigint as usual_rows, "
        "count(*) as users from user_ids",
    )


def _shared(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """Of each pair of sources with users in common: how many."""
    return dicts(
        connection,
        "with seen as (select distinct source, user_id from people) "
        "select a.source, b.source as other, count(*) as users from seen a join seen b using (user_id) where "
        "a.source < b.source group by all order by a.source, b.source",
    )
