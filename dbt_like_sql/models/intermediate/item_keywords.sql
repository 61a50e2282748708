/*
name: item_keywords
grain: one row per item, version and keyword
key: [item_id, valid_from, keyword]
materialized: view
per: population
partition_column: valid_from
description: >
  What each item is about, as keywords from its annotations and interests, category paths part by part, without what a
  catalogue says of all the rest. An item that has
  neither says as of each day what its title says, so these rows are valid for that day.
*/
with tags as (
    select item_id, valid_from, valid_until, unnest(list_concat(annotations, interests)) as tag
    from stg_items
),

-- Step by step: a macro repeats its argument, and to plan the same in one expression takes much longer.
labels as (
    select item_id, valid_from, valid_until, without_cut_remarks(tag) as tag from tags
),

parts as (
    select item_id, valid_from, valid_until, unnest(category_parts(tag)) as part from labels
),

words as (
    select item_id, valid_from, valid_until, normalize_keyword(part) as label from parts
),

phrases as (
    select distinct item_id, valid_from, valid_until, without_catch_alls(label) as keyword from words
)

select
    cast(item_id as varchar) as item_id, -- the item
    cast(keyword as varchar) as keyword, -- the normalised annotation or interest, or a phrase of the title
    -- A share keeps an item with many keywords from counting more than an item with few.
    cast(1.0 / count(*) over (partition by item_id, valid_from) as decimal(9, 6)) as share, -- of the item's weight, 0 to 1
    cast(valid_from as date) as valid_from, -- first day on which this version was known
    cast(valid_until as date) as valid_until -- first day on which a newer version was known
from phrases
where is_topic(keyword)
union all by name
select item_id, keyword, share, as_of as valid_from, valid_until
from title_keywords
