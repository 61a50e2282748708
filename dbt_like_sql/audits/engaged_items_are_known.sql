/*
model: user_events
blocking: false
description: >
  Items that users in scope engaged with are described in `items` as of the day; the others give no keywords. known_from
  says when a later row describes one.
*/
select
    events.item_id,
    (select min(valid_from) from item_keywords where item_keywords.item_id = events.item_id) as known_from
from (select distinct item_id from user_events where as_of = $as_of and item_id is not null) as events
anti join (select item_id from item_keywords where valid_from <= $as_of) as known using (item_id)
