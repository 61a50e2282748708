/*
model: user_journeys
blocking: true
description: Confidence and the probability of a return lie in 0 to 1.
*/
select as_of, user_id, journey_id, confidence, return_probability
from user_journeys
where as_of = $as_of
    and not coalesce(confidence between 0 and 1 and return_probability between 0 and 1, false)
