-- What a journey's name is from. So far it was the best keyword.
create table if not exists names (
    as_of date not null,
    user_id varchar not null,
    journey_id varchar not null,
    name varchar not null,
    keyword varchar not null,
    centrality double not null,
    name_score double not null,
    scope varchar not null,
    algorithm_version varchar not null
);
alter table names add column if not exists namer varchar default 'keyword';
alter table names alter column namer set not null;
alter table names alter column namer drop default;
alter table names add column if not exists keyword_name varchar default '';
update names set keyword_name = name;
alter table names alter column keyword_name set not null;
alter table names alter column keyword_name drop default;
alter table names add column if not exists title_keywords varchar[];
alter table if exists user_journeys add column if not exists namer varchar default 'keyword';
alter table if exists user_journeys alter column namer set not null;
alter table if exists user_journeys alter column namer drop default;
