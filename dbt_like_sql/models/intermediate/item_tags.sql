/*
name: item_tags
grain: one row per item, version and keyword
key: [item_id, valid_from, keyword]
materialized: table
per: population
order: [item_id, valid_from, keyword]
description: >
  What each item is about by its annotations and interests: keywords, category paths part by part, without what a
  catalogue says of all the rest. A catalogue says the same of many items, so each text is looked at once.
*/
with tags as (
    select item_id, valid_from, valid_until, unnest(list_concat(annotations, interests)) as tag
    from stg_items
),

-- Step by step: a macro repeats its argument, and to plan the same in one expression takes much longer.
labels as (
    select tag, without_cut_remarks(tag) as label from (select distinct tag from tags)
),

parts as (
    select tag, unnest(category_parts(label)) as part from labels
),

words as (
    select tag, normalize_keyword(part) as label from parts
),

phrases as (
    select distinct tag, without_catch_alls(label) as keyword from words
),

of_items as (
    select distinct item_id, valid_from, valid_until, keyword
    from tags
    join (select tag, keyword from phrases where is_topic(keyword)) using (tag)
)

select
    cast(item_id as varchar) as item_id, -- the item
    cast(keyword as varchar) as keyword, -- the normalised annotation or interest
    -- A share keeps an item with many keywords from counting more than an item with few.
    cast(1.0 / count(*) over (partition by item_id, valid_from) as decimal(9, 6)) as share, -- of the item's weight, 0 to 1
    cast(valid_from as date) as valid_from, -- first day on which this version was known
    cast(valid_until as date) as valid_until -- first day on which a newer version was known
from of_items
