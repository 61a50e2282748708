-- What was called confidence is the probability of a return. How sure it was that an older row is a journey is not known:
-- both columns hold the old number until the user is inferred anew.
create table if not exists rankings (
    as_of date not null, user_id varchar not null, journey_id varchar not null, rank integer not null,
    score double not null, confidence double not null, frequency double not null, recency_days double not null,
    ranker varchar not null, scope varchar not null, algorithm_version varchar not null
);
create table if not exists user_journeys (
    as_of date not null, user_id varchar not null, journey_id varchar not null, rank integer not null,
    name varchar not null, namer varchar not null, may_notify boolean not null,
    keywords struct(keyword varchar, weight double, sources varchar[], last_seen timestamp)[] not null,
    lifecycle varchar not null, stage varchar not null, phase varchar not null, stage_model varchar not null,
    return_probability double, confidence double not null, score double not null, ranker varchar not null,
    search_count bigint not null, action_count bigint not null, first_seen timestamp not null,
    last_seen timestamp not null, ends_on date not null, evergreen_until date,
    algorithm_version varchar not null, scope varchar not null
);
create or replace table rankings as
select *, confidence as return_probability from rankings order by as_of, user_id, journey_id;
create or replace table user_journeys as
select * replace (confidence as return_probability) from user_journeys order by as_of, user_id, rank;
alter table rankings alter column as_of set not null;
alter table rankings alter column user_id set not null;
alter table rankings alter column journey_id set not null;
alter table rankings alter column rank set not null;
alter table rankings alter column score set not null;
alter table rankings alter column confidence set not null;
alter table rankings alter column return_probability set not null;
alter table rankings alter column frequency set not null;
alter table rankings alter column recency_days set not null;
alter table rankings alter column ranker set not null;
alter table rankings alter column scope set not null;
alter table rankings alter column algorithm_version set not null;
alter table user_journeys alter column as_of set not null;
alter table user_journeys alter column user_id set not null;
alter table user_journeys alter column journey_id set not null;
alter table user_journeys alter column rank set not null;
alter table user_journeys alter column name set not null;
alter table user_journeys alter column namer set not null;
alter table user_journeys alter column may_notify set not null;
alter table user_journeys alter column keywords set not null;
alter table user_journeys alter column lifecycle set not null;
alter table user_journeys alter column stage set not null;
alter table user_journeys alter column phase set not null;
alter table user_journeys alter column stage_model set not null;
alter table user_journeys alter column return_probability set not null;
alter table user_journeys alter column confidence set not null;
alter table user_journeys alter column score set not null;
alter table user_journeys alter column ranker set not null;
alter table user_journeys alter column search_count set not null;
alter table user_journeys alter column action_count set not null;
alter table user_journeys alter column first_seen set not null;
alter table user_journeys alter column last_seen set not null;
alter table user_journeys alter column ends_on set not null;
alter table user_journeys alter column algorithm_version set not null;
alter table user_journeys alter column scope set not null;
