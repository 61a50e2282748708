/*
name: journey_engagement
grain: one row per as_of, user and journey
key: [as_of, user_id, journey_id]
materialized: snapshot
partition_column: as_of
owner: team:journeys
group: inference
description: How much and when each user engaged with each journey; an event with two keywords of a journey counts once.
*/
with members as (
    select
        clusters.user_id,
        journey_identities.journey_id,
        clusters.weight,
        clusters.centroid_similarity,
        clusters.scope,
        clusters.algorithm_version
    from clusters
    join journey_identities using (as_of, user_id, cluster)
    where clusters.as_of = $as_of
        and clusters.user_id in (select user_id from users_in_scope where as_of = $as_of)
),

journeys as (
    select
        user_id,
        journey_id,
        count(*) as keywords,
        -- Decimals add up to the same sum in any order; floats would not.
        sum(cast(weight as decimal(18, 6))) as weight,
        avg(cast(centroid_similarity as decimal(9, 6))) as cohesion,
        any_value(scope) as scope,
        any_value(algorithm_version) as algorithm_version
    from members
    group by user_id, journey_id
),

-- Lists in one pass; what is told of them comes after it. Distinct and ordered aggregates take several times as long.
engagement as (
    select
        user_id,
        journey_id,
        count(*) filter (source = 'search') as search_count,
        count(*) filter (source <> 'search') as action_count,
        list(struct_pack(age := -epoch_us(occurred_at), action := action)) as newest_first,
        list(occurred_at) as times
    from journey_events
    where as_of = $as_of and user_id in (select user_id from users_in_scope where as_of = $as_of)
    group by user_id, journey_id
)

select
    cast($as_of as date) as as_of, -- day the snapshot was taken; sees what arrived until then
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
                list_sort(list_distinct(list_transform(engagement.newest_first, lambda event: event.action))),
                lambda name: struct_pack(
                    k := name, v := len(list_filter(engagement.newest_first, lambda event: event.action = name))
                )
            )
        ) as map(varchar, ubigint)
    ) as action_counts, -- events by action
    cast(
        list_transform(list_sort(engagement.newest_first)[:20], lambda event: event.action) as varchar[]
    ) as newest_actions, -- actions of the last 20 events, newest first
    cast(list_min(engagement.times) as timestamp) as first_seen, -- first event, UTC
    cast(list_max(engagement.times) as timestamp) as last_seen, -- last event, UTC
    cast(
        list_unique(list_transform(engagement.times, lambda time: cast(time as date))) as integer
    ) as days_active, -- days with an event
    cast(
        list_unique(list_transform(engagement.times, lambda time: date_trunc('week', time))) as integer
    ) as active_weeks, -- calendar weeks with an event
    cast(journeys.scope as varchar) as scope, -- kind of run that wrote the row
    cast(journeys.algorithm_version as varchar) as algorithm_version -- fingerprint of code, models, settings
from journeys
join engagement using (user_id, journey_id)
