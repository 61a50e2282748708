/*
name: user_activity
grain: one row per landed row of user activity
materialized: view
per: user
partition_column: arrival_day
description: Which user was active when, over all sources.
*/
select
    cast(user_id as varchar) as user_id, -- the user
    cast(arrival_day as date) as arrival_day, -- UTC day on which the row arrived
    cast(occurred_at as timestamp) as occurred_at -- when it happened, UTC
from stg_events
