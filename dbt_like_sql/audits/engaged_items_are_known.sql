/*
model: keyword_events
blocking: false
description: Items that users engaged with on this day are described in `items`; the others give no keywords.
*/
select distinct item_id
from stg_events
where arrival_day = $as_of
    and item_id is not null
    and item_id not in (select item_id from item_keywords where valid_from <= $as_of)
