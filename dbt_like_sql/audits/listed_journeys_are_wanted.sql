/*
model: user_journeys
blocking: true
description: No journey is listed that its user has hidden, or that lists a keyword that the user is not interested in.
*/
select user_journeys.as_of, user_journeys.user_id, user_journeys.journey_id
from user_journeys
join controls_in_force using (user_id)
where user_journeys.as_of = $as_of
    and user_journeys.user_id in (select user_id from users_in_scope where as_of = $as_of)
    and valid_from <= $as_of and $as_of < valid_until
    and case control
        when 'hide_journey' then about = user_journeys.journey_id
        when 'not_interested' then list_contains(list_transform(user_journeys.keywords, lambda k: k.keyword), about)
        else false
    end
