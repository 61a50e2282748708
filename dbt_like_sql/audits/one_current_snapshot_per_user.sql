/*
model: current_user_journeys
blocking: true
description: The current journeys of a user come from one snapshot.
*/
select user_id, count(distinct as_of) as snapshots
from current_user_journeys
group by user_id
having snapshots > 1
