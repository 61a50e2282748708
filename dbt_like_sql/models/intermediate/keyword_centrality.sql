/*
name: keyword_centrality
grain: one row per keyword that two users or more have
key: [keyword]
materialized: view
per: population
needs_everyone: true
owner: team:journeys
group: training
sampled: false
description: >
  How close each keyword lies to the centre of the journeys it is in, over the newest snapshot of everyone who has it.
*/
with newest as (
    select user_id, max(as_of) as as_of from clusters group by user_id
),

closeness as (
    select
        clusters.keyword,
        count(*) as users,
        -- Decimals add up to the same sum in any order; floats would not.
        sum(cast(clusters.centroid_similarity as decimal(12, 9))) as total
    from clusters
    join newest using (user_id, as_of)
    group by clusters.keyword
),

everyone as (
    select cast(sum(total) / sum(users) as double) as usual from closeness
)

select
    cast(closeness.keyword as varchar) as keyword, -- the keyword
    cast(closeness.users as bigint) as users, -- users who have it
    -- Three users of average closeness are added, as few users say little.
    cast(
        (cast(closeness.total as double) + 3 * everyone.usual) / (closeness.users + 3) as double
    ) as centrality, -- mean cosine to the centre of its journeys
    cast(everyone.usual as double) as usual -- mean over all keywords and users; for keywords that are not here
from closeness
cross join everyone
where closeness.users > 1
