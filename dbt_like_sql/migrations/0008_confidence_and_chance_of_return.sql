-- What was called confidence is the probability of a return. How sure it was that an older row is a journey is not known:
-- both columns hold the old number until the user is inferred anew.
create table if not exists rankings (
    as_of date not null, user_id varchar not null, journey_id varchar not null, rank integer not null,
    score double not null, confidence double not null, frequency double not null, recency_days double not null,
    ranker varchar not null, scope varchar not null, algorithm_version varchar not null
);
alter table rankings add column if not exists return_probability double;
update rankings set return_probability = confidence;
alter table rankings alter column return_probability set not null;
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
update user_journeys set return_probability = confidence;
alter table user_journeys alter column return_probability set not null;
