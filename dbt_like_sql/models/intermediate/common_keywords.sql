/*
name: common_keywords
grain: one row per as_of and keyword
key: [as_of, keyword]
materialized: snapshot
partial: [users]
per: population
partition_column: as_of
owner: team:journeys
group: inference
histogram: share
description: >
  Keywords that so many users share, as of a day, that they tell nobody apart. They take part in a user's journeys only
  where the user has nothing else. A share is common from a third of the users, or from where shares part best into
  ordinary and common ones if that is higher. Thirty users are needed to say so; of fewer, the catalogue says what half
  of its items share, if it has ten.
*/
with users as (
    select count(distinct user_id) as users
    from stg_events
    where arrival_day <= $as_of and cast(occurred_at as date) > $as_of - 84
),

-- Decimals add up to the same sum in any order; floats would not.
of_users as (
    select keyword, cast(share_84 as decimal(10, 9)) as share
    from keyword_trends
    where as_of = $as_of and (select users from users) >= 30
),

-- Keywords of users, one by one, below each share and from it on: how many, and the sum of their shares.
splits as (
    select
        share,
        cast(sum(count(*) * share) over below as double) as below,
        cast(sum(count(*) * share * share) over below as double) as below_shares,
        cast(sum(count(*) * share) over () as double) as total,
        cast(sum(count(*) * share * share) over () as double) as total_shares
    from of_users
    group by share
    window below as (order by share rows between unbounded preceding and 1 preceding)
),

-- The cut with the largest variance between both sides (Otsu 1979).
parting as (
    select coalesce(
        arg_max(
            share,
            (below_shares * total - total_shares * below) ** 2 / (below * (total - below))
        ),
        0
    ) as cut
    from splits
    where below > 0
),

of_items as (
    select keyword, count(*) as items
    from item_keywords
    where valid_from <= $as_of and valid_until > $as_of and (select users from users) < 30
    group by keyword
),

catalogue as (
    select count(distinct item_id) as items
    from item_keywords
    where valid_from <= $as_of and valid_until > $as_of and (select users from users) < 30
),

common as (
    select keyword, 'users' as shared_by, share, greatest(cut, 1 / 3) as cut
    from of_users
    cross join parting
    union all by name
    select keyword, 'items' as shared_by, of_items.items / catalogue.items as share, 0.5 as cut
    from of_items
    cross join catalogue
    where catalogue.items >= 10
)

select
    cast($as_of as date) as as_of, -- day of the snapshot; sees what had arrived by then
    cast(keyword as varchar) as keyword, -- the keyword
    cast(shared_by as varchar) as shared_by, -- whom the share is of: users, or items where there are few users
    cast(share as double) as share, -- of the users active in 84 days, those with it; or of the items
    cast(cut as double) as cut -- the share from which keywords are common; the same in all rows
from common
where share >= cut
