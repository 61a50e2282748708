/*
name: stg_board_items
grain: one row per landed item put on a board
materialized: view
per: user
stream: events
partition_column: arrival_day
description: Items that users put on their boards.
*/
select
    cast(arrival_day as date) as arrival_day, -- UTC day on which the row arrived
    cast(user_id as varchar) as user_id, -- the user
    cast('board' as varchar) as source, -- always board
    cast('board' as varchar) as action, -- always board
    cast(board_id as varchar) as board_id, -- the board
    cast(item_id as varchar) as item_id, -- the item
    cast(occurred_at as timestamp) as occurred_at -- when it was put there, UTC
from board_items
