/*
model: user_journeys
blocking: true
description: A user's journeys have distinct ids, names and ranks, and the ranks run from 1 without gaps.
*/
with journeys as (
    select
        hash(user_id) as user_hash,
        hash(user_id, journey_id) as id_hash,
        hash(user_id, name) as name_hash,
        rank
    from user_journeys
    where as_of = $as_of
),

-- By hashes, which are compared in a fraction of the time of texts; whoever is found is looked at again.
suspects as (
    select any_value(user_hash) from journeys group by id_hash having count(*) > 1
    union all
    select any_value(user_hash) from journeys group by name_hash having count(*) > 1
    union all
    select any_value(user_hash) from journeys group by user_hash, rank having count(*) > 1
    union all
    select user_hash from journeys group by user_hash having min(rank) <> 1 or max(rank) <> count(*)
)

select as_of, user_id, count(*) as journeys
from user_journeys
where as_of = $as_of and hash(user_id) in (from suspects)
group by as_of, user_id
having count(*) <> count(distinct journey_id)
    or count(*) <> count(distinct name)
    or count(*) <> count(distinct rank)
    or min(rank) <> 1
    or max(rank) <> count(*)
