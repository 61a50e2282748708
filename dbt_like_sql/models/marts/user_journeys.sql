/*
name: user_journeys
grain: one row per as_of, user and journey
key: [as_of, user_id, journey_id]
materialized: snapshot
per: user
published: true
partition_column: as_of
owner: team:journeys
description: >
  The product: each user's short, ranked, diverse list of journeys as of a day, with name, keywords, stage,
  confidence and the probability of a return.
*/
with safe as (
    select
        user_id,
        journey_id,
        diversified_journeys.score,
        search_count,
        action_count,
        first_seen,
        last_seen,
        safety.outcome = 'allow' as may_notify,
        safety.unlisted_keywords,
        safety.respelt_keywords,
        rankings.confidence,
        rankings.return_probability,
        rankings.ranker,
        rankings.algorithm_version,
        rankings.scope,
        row_number() over (partition by user_id order by diversified_journeys.rank) as place
    from diversified_journeys
    join journey_engagement using (as_of, user_id, journey_id)
    join rankings using (as_of, user_id, journey_id)
    -- Whatever was not checked is not listed.
    join safety using (as_of, user_id, journey_id)
    where as_of = $as_of
        and safety.outcome in ('allow', 'unknown', 'quiet')
        -- Nor what its user does not want to see.
        and (user_id, journey_id) not in (select user_id, journey_id from unwanted_journeys where as_of = $as_of)
        and user_id in (select user_id from users_in_scope where as_of = $as_of)
),

listed as materialized (
    select
        * exclude (place),
        row_number() over (partition by user_id order by place) as rank
    from safe
    -- What is hardly a journey is not listed, but a user is not left without a list.
    where place = 1 or confidence >= $min_confidence
    qualify row_number() over (partition by user_id order by place) <= $max_journeys_per_user
),

spellings_to_show as (
    select user_id, journey_id, unnest(respelt_keywords) as spelling from listed
),

journey_keywords as (
    select
        listed.user_id,
        listed.journey_id,
        -- Only the heaviest are sorted; sorting all of them as lists takes much longer.
        arg_min(
            struct_pack(
                keyword := clusters.keyword,
                shown := coalesce(spelling.shown, clusters.keyword),
                weight := clusters.weight,
                sources := clusters.sources,
                last_seen := clusters.last_seen
            ),
            clusters.keyword_rank,
            $max_keywords_per_journey
        ) as keywords
    from listed
    join journey_identities on journey_identities.as_of = $as_of
        and journey_identities.user_id = listed.user_id and journey_identities.journey_id = listed.journey_id
    join clusters on clusters.as_of = $as_of
        and clusters.user_id = listed.user_id and clusters.cluster = journey_identities.cluster
    left join spellings_to_show on spellings_to_show.user_id = listed.user_id
        and spellings_to_show.journey_id = listed.journey_id and spelling.keyword = clusters.keyword
    where clusters.keyword_rank <= $max_keywords_per_journey + len(listed.unlisted_keywords)
        and not list_contains(listed.unlisted_keywords, clusters.keyword)
    group by listed.user_id, listed.journey_id
),

-- A query of its own, so that keyword lists are joined last and not carried through every other join.
details as materialized (
    select
        listed.*,
        names.name,
        names.namer,
        stages.lifecycle,
        stages.stage,
        stages.phase,
        stages.stage_model,
        stages.ends_on,
        stages.evergreen_until
    from listed
    join names using (user_id, journey_id)
    join stages using (user_id, journey_id)
    where names.as_of = $as_of and stages.as_of = $as_of
)

select
    cast($as_of as date) as as_of, -- day the snapshot was taken; sees what had arrived by then
    cast(details.user_id as varchar) as user_id, -- the user
    cast(details.journey_id as varchar) as journey_id, -- stays with the journey from day to day
    cast(details.rank as integer) as rank, -- place in the user's list, 1 is best
    cast(details.name as varchar) as name, -- how to call the journey
    cast(details.namer as varchar) as namer, -- what the name is from: keyword, or a language model
    cast(details.may_notify as boolean) as may_notify, -- false for a sensitive journey: neither notify nor show its name
    cast(
        journey_keywords.keywords as struct(
            keyword varchar, shown varchar, weight double, sources varchar[], last_seen timestamp
        )[]
    ) as keywords, -- heaviest first, as typed, and in the spelling to show
    cast(details.lifecycle as varchar) as lifecycle, -- evergreen or situational
    cast(details.stage as varchar) as stage, -- evergreen, ongoing or ended, as of this day
    cast(details.phase as varchar) as phase, -- inspiration, action, or unknown
    cast(details.stage_model as varchar) as stage_model, -- what decided between ongoing and ended: rule, or a model's id
    cast(details.return_probability as double) as return_probability, -- 0 to 1, of a return soon
    cast(details.confidence as double) as confidence, -- 0 to 1: that it is one journey of this person
    cast(details.score as double) as score, -- after diversification
    cast(details.ranker as varchar) as ranker, -- what ranked it: heuristic, or a model's id
    cast(details.search_count as bigint) as search_count, -- searches
    cast(details.action_count as bigint) as action_count, -- actions on items, boards included
    cast(details.first_seen as timestamp) as first_seen, -- first event, UTC
    cast(details.last_seen as timestamp) as last_seen, -- last event, UTC
    cast(details.ends_on as date) as ends_on, -- day from which it counts as ended if nothing happens
    cast(details.evergreen_until as date) as evergreen_until, -- the same for no longer being evergreen (nullable)
    cast(details.algorithm_version as varchar) as algorithm_version, -- fingerprint of code, models, settings
    cast(details.scope as varchar) as scope -- kind of run that wrote the row
from journey_keywords
join details using (user_id, journey_id)
