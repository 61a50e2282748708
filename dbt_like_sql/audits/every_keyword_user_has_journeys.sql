/*
model: user_snapshots
blocking: true
description: Every user in scope with keywords has at least one journey, unless all of theirs are blocked.
*/
select as_of, user_id
from user_snapshots
where as_of = $as_of
    and journeys = 0
    and user_id in (select user_id from keywords where as_of = $as_of)
    and user_id not in (
        select user_id from safety where as_of = $as_of group by user_id having bool_and(outcome = 'block')
    )
