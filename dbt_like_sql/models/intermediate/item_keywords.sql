/*
name: item_keywords
grain: one row per item, version and keyword
key: [item_id, valid_from, keyword]
materialized: view
per: population
partition_column: valid_from
description: >
  What each item is about. An item that has neither annotations nor interests says as of each day what its title says,
  so these rows are valid for that day.
*/
select
    cast(item_id as varchar) as item_id, -- the item
    cast(keyword as varchar) as keyword, -- of an annotation or interest, or a phrase of the title
    cast(share as decimal(9, 6)) as share, -- of the item's weight, 0 to 1
    cast(valid_from as date) as valid_from, -- first day on which this version was known
    cast(valid_until as date) as valid_until -- first day on which a newer version was known
from item_tags
union all by name
select item_id, keyword, share, as_of as valid_from, valid_until
from title_keywords
