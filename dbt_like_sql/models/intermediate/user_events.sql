/*
name: user_events
grain: one row per as_of, user and distinct event; an event that arrived twice counts once, and so does a text being typed
key: [as_of, user_id, source, action, query, item_id, board_id, occurred_at]
order: [user_id, occurred_at]
materialized: snapshot
per: user
partition_column: as_of
owner: team:journeys
group: inference
description: >
  What each user in scope did within the look-back, as far as it was known, in the order of users and time. A text that
  is no topic is activity without a query.
*/
with users as (
    select user_id, scope, algorithm_version from users_in_scope where as_of = $as_of
),

-- The spelling is made of the events of users in scope alone: a join does not keep columns of a view from being
-- computed for everyone.
texts as (
    select user_id, source, action, normalize_keyword(query) as text, occurred_at
    from stg_events
    semi join users using (user_id)
    where query is not null
        and arrival_day <= $as_of
        and occurred_at >= cast($as_of as timestamp) - to_days(cast($lookback_days as integer))
),

-- Logs of what is typed have times of milliseconds or of seconds; within one, a text grows.
followed as (
    select
        *,
        lead(text) over (partition by user_id, action order by occurred_at, length(text), text) as next_text,
        lead(occurred_at) over (partition by user_id, action order by occurred_at, length(text), text) as next_at
    from texts
),

events as (
    select distinct
        user_id,
        source,
        action,
        case when is_topic(text) then text end as query,
        null as item_id,
        null as board_id,
        occurred_at
    from followed
    where next_text is null
        or next_at >= occurred_at + to_seconds($typing_seconds)
        or not is_typing_on(text, next_text)
    union all by name
    select distinct user_id, source, action, query, item_id, board_id, occurred_at
    from stg_events
    semi join users using (user_id)
    where query is null
        and arrival_day <= $as_of
        and occurred_at >= cast($as_of as timestamp) - to_days(cast($lookback_days as integer))
)

select
    cast($as_of as date) as as_of, -- day the snapshot was taken; sees what had arrived by then
    cast(events.user_id as varchar) as user_id, -- the user
    cast(events.source as varchar) as source, -- search, engagement or board
    cast(events.action as varchar) as action, -- search, board, or the engagement's action
    cast(events.query as varchar) as query, -- the normalised query, for searches about a topic (nullable)
    cast(events.item_id as varchar) as item_id, -- the item, for engagements and boards (nullable)
    cast(events.board_id as varchar) as board_id, -- the board, for boards (nullable)
    cast(events.occurred_at as timestamp) as occurred_at, -- when it happened, UTC
    cast(users.scope as varchar) as scope, -- kind of run that wrote the row
    cast(users.algorithm_version as varchar) as algorithm_version -- fingerprint of code, models, settings
from events
join users using (user_id)
-- An action that is no longer in the settings has no weight.
where list_contains($action_names, events.action)
