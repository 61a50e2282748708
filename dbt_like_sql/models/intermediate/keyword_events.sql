/*
name: keyword_events
grain: one row per event and keyword; exact duplicates of an event that arrived twice are still there
materialized: view
per: user
partition_column: known_from
description: >
  All events as one stream of keywords: a text about a topic is its own keyword, an item brings those it is about. As of day D the rows
  with known_from <= D < known_until count, each distinct event once.
*/
with texts as (
    select *, normalize_keyword(query) as text from stg_events where query is not null
)

select
    cast(user_id as varchar) as user_id, -- the user
    cast(text as varchar) as keyword, -- what the event was about
    cast(source as varchar) as source, -- search, engagement or board
    cast(action as varchar) as action, -- search, board, or the engagement's action
    cast(null as varchar) as item_id, -- the item, for engagements and boards (nullable)
    cast(null as varchar) as board_id, -- the board, for boards (nullable)
    cast(1 as decimal(9, 6)) as share, -- of the event's weight, 0 to 1
    cast(occurred_at as timestamp) as occurred_at, -- when it happened, UTC
    cast(arrival_day as date) as known_from, -- first day on which event and keyword were known
    cast(date '9999-12-31' as date) as known_until -- first day on which the item had a newer version
from texts
where is_topic(text)
union all by name
select
    events.user_id,
    item_keywords.keyword,
    events.source,
    events.action,
    events.item_id,
    events.board_id,
    item_keywords.share,
    events.occurred_at,
    greatest(events.arrival_day, item_keywords.valid_from) as known_from,
    item_keywords.valid_until as known_until
from stg_events as events
join item_keywords using (item_id)
where events.query is null and events.item_id is not null
