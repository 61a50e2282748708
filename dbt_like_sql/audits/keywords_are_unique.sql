/*
model: keywords
blocking: true
description: A user has each keyword once in a snapshot.
*/
-- By 64 bits of a hash, in half of the time: two of a user's keywords are taken for one less than once in a billion runs
-- of a million users.
select as_of, user_id, count(*) - list_unique(list(hash(keyword))) as repeated
from keywords
where as_of = $as_of
group by as_of, user_id
having repeated > 0
