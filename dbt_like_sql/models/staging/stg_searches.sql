/*
name: stg_searches
grain: one row per landed search
materialized: view
per: user
stream: events
partition_column: arrival_day
description: Searches, as events that are about a text.
*/
select
    cast(arrival_day as date) as arrival_day, -- UTC day on which the row arrived
    cast(user_id as varchar) as user_id, -- the user
    cast('search' as varchar) as source, -- always search
    cast('search' as varchar) as action, -- always search
    cast(query as varchar) as query, -- the query as it was typed
    cast(occurred_at as timestamp) as occurred_at -- when the user searched, UTC
from searches
