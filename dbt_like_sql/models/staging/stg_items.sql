/*
name: stg_items
grain: one row per item and version
key: [item_id, valid_from]
materialized: view
per: population
partition_column: valid_from
description: >
  Versions of items, each with the days on which it was the newest one known. Of several rows of one item on one
  day the last by content counts, so that the order of rows does not matter.
*/
with versions as (
    select item_id, title, annotations, interests, arrival_day
    from items
    qualify row_number() over (
        partition by item_id, arrival_day order by title desc, annotations desc, interests desc
    ) = 1
)

select
    cast(item_id as varchar) as item_id, -- the item
    cast(title as varchar) as title, -- its title
    cast(annotations as varchar[]) as annotations, -- short phrases that describe it
    cast(interests as varchar[]) as interests, -- broader topics it belongs to
    cast(arrival_day as date) as valid_from, -- first day on which this version was known
    cast(
        coalesce(lead(arrival_day) over (partition by item_id order by arrival_day), date '9999-12-31') as date
    ) as valid_until -- first day on which a newer version was known; 9999-12-31 for the newest
from versions
