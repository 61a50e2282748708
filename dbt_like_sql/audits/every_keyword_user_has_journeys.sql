/*
model: user_snapshots
blocking: true
description: Every user in scope with keywords has at least one journey.
*/
select as_of, user_id
from user_snapshots
where as_of = $as_of
    and journeys = 0
    and user_id in (select user_id from keywords where as_of = $as_of)
