/*
name: controls_in_force
grain: one row per control and span of days on which it was in force
key: [user_id, control, about, valid_from]
materialized: view
per: user
published: true
partition_column: valid_from
owner: team:journeys
description: >
  What users want of their journeys and notifications, each with the days on which it counted. As of day D those with
  valid_from <= D < valid_until are in force. Of all that a user said of one thing, the newest that has arrived counts,
  so an undo takes back what was said of the same thing before it; what was said at the same moment stays.
*/
with said as (
    select
        user_id,
        control = 'undo' as is_undo,
        case
            when control = 'hide_journey' or (control = 'undo' and journey_id is not null) then 'hide_journey'
            when control = 'not_interested' or (control = 'undo' and keyword is not null) then 'not_interested'
            else 'opt_out'
        end as control,
        journey_id,
        normalize_keyword(keyword) as keyword,
        lower(channel) as channel,
        occurred_at,
        arrival_day
    from user_controls
),

about_things as (
    select
        * exclude (journey_id, keyword, channel),
        case control
            when 'hide_journey' then journey_id
            when 'not_interested' then keyword
            else coalesce(channel, '')
        end as about
    from said
),

spans as (
    select
        *,
        -- What arrives later may have been said earlier: then it never counts.
        coalesce(
            min(arrival_day) over (
                partition by user_id, control, about
                order by occurred_at, not is_undo, arrival_day desc
                rows between 1 following and unbounded following
            ),
            date '9999-12-31'
        ) as valid_until
    from about_things
)

select
    cast(user_id as varchar) as user_id, -- the user
    cast(control as varchar) as control, -- hide_journey, not_interested or opt_out
    cast(about as varchar) as about, -- the journey's id, the keyword, or the channel; empty: all channels
    cast(arrival_day as date) as valid_from, -- first day on which it counts
    cast(valid_until as date) as valid_until -- first day on which it no longer does; 9999-12-31 while it does
from spans
where not is_undo and valid_until > arrival_day
