/*
model: user_journeys
blocking: true
description: Every listed journey passed the safety check, lists no blocked keyword, and is notified only if allowed.
*/
select user_journeys.as_of, user_journeys.user_id, user_journeys.journey_id
from user_journeys
left join safety
    on safety.as_of = $as_of
    and safety.user_id = user_journeys.user_id
    and safety.journey_id = user_journeys.journey_id
where user_journeys.as_of = $as_of
    and user_journeys.user_id in (select user_id from users_in_scope where as_of = $as_of)
    and (
        coalesce(safety.outcome, 'block') not in ('allow', 'quiet')
        or user_journeys.may_notify <> (safety.outcome = 'allow')
        -- Few have any, and only theirs need be looked through.
        or len(safety.unlisted_keywords) > 0
        and list_has_any(list_transform(user_journeys.keywords, lambda k: k.keyword), safety.unlisted_keywords)
    )
