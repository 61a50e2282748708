"""What the counts of an inspection say: of sources, items, clocks and texts. Queries over `inspected_rows`' tables.

Numbers only, but for the sample of texts. Ids belong to `inspected_ids`, what is to be done to
`inspected_findings`.
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from itertools import pairwise
from typing import Any

import duckdb

from journeys_dagster.tables import quote_literal

LONG_AGO_DAYS = 30
"""Days between an event and its arrival above which its clock, or its delivery, is out of the ordinary."""
_SCRIPTS = (
    "Latin", "Han", "Cyrillic", "Arabic", "Thai", "Devanagari", "Hangul", "Hiragana", "Katakana", "Hebrew", "Greek",
)  # fmt: skip
_DEFAULT_DAYS = "happened_on in ('1970-01-01', '1970-01-02', '1980-01-01', '1980-01-06', '2000-01-01', '2001-01-01')"
"""Days at which clocks stand that were never set: of Unix, DOS, GPS, cameras and Apple."""


NO_ROWS: Mapping[str, Any] = {
    **dict.fromkeys(("rows_read", "rows_accepted", "rows_duplicate", "rows_over_cap", "rows_rejected"), 0),
    "users": None, "first_event": None, "last_event": None, "rows_repeated_share": 0.0,
}  # fmt: skip
"""What `source_facts` says of a source of which no row could be read."""


def source_facts(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, Any]]:
    """Of each source with rows: how many there are of what kind, of how many users, of what time."""
    found = dicts(
        connection,
        """
        select source, rows_read, rows_read - rows_rejected - rows_duplicate - rows_over_cap as rows_accepted,
            rows_duplicate, rows_over_cap, rows_rejected, users, first_event, last_event, rows_repeated_share
        from (select source, sum(rows_read)::bigint as rows_read, sum(rows_rejected)::bigint as rows_rejected from days
            group by source)
        left join (
            select source, sum(rows_good - rows_distinct)::bigint as rows_duplicate,
                sum(rows_over_cap)::bigint as rows_over_cap from kept_rows group by source
        ) using (source)
        left join (select source, count(distinct user_id) as users from people group by source) using (source)
        left join (select source, min(first) as first_event, max(last) as last_event from times group by source)
            using (source)
        left join (
            select source, 1 - count(distinct hash) / count(*) as rows_repeated_share from repeats group by source
        ) using (source)
        order by source
        """,
    )
    return {
        each.pop("source"): {
            name: 0 if value is None and name.startswith("rows") else value for name, value in each.items()
        }
        for each in found
    }


def day_counts(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """By source and day: rows read and rejected."""
    return dicts(connection, "select * from days order by source, arrival_day")


def rejected_facts(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """By source and reason: rows, days, the first place and its row; most rows first. The row is not masked yet."""
    return dicts(
        connection,
        """
        select source, reason, sum(rows)::bigint as rows, sum(days)::bigint as days,
            min(first).arrival_day as first_day, min(first).file as first_file, min(first).row_number as first_row,
            arg_min(example, first) as example
        from reasons group by source, reason order by rows desc, source, reason
        """,
    )


def item_facts(connection: duckdb.DuckDBPyConnection, with_items: Sequence[str]) -> dict[str, Any]:
    """Items that people did something with: known or not, and giving keywords or not."""
    sources = ", ".join(quote_literal(name) for name in with_items) or "null"
    items = row(
        connection,
        f"""
        select count(*) as engaged, count(*) filter (first_day is null) as unknown,
            count(*) filter (not gives_keywords) as silent
        from (select distinct item_id from things where source in ({sources})) left join catalogue using (item_id)
        """,
    )
    events = row(
        connection,
        "select sum(rows)::bigint as rows, sum(unknown)::bigint as rows_unknown, "
        "sum(later)::bigint as rows_before_item, sum(silent)::bigint as rows_silent, count(distinct user_id) filter "
        "(unknown > 0) as users_unknown, "
        "count(distinct user_id) filter (later > 0) as users_before_item, "
        f"count(distinct user_id) filter (silent > 0) as users_silent from people where source in ({sources})",
    )
    known = row(
        connection,
        "select count(*) as known, count(*) filter (not gives_keywords) as known_silent, min(first_day) as first_day "
        "from catalogue",
    )
    return {
        name: 0 if value is None and name != "first_day" else value for name, value in (items | events | known).items()
    }


def clock_facts(connection: duckdb.DuckDBPyConnection, events: Sequence[str], *, lookback_days: int) -> dict[str, Any]:
    """Times of events against the days on which they arrived."""
    sources = ", ".join(quote_literal(name) for name in events) or "null"
    connection.execute(
        "create or replace temp table lags as select source, arrival_day - happened_on as lag, happened_on, "
        f"at_midnight, on_the_hour, rows, arrival_day from times where source in ({sources})"
    )
    usual = row(
        connection,
        "select coalesce(min(lag) filter (2 * upto >= total), 0) as lag from (select lag, sum(sum(rows)) over "
        "(order by lag) as upto, sum(sum(rows)) over () as total from lags group by lag)",
    )["lag"]
    found = row(
        connection,
        f"""
        select sum(rows) as rows, {usual} as usual_lag,
            sum(rows) filter (lag < 0) as rows_ahead, sum(rows) filter (lag > {LONG_AGO_DAYS}) as rows_long_ago,
            sum(rows) filter ({_DEFAULT_DAYS} and lag > 366) as rows_at_default,
            sum(rows) filter (lag > {lookback_days}) as rows_too_old
        from lags
        """,
    )
    users = row(
        connection,
        f"""
        select count(*) as users, count(*) filter (newest > {usual + LONG_AGO_DAYS}) as users_long_ago,
            count(*) filter (oldest < least({usual}, 0)) as users_ahead,
            sum(rows) filter (newest > {usual + LONG_AGO_DAYS}) as rows_of_users_long_ago,
            sum(rows) filter (oldest < least({usual}, 0)) as rows_of_users_ahead
        from (
            select sum(rows) as rows, min(newest_lag) as newest, max(oldest_lag) as oldest from people
            where source in ({sources}) group by user_id
        )
        """,
    )
    coarse = dicts(
        connection,
        "select source, sum(rows)::bigint as rows, sum(at_midnight)::bigint as at_midnight, "
        "sum(on_the_hour)::bigint as on_the_hour from lags group by source order by source",
    )
    counts = {name: int(value or 0) for name, value in (found | users).items()}
    return counts | {"precision": coarse}


def text_facts(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, Any]]:
    """Of each field a sample of its distinct texts, and their shares by script."""
    counted = {script: f"length(regexp_replace(text, '[^\\p{{{script}}}]', '', 'g'))" for script in _SCRIPTS} | {
        "other": "length(regexp_replace(text, '[^\\p{L}]', '', 'g'))"
    }
    names = {"Hiragana": "Kana", "Katakana": "Kana"}
    facts: dict[str, dict[str, Any]] = {}
    for (field,) in connection.execute("select distinct field from texts order by field").fetchall():
        sample = connection.execute("select text from texts where field = ? order by hash, text", [field]).fetchall()
        lengths = connection.execute(
            f"select {', '.join(counted.values())} from texts where field = ?", [field]
        ).fetchall()
        scripts: dict[str, int] = {}
        for counts in lengths:
            letters = dict(zip(counted, counts, strict=True))
            letters["other"] -= sum(letters[script] for script in _SCRIPTS)
            best = max(letters, key=lambda script: letters[script])
            name = names.get(best, best) if letters[best] > 0 else "none"
            scripts[name] = scripts.get(name, 0) + 1
        shares = {
            name: count / len(lengths) for name, count in sorted(scripts.items(), key=lambda each: (-each[1], each[0]))
        }
        facts[field] = {
            "sampled": len(sample),
            "scripts": shares,
            "sample": [text for (text,) in sample],
        }
    return facts


def gaps(days: Sequence[date]) -> list[tuple[date, date]]:
    """Ranges of days that are missing between the first and the last."""
    ordered = sorted(set(days))
    one = timedelta(days=1)
    return [(a + one, b - one) for a, b in pairwise(ordered) if b - a > one]


def row(connection: duckdb.DuckDBPyConnection, sql: str) -> dict[str, Any]:
    """The one row of a query, by column."""
    return dicts(connection, sql)[0]


def dicts(connection: duckdb.DuckDBPyConnection, sql: str) -> list[dict[str, Any]]:
    """The rows of a query, by column."""
    found = connection.execute(sql)
    names = [column[0] for column in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
