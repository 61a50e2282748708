"""The items that most users looked at lately, by keyword: what a notification may lead to."""

import dagster as dg

from journeys_dagster.orchestration.asset import Run, table_asset
from journeys_dagster.tables import Table, integer, text, utc_day

_DAYS, _ITEMS = 28, 3
TABLE = Table(
    name="keyword_items",
    kind="population",
    description="The items that most users dealt with lately, by keyword. Only where notifications are decided.",
    grain="one row per as_of, keyword and item",
    columns={
        "as_of": utc_day("day of the snapshot; sees what had arrived by then"),
        "keyword": text("what the item is about"),
        "item_id": text("the item"),
        "rank": integer("place among the keyword's, 1 is best"),
        "users": integer(f"users who dealt with it in the last {_DAYS} days"),
    },
    key=("as_of", "keyword", "item_id"),
    partition_column="as_of",
)
# As with related journeys, what few users did tells of them.
_SELECT = f"""
    with looked_at as (
        select item_id, count(distinct user_id) as users
        from stg_events
        where arrival_day <= $as_of and cast(occurred_at as date) > $as_of - {_DAYS} and item_id is not null
        group by item_id
        having count(distinct user_id) >= $min_users
    )
    select
        cast($as_of as date) as as_of, keyword, item_id,
        cast(row_number() over (partition by keyword order by users desc, share desc, item_id) as integer) as rank,
        cast(users as integer) as users
    from looked_at
    join item_keywords using (item_id)
    where valid_from <= $as_of and $as_of < valid_until
    qualify rank <= {_ITEMS}
"""


@table_asset(
    TABLE, kinds={"sql"}, sql=[_SELECT], decides=False, only_with=lambda settings: settings.notifications.enabled
)
def keyword_items(run: Run) -> dg.MaterializeResult:
    """Replace each day's items by keyword."""
    for day in run.days:
        params = {"as_of": day, "min_users": run.settings.expansions.min_users}
        run.warehouse.replace_snapshot_sql(TABLE, _SELECT, params=params)
    return dg.MaterializeResult()
