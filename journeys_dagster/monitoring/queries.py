"""The aggregates that quality is measured by, as SQL: one pass over some days of a table each.

All take ``$days``, the arrival days or snapshot days to measure. What comes back is a few numbers a day.
"""

from journeys_dagster.sources.contracts import Source

CONFIDENCE_BINS = 10
SCORE_BINS = 24
_LOWEST_SCORE_BIN = -12  # the first bin ends at 2 ** -11
_REDELIVERY_DAYS = 7
_OF_DAYS = "arrival_day in (select unnest($days::date[]))"
_IN_SCOPE = "as_of in (select unnest($days::date[]))"

LANDED = "from landed_days where arrival_day between $first and $last"

SNAPSHOTS = f"""
    select
        as_of,
        any_value(users_in_scope.scope) as scope,
        any_value(users_in_scope.algorithm_version) as fingerprint,
        count(*) as users,
        count(*) filter (journeys = 0) as users_without,
        sum(journeys)::bigint as journeys
    from users_in_scope
    join user_snapshots using (as_of, user_id)
    where {_IN_SCOPE}
    group by as_of
"""

KEYWORD_GROWTH = f"""
    with counted as (
        select as_of, user_id, keywords
        from user_snapshots
        semi join users_in_scope using (as_of, user_id)
        where {_IN_SCOPE} and keywords > 0
    ),

    growth as (
        select counted.as_of, counted.keywords / before.keywords as growth
        from counted
        asof join user_snapshots as before on counted.user_id = before.user_id and counted.as_of > before.as_of
        where before.keywords > 0
    )

    select as_of, median(growth) as growth, count(*) as users
    from growth
    group by as_of
"""

# Only the strongest keywords of a user are clustered, and only those are embedded.
EMBEDDED = f"""
    with clustered as (
        select distinct as_of, keyword
        from clusters
        semi join users_in_scope using (as_of, user_id)
        where {_IN_SCOPE}
    )

    select
        as_of,
        count(*) as keywords,
        count(*) filter (keyword in (
            select keyword from keyword_embeddings where model_revision = $model_revision
        )) as embedded
    from clustered
    group by as_of
"""


def journeys_sql() -> str:
    """Listed journeys of the users in scope: how many, without a name of their own, and by stage, confidence, score."""
    score = f"floor(log2(greatest(score, 1e-9)))::integer - ({_LOWEST_SCORE_BIN})"
    return rf"""
        with journeys as (
            select
                as_of,
                not regexp_matches(name, '\p{{L}}') or regexp_matches(name, ' \(\d+\)$') as unnamed,
                stage,
                least({CONFIDENCE_BINS - 1}, floor(confidence * {CONFIDENCE_BINS})::integer) as confidence_bin,
                least({SCORE_BINS - 1}, greatest(0, {score})) as score_bin
            from user_journeys
            semi join users_in_scope using (as_of, user_id)
            where {_IN_SCOPE}
        )

        select
            as_of,
            count(*) as listed,
            count(*) filter (unnamed) as unnamed,
            [{_counts("stage", ["'evergreen'", "'ongoing'", "'ended'"])}] as stages,
            [{_counts("confidence_bin", range(CONFIDENCE_BINS))}] as confidences,
            [{_counts("score_bin", range(SCORE_BINS))}] as scores
        from journeys
        group by as_of
    """


def activity_sql(source: Source) -> str:
    """Of a source by arrival day: its users, rows that happened on that day, and users by hour of the event, 0 to 23.

    For sources with users and times. A user's hours are bits of one number, so that few rows have to be counted.
    """
    return f"""
        with users as (
            select
                arrival_day,
                bit_or(1::bigint << hour(occurred_at)) as hours,
                count(*) filter (cast(occurred_at as date) = arrival_day) as same_day
            from "{source.name}"
            where {_OF_DAYS}
            group by arrival_day, user_id
        )

        select
            arrival_day,
            count(*) as users,
            sum(same_day)::bigint as same_day,
            [{", ".join(f"sum((hours >> {hour}) & 1)::bigint" for hour in range(24))}] as hours
        from users
        group by arrival_day
    """


def redelivered_sql(source: Source) -> str:
    """Rows of a source that had arrived on one of the seven days before already, by arrival day.

    For sources with times: an event happens once, but an item may change and change back. Rows are compared by a hash
    of 64 bits, which is exact enough for a share and takes half of the time of comparing texts.
    """
    fields = ", ".join(f'"{name}"' for name in source.fields)
    return f"""
        with contents as materialized (
            select arrival_day, hash({fields}) as content, cast(occurred_at as date) <> arrival_day as is_of_other_day
            from "{source.name}"
            where arrival_day between $first::date - {_REDELIVERY_DAYS} and $last
        ),

        -- Of two arrivals of an event on different days, one at least is not on the day of the event. Most rows are of
        -- their own day, and are compared with no others.
        suspects as materialized (
            select arrival_day, content
            from contents
            semi join (select content from contents where is_of_other_day) using (content)
        )

        select arrival_day, count(*) as redelivered
        from suspects as today
        where {_OF_DAYS}
            and exists (
                select 1
                from suspects as earlier
                where earlier.content = today.content
                    and earlier.arrival_day < today.arrival_day
                    and earlier.arrival_day >= today.arrival_day - {_REDELIVERY_DAYS}
            )
        group by arrival_day
    """


def letter_pairs_sql(source: Source) -> str:
    """Pairs of neighbouring characters in a source's texts, their ends counting as blanks, by arrival day."""
    return f"""
        with texts as (
            select arrival_day, unnest({_texts(source)}) as text
            from "{source.name}"
            where {_OF_DAYS}
        ),

        -- Distinct first: people type the same thousand texts all day long.
        distinct_texts as (
            select arrival_day, string_split(' ' || text || ' ', '') as characters, count(*) as times
            from texts
            group by arrival_day, text
        ),

        pairs as (
            select
                arrival_day,
                unnest(characters[:-2]) as character,
                unnest(characters[2:]) as next_character,
                times
            from distinct_texts
        )

        select arrival_day, character, next_character, cast(sum(times) as bigint) as occurrences
        from pairs
        group by arrival_day, character, next_character
        order by arrival_day, character, next_character
    """


def texts_sql(source: Source) -> str:
    """A source's texts by arrival day: how many, and their characters."""
    return f"""
        with texts as (
            select arrival_day, unnest({_texts(source)}) as text
            from "{source.name}"
            where {_OF_DAYS}
        )

        select arrival_day, count(*) as texts, sum(length(text))::bigint as characters
        from texts
        group by arrival_day
    """


def _texts(source: Source) -> str:
    """What people read of a row, as a list expression."""
    texts = [name if source.fields[name].kind == "text_list" else f"[{name}]" for name in source.prose]
    return f"list_concat({', '.join(texts)})"


def _counts(column: str, values: list[str] | range) -> str:
    return ", ".join(f"count(*) filter ({column} = {value})" for value in values)
