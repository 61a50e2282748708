/*
model: keywords
blocking: false
description: >
  Items that users in scope engaged with are described in `items` as of the day; the others give no keywords. known_from
  says when a later row describes one.
*/
with engaged as (select distinct item_id from user_events where as_of = $as_of and item_id is not null)

select engaged.item_id, min(item_keywords.valid_from) as known_from
from engaged
left join item_keywords using (item_id)
group by engaged.item_id
having known_from is null or known_from > $as_of
