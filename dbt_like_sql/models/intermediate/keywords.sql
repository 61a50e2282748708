/*
name: keywords
grain: one row per as_of, user and keyword
key: [as_of, user_id, keyword]
materialized: snapshot
partition_column: as_of
owner: team:journeys
group: inference
description: >
  What each user in scope has been interested in: searched texts, and the annotations and interests of the items
  they engaged with or put on boards, with counts and weight. Looks back a set number of days.
*/
with users as (
    select user_id, scope, algorithm_version from users_in_scope where as_of = $as_of
),

events as (
    select distinct
        user_id, keyword, source, action, item_id, board_id, share, occurred_at
    from keyword_events
    semi join users using (user_id)
    where known_from <= $as_of
        and known_until > $as_of
        and occurred_at >= cast($as_of as timestamp) - to_days(cast($lookback_days as integer))
        -- An action that was taken out of the settings has no weight any more.
        and list_contains($action_names, action)
),

weighted as (
    select
        *,
        -- Decimals add up to the same sum in any order; floats would not.
        cast(map($action_names, $action_weights)[action] as decimal(9, 4)) * share as weight
    from events
)

select
    cast($as_of as date) as as_of, -- day the snapshot was taken; sees what arrived until then
    cast(user_id as varchar) as user_id, -- the user
    cast(keyword as varchar) as keyword, -- the keyword in its one spelling
    cast(list_sort(list(distinct source)) as varchar[]) as sources, -- where it came from: search, engagement, board
    cast(histogram(action) as map(varchar, ubigint)) as action_counts, -- events by action
    cast(count(*) as bigint) as events, -- events in all
    cast(sum(weight) as double) as weight, -- sum of action weight × share over the events
    cast(min(occurred_at) as timestamp) as first_seen, -- first event, UTC
    cast(max(occurred_at) as timestamp) as last_seen, -- last event, UTC
    cast(count(distinct cast(occurred_at as date)) as integer) as days_active, -- days with an event
    cast(any_value(users.scope) as varchar) as scope, -- kind of run that wrote the row
    cast(any_value(users.algorithm_version) as varchar) as algorithm_version -- fingerprint of code, models, settings
from weighted
join users using (user_id)
group by user_id, keyword
