"""What the page reads of the warehouse beside the lists."""

OF_USER = "select max(as_of) as as_of from user_snapshots where user_id = $user"
EVENTS = f"""
    with day as ({OF_USER}),

    of_journeys as (
        select journey_id, source, action, occurred_at
        from journey_events where as_of = (from day) and user_id = $user
    )

    select journey_id, occurred_at from of_journeys
    union all
    select null as journey_id, occurred_at
    from (select distinct source, action, occurred_at from user_events where as_of = (from day) and user_id = $user)
    anti join of_journeys using (source, action, occurred_at)
    order by occurred_at
    limit 5000
"""
NOISE = f"""
    with day as ({OF_USER})

    select query, cast(max(occurred_at) as date) as day, count(*) as times
    from user_events
    anti join (
        select source, action, occurred_at from journey_events where as_of = (from day) and user_id = $user
    ) as of_journeys using (source, action, occurred_at)
    where as_of = (from day) and user_id = $user and query is not null
    group by query
    order by day desc, query
    limit 20
"""
DAYS = "select distinct as_of as day from user_snapshots where user_id = $user order by as_of desc limit 100"
LIST_OF_DAY = """
    select journey_id, rank, name, stage, confidence
    from user_journeys where user_id = $user and as_of = cast($day as date)
    order by rank
"""
TREE = f"""
    with day as ({OF_USER})

    select journey_id, keyword, weight, days_active
    from clusters
    join journey_identities using (as_of, user_id, cluster)
    where as_of = (from day) and user_id = $user
        and not list_contains(
            (select unlisted_keywords from safety
             where safety.as_of = (from day) and safety.user_id = $user and safety.journey_id = $journey),
            keyword
        )
        and journey_id = $journey
    order by keyword_rank
"""
MIX = """
    select as_of as day,
        count(*) filter (stage = 'evergreen') as evergreen,
        count(*) filter (stage = 'ongoing') as ongoing,
        count(*) filter (stage = 'ended') as ended
    from user_journeys
    where as_of > (select max(as_of) from user_snapshots) - 60
    group by as_of order by as_of
"""
VOLUME = """
    select arrival_day as day, sum(rows_accepted)::bigint as rows
    from landed_days
    where source not in ('items') and arrival_day > (select max(arrival_day) from landed_days) - 60
    group by arrival_day order by arrival_day
"""
WITHOUT = """
    with newest as (select user_id, arg_max(journeys, as_of) as journeys from user_snapshots group by user_id)

    select count(*) as users, count(*) filter (journeys = 0) as without_journeys from newest
"""
RUNS = "select as_of as day, scope, users, journeys, algorithm_version from inferred_days order by as_of desc limit 5"
ALARMS = """
    select metric, slice, value, low, high, reason
    from quality_metrics
    where alarm and as_of = (select max(as_of) from quality_metrics)
    order by severity, metric, slice limit 20
"""
JUDGE = """
    select judge, metric, value, low, high, users
    from judge_metrics
    where slice = 'all' and metric in ('mean_level', 'share_relevant')
        and as_of = (select max(as_of) from judge_metrics)
    order by judge, metric
"""
