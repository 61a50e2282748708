-- Feedback may name the send that it is about. Of older rows it is found by user, journey, channel and day.
alter table if exists notification_feedback add column if not exists send_id varchar;
-- What was decided before stays; nothing was known of it that models of sends look at.
create table if not exists notification_decisions (
    as_of date not null, user_id varchar not null, is_sent boolean not null, place integer not null,
    reason varchar not null, journey_id varchar, channel varchar, utc_hour integer, local_hour integer, score double,
    propensity double, scope varchar not null, algorithm_version varchar not null
);
create or replace table notification_decisions as
select
    as_of, user_id, is_sent, place, reason, journey_id, channel, utc_hour, local_hour,
    cast(null as varchar) as lead_kind, cast(null as varchar) as lead,
    score, if(is_sent, 'rule', null) as scored_by, propensity,
    cast(null as struct(
        confidence double, return_probability double, list_rank double, is_evergreen double, idle_days double,
        events double, similar_lately double, sent_7 double, sent_56 double, days_since_sent double, opens
        double, clicks double, open_rate double, click_rate double, channel_sent double, channel_clicks double,
        journey_sent double, journey_clicks double, channel_place double, local_hour double, weekday double,
        user_events double, hour_share double
    )) as features,
    scope, algorithm_version
from notification_decisions order by as_of, user_id, place;
alter table notification_decisions alter column as_of set not null;
alter table notification_decisions alter column user_id set not null;
alter table notification_decisions alter column is_sent set not null;
alter table notification_decisions alter column place set not null;
alter table notification_decisions alter column reason set not null;
alter table notification_decisions alter column scope set not null;
alter table notification_decisions alter column algorithm_version set not null;
