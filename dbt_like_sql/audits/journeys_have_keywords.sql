/*
model: user_journeys
blocking: true
description: Every journey has a name, keywords, a known stage, and was not first seen after it was last seen.
*/
select as_of, user_id, journey_id
from user_journeys
where as_of = $as_of
    and (
        len(keywords) = 0
        or trim(name) = ''
        or stage not in ('evergreen', 'ongoing', 'ended')
        or (stage = 'evergreen') <> (lifecycle = 'evergreen')
        or first_seen > last_seen
    )
