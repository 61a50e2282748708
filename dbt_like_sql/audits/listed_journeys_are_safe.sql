/*
model: user_journeys
blocking: true
description: >
  Every listed journey passed the safety check, lists no blocked keyword and shows none in a spelling that was not
  judged, and is notified only if allowed.
*/
with checked as (
    select
        user_journeys.user_id,
        user_journeys.journey_id,
        coalesce(safety.outcome, 'block') as outcome,
        coalesce(safety.unlisted_keywords, []) as unlisted_keywords,
        coalesce(safety.respelt_keywords, []) as respelt_keywords,
        -- Of most journeys there is nothing, and nothing is carried along.
        list_filter(user_journeys.keywords, lambda each: each.shown is distinct from each.keyword) as respelt
    from user_journeys
    left join safety
        on safety.as_of = $as_of
        and safety.user_id = user_journeys.user_id
        and safety.journey_id = user_journeys.journey_id
    where user_journeys.as_of = $as_of
        and user_journeys.user_id in (select user_id from users_in_scope where as_of = $as_of)
        -- Of most there is nothing more to see, and their keywords need not be carried along.
        and (coalesce(safety.outcome, 'block') <> 'allow'
            or not user_journeys.may_notify
            or len(safety.unlisted_keywords) > 0
            or len(respelt) > 0)
)

select user_journeys.as_of, user_journeys.user_id, user_journeys.journey_id
from checked
join user_journeys using (user_id, journey_id)
where user_journeys.as_of = $as_of
    and (
        checked.outcome not in ('allow', 'unknown', 'quiet')
        or user_journeys.may_notify <> (checked.outcome = 'allow')
        or list_has_any(list_transform(user_journeys.keywords, lambda k: k.keyword), checked.unlisted_keywords)
        or len(list_filter(
            checked.respelt,
            lambda each: not list_contains(
                checked.respelt_keywords, struct_pack(keyword := each.keyword, shown := each.shown)
            )
        )) > 0
    )
