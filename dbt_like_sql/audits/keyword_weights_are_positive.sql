/*
model: keywords
blocking: true
description: Every keyword stems from an event with a weight.
*/
select as_of, user_id, weight, events
from keywords
where as_of = $as_of and not (weight > 0 and events > 0)
