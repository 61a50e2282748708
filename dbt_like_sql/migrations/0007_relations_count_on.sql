-- Relations count on until enough users have newer snapshots. Those of older code match no version, and are found anew.
create table if not exists journey_expansions (
    as_of date not null, journey varchar not null, related varchar not null, rank integer not null,
    score double not null, lift double not null, similarity double not null, together bigint not null,
    users bigint not null, share double not null, expander varchar not null
);
create or replace table journey_expansions as
select *, as_of as found_on, '' as algorithm_version from journey_expansions order by as_of, journey, rank;
alter table journey_expansions alter column as_of set not null;
alter table journey_expansions alter column journey set not null;
alter table journey_expansions alter column related set not null;
alter table journey_expansions alter column rank set not null;
alter table journey_expansions alter column score set not null;
alter table journey_expansions alter column lift set not null;
alter table journey_expansions alter column similarity set not null;
alter table journey_expansions alter column together set not null;
alter table journey_expansions alter column users set not null;
alter table journey_expansions alter column share set not null;
alter table journey_expansions alter column expander set not null;
alter table journey_expansions alter column found_on set not null;
alter table journey_expansions alter column algorithm_version set not null;
