/*
name: action_trends
grain: one row per as_of and action
key: [as_of, action]
materialized: snapshot
partial: [counted]
per: population
partition_column: as_of
owner: team:journeys
group: inference
description: >
  Mix of actions in the population as of a day: each one's share of all events of the last 84 days.
*/
with counted as (
    select action, count(*) as events
    from stg_events
    where arrival_day <= $as_of
        and cast(occurred_at as date) > $as_of - 84
        and list_contains($action_names, action)
    group by action
)

select
    cast($as_of as date) as as_of, -- day of the snapshot; sees what had arrived by then
    cast(action as varchar) as action, -- search, board, or an action on an item
    cast(events as bigint) as events, -- events of the last 84 days
    cast(events / sum(events) over () as double) as share -- of all of them
from counted
