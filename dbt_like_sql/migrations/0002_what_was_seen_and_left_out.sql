-- What was left out of a busy user's day.
alter table if exists landed_days add column if not exists rows_over_cap bigint default 0;
alter table if exists landed_days alter column rows_over_cap set not null;
alter table if exists landed_days alter column rows_over_cap drop default;

-- What of the landing zone a snapshot saw; '' is not known.
alter table if exists users_in_scope add column if not exists landing_fingerprint varchar default '';
alter table if exists users_in_scope alter column landing_fingerprint set not null;
alter table if exists users_in_scope alter column landing_fingerprint drop default;

-- The record of inference, as far as the snapshots tell.
create table if not exists user_snapshots (
    as_of date not null,
    user_id varchar not null,
    journeys integer not null,
    scope varchar not null,
    algorithm_version varchar not null
);
create table inferred_days (
    as_of date not null,
    scope varchar not null,
    algorithm_version varchar not null,
    landing_fingerprint varchar not null,
    users bigint not null,
    journeys bigint not null
);
insert into inferred_days by name
select as_of, scope, max(algorithm_version) as algorithm_version, '' as landing_fingerprint, count(*) as users,
    sum(journeys) as journeys
from user_snapshots
group by as_of, scope;
