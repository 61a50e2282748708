/*
name: feedback_labels
grain: one row per label_source, as_of, user and journey
key: [label_source, as_of, user_id, journey_id]
materialized: view
per: user
owner: team:journeys
group: training
description: >
  Feedback of users and grades of annotators, as labels of the journey's newest snapshot before that day. Of several
  notifications since one snapshot the best event counts, but a thumb down overrules all; grades are averaged.
*/
with said as (
    select
        'notification' as label_source,
        user_id,
        journey_id,
        occurred_at,
        arrival_day,
        case event
            when 'sent' then 0.0
            when 'opened' then 0.25
            when 'clicked' then 1.0
            when 'thumbs_up' then 1.0
        end as label
    from notification_feedback
    union all
    select 'human', user_id, journey_id, occurred_at, arrival_day, (grade - 1) / 4.0 from human_labels
),

about as (
    select said.label_source, said.user_id, said.journey_id, said.arrival_day, said.label, journey_engagement.as_of
    from said
    asof join journey_engagement
        on said.user_id = journey_engagement.user_id
        and said.journey_id = journey_engagement.journey_id
        and cast(said.occurred_at as date) > journey_engagement.as_of
)

select
    cast(label_source as varchar) as label_source, -- notification or human
    cast(as_of as date) as as_of, -- the snapshot it is about
    cast(user_id as varchar) as user_id, -- the user
    cast(journey_id as varchar) as journey_id, -- the journey
    cast(
        case
            when label_source = 'human' then avg(label)
            when count(*) filter (label is null) > 0 then 0
            else max(label)
        end as double
    ) as label, -- 0 to 1
    cast(max(arrival_day) as date) as labelled_on -- day on which the last of it arrived
from about
group by label_source, as_of, user_id, journey_id
