/*
name: journey_features
grain: one row per as_of, user and journey
key: [as_of, user_id, journey_id]
materialized: snapshot
learnt_from: true
per: user
partition_column: as_of
owner: team:journeys
group: inference
description: >
  What a ranker knows of each journey as of a day: the user, how much, how regularly and how long ago they engaged with
  it, and how common its keywords are in the population now. Nothing that arrived later is seen.
*/
with of_clusters as (
    select
        user_id,
        cluster,
        count(*) as keywords,
        max(neighbour_similarity) as neighbour_similarity,
        count(*) filter (days_active > 1) as repeated_keywords,
        max(days_active) as most_days_of_keyword,
        -- Decimals add up to the same sum in any order; floats would not.
        sum(cast(coalesce(share_7, 0) as decimal(12, 9))) as share_7,
        sum(cast(coalesce(share_28, 0) as decimal(12, 9))) as share_28,
        sum(cast(coalesce(share_84, 0) as decimal(12, 9))) as share_84,
        sum(days_active * cast(coalesce(return_rate, 0) as decimal(12, 9))) as expected_returns,
        max(coalesce(return_rate, 0)) as highest_return_rate
    from clusters
    left join keyword_trends on keyword_trends.as_of = $as_of and keyword_trends.keyword = clusters.keyword
    where clusters.as_of = $as_of and user_id in (select user_id from users_in_scope where as_of = $as_of)
    group by user_id, cluster
),

of_keywords as (
    select
        user_id,
        journey_id,
        neighbour_similarity,
        repeated_keywords,
        most_days_of_keyword,
        share_7,
        share_28,
        share_84,
        expected_returns,
        highest_return_rate
    from journey_identities
    join of_clusters using (user_id, cluster)
    where journey_identities.as_of = $as_of
),

user_sizes as (
    select user_id, sum(keywords) as keywords, count(*) as journeys from of_clusters group by user_id
),

user_days as (
    select user_id, list_distinct(list(cast(occurred_at as date))) as days
    from user_events
    where as_of = $as_of and user_id in (select user_id from users_in_scope where as_of = $as_of)
    group by user_id
),

users as (
    select
        user_id,
        -- An event may carry a time later than the day it arrived on.
        greatest($as_of - list_min(days), 0) as tenure_days,
        greatest($as_of - list_max(days), 0) as days_since_last,
        len(days) as active_days,
        len(list_filter(days, lambda day: day > $as_of - 30)) as active_days_30,
        len(list_filter(days, lambda day: day > $as_of - 90)) as active_days_90
    from user_days
),

-- Days as lists, so that one pass over the rows is enough.
windows as (
    select
        user_id,
        journey_id,
        count(*) filter (day > $as_of - 1) as events_1,
        count(*) filter (day > $as_of - 7) as events_7,
        count(*) filter (day > $as_of - 30) as events_30,
        count(*) filter (day > $as_of - 90) as events_90,
        count(*) filter (source = 'search') as searches,
        count(*) filter (source = 'engagement') as engagements,
        count(*) filter (source = 'board') as boards,
        sum(cast(exp(-greatest($as_of - day, 0) / 30.0) as decimal(18, 9))) as decayed_events,
        list_sort(list_distinct(list(day))) as days
    from (
        select user_id, journey_id, source, cast(occurred_at as date) as day
        from journey_events
        where as_of = $as_of and user_id in (select user_id from users_in_scope where as_of = $as_of)
    )
    group by user_id, journey_id
),

gaps as (
    select
        user_id,
        journey_id,
        days,
        (days[-1] - days[1]) / nullif(len(days) - 1, 0) as gap_mean,
        list_transform(days[2:], lambda day, place: day - days[place]) as gaps
    from windows
),

rhythm as (
    select
        user_id,
        journey_id,
        len(days) as days_active,
        len(list_filter(days, lambda day: day > $as_of - 30)) as days_active_30,
        len(list_filter(days, lambda day: day > $as_of - 90)) as days_active_90,
        greatest($as_of - days[-1], 0) as days_since_last,
        greatest($as_of - days[1], 0) as days_since_first,
        gap_mean,
        if(
            len(gaps) = 0,
            null,
            sqrt(greatest(list_sum(list_transform(gaps, lambda gap: gap * gap)) / len(gaps) - gap_mean * gap_mean, 0))
        ) as gap_deviation,
        list_max(gaps) as gap_longest,
        gaps[-1] as gap_newest
    from gaps
),

journeys as (
    select
        user_id,
        journey_id,
        keywords,
        weight,
        cohesion,
        action_counts,
        active_weeks / greatest(date_diff('week', cast(first_seen as date), $as_of) + 1, 1) as active_weeks_share,
        scope,
        algorithm_version
    from journey_engagement
    where as_of = $as_of and user_id in (select user_id from users_in_scope where as_of = $as_of)
)

select
    cast($as_of as date) as as_of, -- day the snapshot was taken; sees what had arrived by then
    cast(journeys.user_id as varchar) as user_id, -- the user
    cast(journeys.journey_id as varchar) as journey_id, -- the journey
    cast(users.tenure_days as double) as user_tenure_days, -- days since the user's first event in the look-back
    cast(users.days_since_last as double) as user_days_since_last, -- days since the user's last event
    cast(users.active_days as double) as user_active_days, -- days on which the user did anything
    cast(users.active_days_30 as double) as user_active_days_30, -- days of the last 30 on which the user did anything
    cast(users.active_days_90 as double) as user_active_days_90, -- days of the last 90 on which the user did anything
    cast(users.tenure_days / users.active_days as double) as user_gap_mean, -- days per day on which the user did anything
    cast(user_sizes.keywords as double) as user_keywords, -- the user's keywords
    cast(user_sizes.journeys as double) as user_journeys, -- the user's journeys
    cast(journeys.keywords as double) as keywords, -- keywords in the journey
    cast(journeys.weight as double) as weight, -- sum of its keywords' weights
    cast(journeys.cohesion as double) as cohesion, -- mean cosine of its keywords to its centroid
    cast(1 - of_keywords.neighbour_similarity as double) as neighbour_distance, -- 1 - cosine to the user's nearest other journey
    cast(least(journeys.active_weeks_share, 1) as double) as active_weeks_share, -- share of weeks with an event, since its first
    cast(windows.events_1 as double) as events_1, -- events on the day
    cast(windows.events_7 as double) as events_7, -- events in the last 7 days
    cast(windows.events_30 as double) as events_30, -- events in the last 30 days
    cast(windows.events_90 as double) as events_90, -- events in the last 90 days
    cast(windows.searches as double) as searches, -- searches
    cast(windows.engagements as double) as engagements, -- actions on items
    cast(windows.boards as double) as boards, -- items put on boards
    cast(
        list_transform($action_names, lambda action: coalesce(journeys.action_counts[action], 0)) as double[]
    ) as action_counts, -- events by action, in the order of search, board and the settings' actions
    cast(windows.decayed_events as double) as decayed_events, -- events, older ones for less: each times exp(-age / 30 days)
    cast(rhythm.days_active as double) as days_active, -- days with an event
    cast(rhythm.days_active_30 as double) as days_active_30, -- days with an event, of the last 30
    cast(rhythm.days_active_90 as double) as days_active_90, -- days with an event, of the last 90
    cast(rhythm.days_active / users.active_days as double) as days_active_share, -- days with an event, as a share of the user's active days
    cast(rhythm.days_since_last as double) as days_since_last, -- days since its last event
    cast(rhythm.days_since_first as double) as days_since_first, -- days since its first event
    cast(rhythm.gap_mean as double) as gap_mean, -- mean days between its active days (nullable)
    cast(rhythm.gap_deviation as double) as gap_deviation, -- standard deviation of days between its active days (nullable)
    cast(rhythm.gap_longest as double) as gap_longest, -- most days between its active days (nullable)
    cast(rhythm.gap_newest as double) as gap_newest, -- days between its newest two active days (nullable)
    -- Above 1: the journey has rested for longer than it usually does.
    cast(rhythm.days_since_last / (rhythm.gap_mean + 1) as double) as overdue, -- days since its last event per usual gap (nullable)
    cast(of_keywords.repeated_keywords as double) as repeated_keywords, -- keywords used on two days or more
    cast(of_keywords.most_days_of_keyword as double) as most_days_of_keyword, -- days of the keyword used on most
    cast(of_keywords.share_7 as double) as share_7, -- share of users with each keyword in 7 days, summed over keywords
    cast(of_keywords.share_28 as double) as share_28, -- share of users with each keyword in 28 days, summed over keywords
    cast(of_keywords.share_84 as double) as share_84, -- share of users with each keyword in 84 days, summed over keywords
    cast(of_keywords.expected_returns as double) as expected_returns, -- each keyword's days × its return rate in the population, summed
    cast(of_keywords.highest_return_rate as double) as highest_return_rate, -- highest return rate in the population of a keyword of it
    cast(journeys.scope as varchar) as scope, -- kind of run that wrote the row
    cast(journeys.algorithm_version as varchar) as algorithm_version -- fingerprint of code, models, settings
from journeys
join users using (user_id)
join user_sizes using (user_id)
join windows using (user_id, journey_id)
join rhythm using (user_id, journey_id)
join of_keywords using (user_id, journey_id)
