/*
model: user_journeys
blocking: true
description: A user's journeys have distinct ids, names and ranks, and the ranks run from 1 without gaps.
*/
select as_of, user_id, count(*) as journeys
from user_journeys
where as_of = $as_of
group by as_of, user_id
having count(*) <> count(distinct journey_id)
    or count(*) <> count(distinct name)
    or count(*) <> count(distinct rank)
    or min(rank) <> 1
    or max(rank) <> count(*)
