"""Which users are judged: some of each stratum of activity, the same whoever else is inferred."""

from journeys_dagster.settings import JudgeSettings

STRATA = ("light", "medium", "heavy")
LABELLED = "labelled"


def sample_sql(settings: JudgeSettings, *, with_labelled: bool) -> str:
    """A query for ``user_id``, ``stratum`` and ``share`` of the users judged; names ``$as_of`` and ``{of_batch}``.

    A user is drawn by a hash of user and day, so that incremental and full runs judge the same ones. Where there are
    human labels, whom labels of the day are about is judged as well.
    """
    light, medium, heavy = (settings.sample_shares[name] for name in STRATA)
    labelled = f"""
        union all
        select distinct user_id, '{LABELLED}' as stratum, 1.0 as share
        from human_labels
        where arrival_day = $as_of and {{of_batch}} and user_id not in (select user_id from drawn)
    """
    return f"""
        with active as (
            select user_id, count(*) as events
            from user_events
            where as_of = $as_of and occurred_at >= cast($as_of as timestamp) - interval 27 day
                and {{of_batch}}
            group by user_id
        ),

        strata as (
            select
                user_id,
                case when events < {settings.medium_events} then 'light' when events < {settings.heavy_events}
                    then 'medium' else 'heavy' end as stratum
            from active
        ),

        drawn as (
            select
                user_id,
                stratum,
                cast(case stratum when 'light' then {light} when 'medium' then {medium} else {heavy} end as double)
                    as share
            from strata
            where md5_number_lower(user_id || '/' || cast($as_of as varchar)) % 1000000 < share * 1000000
        )

        from drawn
        {labelled if with_labelled else ""}
    """
