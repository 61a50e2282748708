/*
name: stg_events
grain: one row per landed event; one that arrived twice is there twice
materialized: view
per: user
union_of: events
partition_column: arrival_day
description: >
  Everything that users did, from all sources: the union of the staging models whose header says `stream: events`. An
  event is about a text, its query, or about an item. Whatever reads events reads them here.
*/
select
    cast(arrival_day as date) as arrival_day, -- UTC day on which the row arrived
    cast(user_id as varchar) as user_id, -- the user
    cast(source as varchar) as source, -- how the event counts: as a search, an engagement with an item, or a board
    cast(action as varchar) as action, -- what the user did; each action has a weight
    cast(query as varchar) as query, -- the text as it was typed, of an event about a text (nullable)
    cast(item_id as varchar) as item_id, -- the item, of an event about an item (nullable)
    cast(board_id as varchar) as board_id, -- the board, of an item put on a board (nullable)
    cast(occurred_at as timestamp) as occurred_at -- when it happened, UTC
from events
