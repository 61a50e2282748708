/*
name: current_user_journeys
grain: one row per user and journey
key: [user_id, journey_id]
materialized: view
per: population
owner: team:journeys
description: >
  Each user's newest snapshot. Lifecycle and stage are re-evaluated for the newest inferred day, so that the
  journeys of users who went quiet end without being recomputed. What a user does not want to see is left out as soon as
  it has arrived; the ranks close up when the user is inferred anew.
*/
-- A query of its own, so that looking up one user reads no other user's snapshots.
with newest as (
    select user_id, max(as_of) as as_of from user_snapshots group by user_id
),

today as (
    select max(as_of) as read_on from user_snapshots
),

wishes as (
    select
        user_id,
        list(about) filter (control = 'hide_journey') as hidden,
        list(about) filter (control = 'not_interested') as not_interested
    from controls_in_force
    where valid_until = date '9999-12-31' and control <> 'opt_out'
    group by user_id
)

select
    cast(user_journeys.as_of as date) as as_of, -- day of the user's newest snapshot
    cast(today.read_on as date) as read_on, -- newest inferred day of all users; the stage is as of this day
    cast(user_journeys.user_id as varchar) as user_id, -- the user
    cast(user_journeys.journey_id as varchar) as journey_id, -- stays with the journey from day to day
    cast(user_journeys.rank as integer) as rank, -- place in the user's list, 1 is best
    cast(user_journeys.name as varchar) as name, -- how to call the journey
    cast(user_journeys.namer as varchar) as namer, -- what the name is from: keyword, or a language model
    cast(user_journeys.may_notify as boolean) as may_notify, -- false: neither notify nor show its name
    cast(
        user_journeys.keywords as struct(
            keyword varchar, shown varchar, weight double, sources varchar[], last_seen timestamp
        )[]
    ) as keywords, -- heaviest first, as typed, and in the spelling to show
    cast(
        if(today.read_on < user_journeys.evergreen_until, 'evergreen', 'situational') as varchar
    ) as lifecycle, -- evergreen or situational, as of read_on
    cast(
        case
            when today.read_on < user_journeys.evergreen_until then 'evergreen'
            when today.read_on < user_journeys.ends_on then 'ongoing'
            else 'ended'
        end as varchar
    ) as stage, -- evergreen, ongoing or ended, as of read_on
    cast(user_journeys.phase as varchar) as phase, -- inspiration, action, or unknown
    cast(user_journeys.stage_model as varchar) as stage_model, -- what decided between ongoing and ended: rule, or a model's id
    cast(user_journeys.return_probability as double) as return_probability, -- 0 to 1, of a return soon
    cast(user_journeys.confidence as double) as confidence, -- 0 to 1: that it is one journey of this person
    cast(user_journeys.score as double) as score, -- after diversification
    cast(user_journeys.ranker as varchar) as ranker, -- what ranked it: heuristic, or a model's id
    cast(user_journeys.search_count as bigint) as search_count, -- searches
    cast(user_journeys.action_count as bigint) as action_count, -- actions on items, boards included
    cast(user_journeys.first_seen as timestamp) as first_seen, -- first event, UTC
    cast(user_journeys.last_seen as timestamp) as last_seen, -- last event, UTC
    cast(user_journeys.ends_on as date) as ends_on, -- day from which it counts as ended if nothing happens
    cast(user_journeys.evergreen_until as date) as evergreen_until, -- the same for no longer being evergreen (nullable)
    cast(user_journeys.algorithm_version as varchar) as algorithm_version, -- fingerprint of code, models, settings
    cast(user_journeys.scope as varchar) as scope -- kind of run that wrote the row
from user_journeys
join newest using (user_id, as_of)
cross join today
left join wishes on wishes.user_id = user_journeys.user_id
where wishes.user_id is null
    or not (
        list_contains(coalesce(wishes.hidden, []), user_journeys.journey_id)
        or list_has_any(
            coalesce(wishes.not_interested, []),
            list_concat(
                list_transform(user_journeys.keywords, lambda each: each.keyword),
                list_transform(user_journeys.keywords, lambda each: normalize_keyword(each.shown))
            )
        )
    )
