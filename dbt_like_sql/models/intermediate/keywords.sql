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

-- Lists in one pass; what is told of them comes after it. Distinct and ordered aggregates take several times as long.
counts as (
    select
        user_id,
        keyword,
        list(source) as sources,
        list(action) as actions,
        list(occurred_at) as times,
        -- Decimals add up to the same sum in any order; floats would not.
        sum(cast(map($action_names, $action_weights)[action] as decimal(9, 4)) * share) as weight
    from events
    group by user_id, keyword
),

-- The items that a search led to: engaged soon after it, and before the user's next search.
actions as (
    select distinct user_id, item_id, occurred_at
    from stg_engagements
    semi join users using (user_id)
    where arrival_day <= $as_of
        and occurred_at >= cast($as_of as timestamp) - to_days(cast($lookback_days as integer))
        and list_contains($action_names, action)
),

searched_at as (
    select distinct user_id, occurred_at as search_time from events where source = 'search'
),

followed as (
    select user_id, search_time, item_id, max(occurred_at) as occurred_at
    from (
        select actions.user_id, actions.item_id, actions.occurred_at, searched_at.search_time
        from actions
        asof join searched_at
            on actions.user_id = searched_at.user_id and actions.occurred_at >= searched_at.search_time
    )
    where occurred_at <= search_time + to_minutes(cast($search_result_minutes as integer))
    group by user_id, search_time, item_id
    -- No older one can be among a keyword's newest. Where a log has days but no times, and for a bot, all of a day's
    -- searches are at one moment, and each of them would meet all of the day's items.
    qualify row_number() over (partition by user_id, search_time order by max(occurred_at) desc, item_id)
        <= $recent_limit
),

destinations as (
    select events.user_id, events.keyword, followed.item_id, followed.occurred_at
    from followed
    join events
        on events.user_id = followed.user_id
        and events.occurred_at = followed.search_time
        and events.source = 'search'
),

items_met as (
    select user_id, keyword, list(struct_pack(age := -epoch_us(last_time), item_id := item_id)) as items
    from (
        select user_id, keyword, item_id, max(occurred_at) as last_time
        from (
            select user_id, keyword, item_id, occurred_at from events where item_id is not null
            union all
            select user_id, keyword, item_id, occurred_at from destinations
        )
        group by user_id, keyword, item_id
    )
    group by user_id, keyword
)

select
    cast($as_of as date) as as_of, -- day the snapshot was taken; sees what arrived until then
    cast(counts.user_id as varchar) as user_id, -- the user
    cast(counts.keyword as varchar) as keyword, -- the keyword in its one spelling
    cast(list_sort(list_distinct(counts.sources)) as varchar[]) as sources, -- where it came from: search, engagement, board
    cast(
        map_from_entries(
            list_transform(
                list_sort(list_distinct(counts.actions)),
                lambda name: struct_pack(k := name, v := len(list_filter(counts.actions, lambda action: action = name)))
            )
        ) as map(varchar, ubigint)
    ) as action_counts, -- events by action
    cast(len(counts.actions) as bigint) as events, -- events in all
    cast(counts.weight as double) as weight, -- sum of action weight × share over the events
    cast(list_min(counts.times) as timestamp) as first_seen, -- first event, UTC
    cast(list_max(counts.times) as timestamp) as last_seen, -- last event, UTC
    cast(
        list_unique(list_transform(counts.times, lambda time: cast(time as date))) as integer
    ) as days_active, -- days with an event
    cast(
        list_sort(list_distinct(counts.times))[-$recent_limit:] as timestamp[]
    ) as recent_times, -- its newest distinct times, oldest first, UTC
    cast(
        case
            when items_met.items is null then []
            -- Few of them need an order by time.
            when len(items_met.items) <= $recent_limit
                then list_sort(list_transform(items_met.items, lambda met: met.item_id))
            else list_sort(list_transform(list_sort(items_met.items)[:$recent_limit], lambda met: met.item_id))
        end as varchar[]
    ) as recent_items, -- newest items it came from or its search led to
    cast(users.scope as varchar) as scope, -- kind of run that wrote the row
    cast(users.algorithm_version as varchar) as algorithm_version -- fingerprint of code, models, settings
from counts
left join items_met using (user_id, keyword)
join users using (user_id)
