/*
name: unwanted_journeys
grain: one row per as_of, user and journey
key: [as_of, user_id, journey_id]
materialized: snapshot
per: user
partition_column: as_of
owner: team:journeys
group: inference
description: >
  Journeys that their user does not want to see: hidden; with a keyword that the user is not interested in; or made of
  what a hidden journey was made of. The last is so if keywords hold half of its weight that the hidden one had when it was
  hidden, in the user's newest snapshot before: clusters move, and what a person said stays.
*/
with wishes as (
    select user_id, control, about, valid_from
    from controls_in_force
    where valid_from <= $as_of and $as_of < valid_until
        and user_id in (select user_id from users_in_scope where as_of = $as_of)
),

-- Nearly all users have said nothing, and their clusters need not be read.
members as (
    select user_id, journey_id, keyword, cast(round_even(weight * 1e6, 0) as bigint) as weight_units
    from clusters
    join journey_identities using (as_of, user_id, cluster)
    where as_of = $as_of and user_id in (select user_id from wishes)
),

hidden as (
    select user_id, about as journey_id, valid_from from wishes where control = 'hide_journey'
),

hidden_snapshots as (
    select hidden.user_id, hidden.journey_id, journey_identities.as_of, journey_identities.cluster
    from hidden
    asof join journey_identities
        on hidden.user_id = journey_identities.user_id
        and hidden.journey_id = journey_identities.journey_id
        and hidden.valid_from > journey_identities.as_of
),

hidden_keywords as (
    select distinct hidden_snapshots.user_id, hidden_snapshots.journey_id as hidden_id, clusters.keyword
    from hidden_snapshots
    join clusters using (as_of, user_id, cluster)
),

shares as (
    select
        members.user_id,
        members.journey_id,
        hidden_keywords.hidden_id,
        sum(members.weight_units) as shared_units
    from members
    join hidden_keywords using (user_id, keyword)
    group by members.user_id, members.journey_id, hidden_keywords.hidden_id
),

weights as (
    select user_id, journey_id, sum(weight_units) as weight_units from members group by user_id, journey_id
),

-- People name what they were shown, which may be another spelling than theirs.
spelt as (
    select user_id, journey_id, keyword as typed, keyword as said from members
    union all by name
    select user_id, journey_id, spelling.keyword as typed, normalize_keyword(spelling.shown) as said
    from (
        select user_id, journey_id, unnest(respelt_keywords) as spelling
        from safety
        where as_of = $as_of and user_id in (select user_id from wishes)
    )
),

found as (
    select user_id, journey_id, 'hidden' as reason, 1 as place
    from hidden
    union all by name
    select spelt.user_id, spelt.journey_id, 'not interested' as reason, 2 as place
    from spelt
    join wishes on wishes.user_id = spelt.user_id
        and wishes.control = 'not_interested' and wishes.about = spelt.said
    union all by name
    select shares.user_id, shares.journey_id, 'made of a hidden one' as reason, 3 as place
    from shares
    join weights using (user_id, journey_id)
    where 2 * shares.shared_units >= weights.weight_units
)

select
    cast($as_of as date) as as_of, -- day of the snapshot
    cast(found.user_id as varchar) as user_id, -- the user
    cast(found.journey_id as varchar) as journey_id, -- the journey, which is not listed
    cast(min_by(found.reason, found.place) as varchar) as reason, -- hidden, not interested, or made of a hidden one
    cast(any_value(users_in_scope.scope) as varchar) as scope, -- kind of run that wrote the row
    cast(any_value(users_in_scope.algorithm_version) as varchar) as algorithm_version -- fingerprint of code, models, settings
from found
join users_in_scope on users_in_scope.as_of = $as_of and users_in_scope.user_id = found.user_id
-- Of the hidden ones, those that are there today.
join weights on weights.user_id = found.user_id and weights.journey_id = found.journey_id
group by found.user_id, found.journey_id
