/*
name: keyword_trends
grain: one row per as_of and keyword
key: [as_of, keyword]
materialized: snapshot
partial: [keywords, active_users, of_keyword]
per: population
partition_column: as_of
owner: team:journeys
group: inference
description: >
  Popularity of each keyword in the population as of a day: the share of active users with it in the last 7, 28 and 84
  days, and how often they return to it.
*/
-- The first and the last time tell as much as all times do here, and need no distinct events; they are looked for
-- before an event becomes one row for each keyword of its item. Users, queries, items and keywords are told apart by 64
-- bits of a hash, which are grouped in two thirds of the time that texts take; of a million, two are taken for one once
-- in 37 million times.
with of_item as (
    select
        hash(user_id) as user_id,
        hash(query, item_id) as about,
        min(cast(occurred_at as date)) as first_day,
        max(cast(occurred_at as date)) as last_day
    from stg_events
    where arrival_day <= $as_of
        and cast(occurred_at as date) > $as_of - 84
        and list_contains($action_names, action)
        -- A shift of the hash, as a remainder takes longer.
        and (hash(user_id) >> 32) < cast($trend_share * 4294967296 as ubigint)
    group by all
),

-- Keywords by the query or item of an event.
topics as (
    select hash(query, cast(null as varchar)) as about, keyword
    from (
        select query, normalize_keyword(query) as keyword
        from (select distinct query from stg_events where query is not null and arrival_day <= $as_of)
    )
    where is_topic(keyword)
    union all
    select hash(cast(null as varchar), item_id) as about, keyword
    from item_keywords
    where valid_from <= $as_of and valid_until > $as_of
),

keywords as (
    select hash(keyword) as hashed, any_value(keyword) as keyword from topics group by hashed
),

of_user as (
    select user_id, hashed, min(first_day) as first_day, max(last_day) as last_day
    from of_item
    join (select about, hash(keyword) as hashed from topics) using (about)
    group by user_id, hashed
),

active_users as (
    select
        count(*) filter (last_day > $as_of - 7) as last_7,
        count(*) filter (last_day > $as_of - 28) as last_28,
        count(*) as last_84
    from (select max(last_day) as last_day from of_user group by user_id)
),

of_keyword as (
    select
        hashed,
        count(*) as users,
        count(*) filter (last_day > $as_of - 28) as users_28,
        count(*) filter (last_day > $as_of - 7) as users_7,
        count(*) filter (first_day < last_day) as returning_users
    from of_user
    group by hashed
)

select
    cast($as_of as date) as as_of, -- day of the snapshot; sees what had arrived by then
    cast(keywords.keyword as varchar) as keyword, -- the keyword
    cast(of_keyword.users_7 / greatest(active_users.last_7, 1) as double) as share_7, -- of the users active in 7 days, those with it
    cast(of_keyword.users_28 / greatest(active_users.last_28, 1) as double) as share_28, -- the same in 28 days
    cast(of_keyword.users / greatest(active_users.last_84, 1) as double) as share_84, -- the same in 84 days
    -- Ten users of the average rate are added, as one user alone says little.
    cast(
        (of_keyword.returning_users + 10 * sum(of_keyword.returning_users) over () / sum(of_keyword.users) over ())
        / (of_keyword.users + 10) as double
    ) as return_rate -- share of its users of 84 days who had it on two days or more
from of_keyword
join keywords using (hashed)
cross join active_users
