-- What later steps need of a keyword stands in `clusters` too; older snapshots get it from `keywords`.
create table if not exists keywords (
    as_of date not null, user_id varchar not null, keyword varchar not null, sources varchar[] not null,
    action_counts map(varchar, ubigint) not null, events bigint not null, weight double not null,
    first_seen timestamp not null, last_seen timestamp not null, days_active integer not null,
    recent_times timestamp[] not null, recent_items varchar[] not null,
    scope varchar not null, algorithm_version varchar not null
);
create table if not exists clusters (
    as_of date not null, user_id varchar not null, keyword varchar not null, cluster integer not null,
    centroid_similarity double not null, neighbour_similarity double not null,
    scope varchar not null, algorithm_version varchar not null
);
-- A keyword whose row is gone weighs nothing.
create or replace table clusters as
select
    clusters.*,
    cast(row_number() over (
        partition by clusters.as_of, clusters.user_id, cluster order by coalesce(weight, 0) desc, clusters.keyword
    ) as integer) as keyword_rank,
    coalesce(weight, 0) as weight,
    coalesce(events, 0) as events,
    coalesce(days_active, 0) as days_active,
    coalesce(sources, []) as sources,
    coalesce(first_seen, cast(clusters.as_of as timestamp)) as first_seen,
    coalesce(last_seen, cast(clusters.as_of as timestamp)) as last_seen
from clusters
left join keywords
    on keywords.as_of = clusters.as_of and keywords.user_id = clusters.user_id and keywords.keyword = clusters.keyword
order by clusters.as_of, clusters.user_id, clusters.keyword;
alter table clusters alter column as_of set not null;
alter table clusters alter column user_id set not null;
alter table clusters alter column keyword set not null;
alter table clusters alter column cluster set not null;
alter table clusters alter column keyword_rank set not null;
alter table clusters alter column weight set not null;
alter table clusters alter column events set not null;
alter table clusters alter column days_active set not null;
alter table clusters alter column sources set not null;
alter table clusters alter column first_seen set not null;
alter table clusters alter column last_seen set not null;
alter table clusters alter column centroid_similarity set not null;
alter table clusters alter column neighbour_similarity set not null;
alter table clusters alter column scope set not null;
alter table clusters alter column algorithm_version set not null;
