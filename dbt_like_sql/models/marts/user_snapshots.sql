/*
name: user_snapshots
grain: one row per as_of and user
key: [as_of, user_id]
materialized: snapshot
histogram: journeys
per: user
published: true
partition_column: as_of
owner: team:journeys
description: >
  Which users were inferred as of a day, from how many keywords, and how many journeys came out, none included. Written
  after user_journeys, so that a snapshot is announced only once it is there.
*/
with counted as (
    select user_id, count(*) as keywords
    from keywords
    where as_of = $as_of
    group by user_id
),

journeys as (
    select user_id, count(*) as journeys
    from user_journeys
    where as_of = $as_of
    group by user_id
)

select
    cast(users_in_scope.as_of as date) as as_of, -- day the snapshot was taken
    cast(users_in_scope.user_id as varchar) as user_id, -- the user
    cast(coalesce(counted.keywords, 0) as bigint) as keywords, -- keywords known of the user; null if counted too late (nullable)
    cast(coalesce(journeys.journeys, 0) as integer) as journeys, -- journeys listed for the user
    cast(users_in_scope.scope as varchar) as scope, -- kind of run that wrote the row
    cast(users_in_scope.algorithm_version as varchar) as algorithm_version -- fingerprint of code, models, settings
from users_in_scope
left join counted using (user_id)
left join journeys using (user_id)
where users_in_scope.as_of = $as_of
