/*
model: current_user_journeys
blocking: true
description: The current journeys of a user in scope come from one snapshot.
*/
select user_id, count(distinct as_of) as snapshots
from current_user_journeys
-- Nobody else's have changed.
where user_id in (select user_id from users_in_scope where as_of = $as_of)
group by user_id
having snapshots > 1
