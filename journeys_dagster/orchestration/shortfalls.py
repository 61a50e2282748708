"""What a home's lists lack: rows of the day, items that nobody has described yet, lists older than what they need."""

from collections.abc import Collection, Iterator, Mapping
from datetime import date
from typing import Any

from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.sources.survey import Survey

ITEMS_KNOWN = "engaged_items_are_known"
"""The audit that looks for them."""
LANDED_ROWS = """
    select coalesce(sum(rows_read), 0) as rows, coalesce(sum(unreadable_files), 0) as unreadable,
        coalesce(sum(rows_accepted), 0) as accepted,
        (select max(arrival_day) from landed_days where arrival_day < $as_of and rows_accepted > 0) as last_before
    from landed_days where arrival_day = $as_of
"""
UNKNOWN_ITEMS = """
    with engaged as (select item_id from user_events where as_of = $as_of and item_id is not null group by item_id),
    known as (select item_id, min(arrival_day) as since from items semi join engaged using (item_id) group by item_id)

    select count(*) as engaged, count(*) filter (since is null or since > $as_of) as unknown,
        count(*) filter (since > $as_of) as arrived_later, min(since) filter (since > $as_of) as first_day,
        max(since) filter (since > $as_of) as last_day
    from engaged left join known using (item_id)
"""
"""Of the items that users in scope of a day engaged with within the look-back."""
_NEWEST = "newest as (select user_id, max(as_of) as as_of from user_snapshots group by user_id)"
OUTDATED_BY_ITEMS = f"""
    with {_NEWEST},
    late as (
        select item_id, min(arrival_day) as since from items
        group by item_id having since > (select min(as_of) from newest)
    )

    select count(distinct user_id) as users, max(since) as day
    from stg_events join late using (item_id) join newest using (user_id)
    where arrival_day < since and as_of >= arrival_day and as_of < since
        and occurred_at >= cast(since as timestamp) - to_days(cast($lookback_days as integer))
"""
"""Users whose events were known when they were inferred, and whose items were described only afterwards."""
OUTDATED_BY_ROWS = f"""
    with {_NEWEST}

    select count(distinct user_id) as users, max(arrival_day) as day
    from user_activity left join newest using (user_id)
    where arrival_day > (select max(as_of) from inferred_days where scope = 'all_users')
        and (as_of is null or arrival_day > as_of)
"""
"""Users of whom rows have arrived since they were inferred. Before the first full inference that is no news."""
WITHOUT_KEYWORDS = f"""
    with {_NEWEST}

    select count(*) filter (keywords = 0) as users, count(*) as of_users
    from newest join user_snapshots using (user_id, as_of)
"""


def what_is_missing(warehouse: Warehouse, survey: Survey, as_of: date, failed_checks: Collection[str]) -> Iterator[str]:
    """A line for each thing that the journeys as of a day lack, after a run of that day and its checks."""
    if (said := no_data(warehouse.query(LANDED_ROWS, {"as_of": as_of}).row(0, named=True), as_of)) is not None:
        yield said
    if ITEMS_KNOWN not in failed_checks:
        return
    items = warehouse.query(UNKNOWN_ITEMS, {"as_of": as_of}).row(0, named=True)
    if items["unknown"]:
        yield unknown_items(items, as_of, item_days_after(survey, as_of))


def item_days_after(survey: Survey, as_of: date) -> list[date]:
    """Days after a day for which items lie in the landing zone."""
    return sorted(day for source, day in survey.days if source == "items" and day > as_of)


def no_data(landed: Mapping[str, Any], as_of: date) -> str | None:
    """That a day has no rows, if so; `landed` is the row of `LANDED_ROWS`."""
    if landed["accepted"]:
        return None
    last = landed["last_before"]
    before = f"The newest day before it with rows is {last}." if last else "No day before it has rows."
    if landed["rows"]:
        return f"None of the {landed['rows']:,} rows that landed for {as_of} is good. {before}"
    if landed["unreadable"]:
        return f"No file that landed for {as_of} could be read. {before}"
    return f"No data landed for {as_of}, so nobody is active on it. {before}"


def unknown_items(items: Mapping[str, Any], as_of: date, in_zone: list[date]) -> str:
    """What is to be known of engaged items that are not known; `items` is the row of `UNKNOWN_ITEMS`."""
    unknown, engaged = items["unknown"], items["engaged"]
    some, verb = (f"{unknown:,}", "are not" if unknown > 1 else "is not") if unknown < engaged else ("None", "is")
    said = (
        f"{some} of the {engaged:,} items that users in scope engaged with {verb} known as of {as_of}, "
        "so no keywords come of it."
    )
    if items["arrived_later"]:
        last = items["last_day"]
        way_out = f"`journeys run --date {last} --scope all_users` counts them"
        return f"{said} {items['arrived_later']:,} arrived later, {_days(items['first_day'], last)}: {way_out}."
    if in_zone:
        way_out = f"`journeys run --date {in_zone[-1]} --scope all_users` counts what they hold"
        return f"{said} Items land later, {_days(in_zone[0], in_zone[-1])}: {way_out}."
    return f"{said} Write them to items/, in the folder of the day on which they arrive."


def _days(first: date, last: date) -> str:
    return f"on {last}" if first == last else f"from {first} to {last}"
