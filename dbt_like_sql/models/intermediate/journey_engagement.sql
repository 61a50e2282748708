/*
name: journey_engagement
grain: one row per as_of, user and journey
key: [as_of, user_id, journey_id]
materialized: snapshot
learnt_from: true
per: user
partition_column: as_of
owner: team:journeys
group: inference
description: How much and when each user engaged with each journey; an event with two keywords of a journey counts once.
*/
with of_clusters as (
    select
        user_id,
        cluster,
        count(*) as keywords,
        -- Decimals add up to the same sum in any order; floats would not.
        sum(cast(weight as decimal(18, 6))) as weight,
        avg(cast(centroid_similarity as decimal(9, 6))) as cohesion
    from clusters
    where as_of = $as_of and user_id in (select user_id from users_in_scope where as_of = $as_of)
    group by user_id, cluster
),

journeys as (
    select user_id, journey_id, keywords, weight, cohesion, scope, algorithm_version
    from journey_identities
    join of_clusters using (user_id, cluster)
    where journey_identities.as_of = $as_of
),

-- Time and action of an event in one number, the newest the smallest: a list of numbers sorts much faster than ordered
-- aggregates. What is wanted of an event is taken out of its number afterwards.
events as (
    select
        user_id,
        journey_id,
        count(*) filter (source = 'search') as search_count,
        count(*) filter (source <> 'search') as action_count,
        list_sort(
            list(-1024 * epoch_us(occurred_at) + list_position(list_sort($action_names), action))
        ) as newest_first
    from journey_events
    where as_of = $as_of and user_id in (select user_id from users_in_scope where as_of = $as_of)
    group by user_id, journey_id
),

engagement as (
    select
        user_id,
        journey_id,
        search_count,
        action_count,
        list_transform(newest_first, lambda event: event & 1023) as actions,
        make_timestamp(-(newest_first[-1] >> 10)) as first_seen,
        make_timestamp(-(newest_first[1] >> 10)) as last_seen,
        list_distinct(
            list_transform(newest_first, lambda event: cast(make_timestamp(-(event >> 10)) as date))
        ) as days
    from events
)

select
    cast($as_of as date) as as_of, -- day the snapshot was taken; sees what had arrived by then
    cast(journeys.user_id as varchar) as user_id, -- the user
    cast(journeys.journey_id as varchar) as journey_id, -- the journey
    cast(journeys.keywords as integer) as keywords, -- keywords in the journey
    cast(journeys.weight as double) as weight, -- sum of its keywords' weights
    cast(journeys.cohesion as double) as cohesion, -- mean cosine of its keywords to its centroid
    cast(engagement.search_count as bigint) as search_count, -- searches
    cast(engagement.action_count as bigint) as action_count, -- actions on items, boards included
    cast(
        map_from_entries(
            list_transform(
                map_entries(list_aggregate(engagement.actions, 'histogram')),
                lambda counted: struct_pack(k := list_sort($action_names)[counted.key], v := counted.value)
            )
        ) as map(varchar, ubigint)
    ) as action_counts, -- events by action
    cast(
        list_transform(engagement.actions[:20], lambda action: list_sort($action_names)[action]) as varchar[]
    ) as newest_actions, -- actions of the last 20 events, newest first
    cast(engagement.first_seen as timestamp) as first_seen, -- first event, UTC
    cast(engagement.last_seen as timestamp) as last_seen, -- last event, UTC
    cast(len(engagement.days) as integer) as days_active, -- days with an event
    cast(
        list_unique(list_transform(engagement.days, lambda day: date_trunc('week', day))) as integer
    ) as active_weeks, -- calendar weeks with an event
    cast(
        list_unique(list_transform(engagement.days, lambda day: (day - cast(engagement.first_seen as date)) // 28))
        as integer
    ) as active_months, -- months of 28 days, from the day of the first event, with an event (nullable)
    cast(journeys.scope as varchar) as scope, -- kind of run that wrote the row
    cast(journeys.algorithm_version as varchar) as algorithm_version -- fingerprint of code, models, settings
from journeys
join engagement using (user_id, journey_id)
