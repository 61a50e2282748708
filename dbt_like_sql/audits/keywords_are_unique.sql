/*
model: keywords
blocking: true
description: A user has each keyword once in a snapshot.
*/
select as_of, user_id, count(*) - count(distinct keyword) as repeated
from keywords
where as_of = $as_of
group by as_of, user_id
having repeated > 0
