/*
name: stg_searches
grain: one row per landed search
materialized: view
partition_column: arrival_day
description: Searches with their text as a keyword.
*/
select
    cast(arrival_day as date) as arrival_day, -- UTC day on which the row arrived
    cast(user_id as varchar) as user_id, -- the user
    cast(query as varchar) as query, -- the query as it was typed
    cast(normalize_keyword(query) as varchar) as keyword, -- the same in its one spelling
    cast(occurred_at as timestamp) as occurred_at -- when the user searched, UTC
from searches
