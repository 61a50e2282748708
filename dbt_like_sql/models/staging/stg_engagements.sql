/*
name: stg_engagements
grain: one row per landed action of a user on an item
materialized: view
per: user
stream: events
partition_column: arrival_day
description: What users did with items.
*/
select
    cast(arrival_day as date) as arrival_day, -- UTC day on which the row arrived
    cast(user_id as varchar) as user_id, -- the user
    cast('engagement' as varchar) as source, -- always engagement
    cast(action as varchar) as action, -- closeup, save, clickthrough, purchase, …
    cast(item_id as varchar) as item_id, -- the item
    cast(occurred_at as timestamp) as occurred_at -- when it happened, UTC
from engagements
