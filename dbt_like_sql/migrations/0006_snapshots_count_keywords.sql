-- A user's keywords are counted once a snapshot. Where their rows are gone, nobody knows any more how many they were.
alter table if exists user_snapshots add column if not exists keywords bigint;
create table if not exists user_snapshots (
    as_of date not null, user_id varchar not null, keywords bigint, journeys integer not null,
    scope varchar not null, algorithm_version varchar not null
);
update user_snapshots
set keywords = counted.keywords
from (select as_of, user_id, count(*) as keywords from keywords group by as_of, user_id) as counted
where counted.as_of = user_snapshots.as_of and counted.user_id = user_snapshots.user_id;
