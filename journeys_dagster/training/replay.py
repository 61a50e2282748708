"""Past snapshots computed again, as they would have been, and what users did afterwards."""

from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta

import polars as pl

from journeys_dagster.inference.clustering import cluster_keywords, strongest_keywords, telling_keywords
from journeys_dagster.inference.identity import continue_journeys
from journeys_dagster.settings import Settings
from journeys_dagster.sources.parameters import action_names
from journeys_dagster.training.history import History, KeywordVectors

_JOURNEY = ("user_id", "journey_id")
RETURN = "return"
"""Label source of what users came back to."""

# What users came back to is looked up first: together with it DuckDB may join journeys to all items of their keywords.
_RETURNS = """
    with returns as materialized (
        select user_id, keyword, min(cast(occurred_at as date)) as day
        from keyword_events
        where known_from <= $known_until
            and known_until > $known_until
            and cast(occurred_at as date) > $as_of
            and cast(occurred_at as date) <= $known_until
            and list_contains($action_names, action)
        group by all
    )
    select clusters.user_id, journey_identities.journey_id, cast(min(returns.day) - $as_of as integer) as days_to_return
    from clusters
    join journey_identities using (user_id, cluster)
    join returns using (user_id, keyword)
    group by all
"""
_DAYS_OF_USE = """
    select distinct user_id, keyword, cast(occurred_at as date) as day
    from keyword_events
    where known_from <= $later
        and known_until > $later
        and cast(occurred_at as date) > $as_of
        and cast(occurred_at as date) <= $later
        and list_contains($action_names, action)
"""
_MEMBERS = "select user_id, keyword, journey_id from clusters join journey_identities using (user_id, cluster)"
_NO_JOURNEYS = pl.DataFrame(schema={"user_id": pl.String, "keyword": pl.String, "journey_id": pl.String})


def replay_clusters(
    history: History, as_of: date, settings: Settings, vectors: KeywordVectors, users: Sequence[str] | None = None
) -> pl.DataFrame:
    """Rows of `clusters` as a full run of a past day would find them, of all users unless some are named."""
    keywords = history.keywords(as_of, users)
    strongest = strongest_keywords(keywords, limit=settings.clusters.max_keywords_per_user)
    _keep_trends(history, as_of)
    common = history.query("select keyword from common_keywords", {})["keyword"]
    coded, used = vectors.only(telling_keywords(strongest, common))
    return cluster_keywords(coded, used, settings.clusters)


def _keep_trends(history: History, as_of: date) -> None:
    for model in ("keyword_trends", "common_keywords"):
        history.keep(model, history.rows_of(model, as_of))


def replay_features(
    history: History,
    as_of: date,
    settings: Settings,
    vectors: KeywordVectors,
    users: Sequence[str] | None = None,
    *,
    clusters: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Rows of the model `journey_features` as of a past day, of all users unless some are named.

    Journeys are those that a full run of that day would find; their ids are those of a first run.

    Parameters
    ----------
    clusters : DataFrame, optional
        From `replay_clusters` of that day and those users, where they are at hand.
    """
    if clusters is None:
        clusters = replay_clusters(history, as_of, settings, vectors, users)
    else:
        history.look_from(as_of, users)
        _keep_trends(history, as_of)
    constants = {"as_of": pl.lit(as_of), "scope": pl.lit("all_users"), "algorithm_version": pl.lit("")}
    history.keep("clusters", clusters)
    identities = continue_journeys(clusters, _NO_JOURNEYS)
    history.keep("journey_identities", identities.with_columns(**constants))
    members = clusters.join(identities, on=["user_id", "cluster"])
    history.keep("journey_events", history.journey_events(members).with_columns(**constants))
    history.keep("journey_engagement", history.rows_of("journey_engagement", as_of))
    return history.rows_of("journey_features", as_of).sort("user_id", "journey_id")


def days_to_return(history: History, as_of: date, settings: Settings) -> pl.DataFrame:
    """When users came back to the journeys of the snapshot that was last replayed; those that they never came back to
    are left out.

    A user comes back to a journey with an event on one of its keywords after `as_of`.

    Returns
    -------
    DataFrame
        Columns ``user_id``, ``journey_id``, ``days_to_return`` (int32, from 1).
    """
    params = {"as_of": as_of, "known_until": history.span[1], "action_names": action_names(settings)}
    return history.query(_RETURNS, params)


def days_came_back(journeys: pl.DataFrame, later: pl.DataFrame, used: pl.DataFrame) -> pl.DataFrame:
    """On how many days users went on with journeys.

    People go on with a journey in new words. So what is part of it is what a later full run takes for it: the keywords
    of the cluster that continues it.

    Parameters
    ----------
    journeys : DataFrame
        Columns ``user_id``, ``keyword``, ``journey_id``.
    later : DataFrame
        Rows of `clusters` of the later day.
    used : DataFrame
        Columns ``user_id``, ``keyword``, ``day``: what was used since, each day once.

    Returns
    -------
    DataFrame
        Columns ``user_id``, ``journey_id``, ``days`` (int, from 1).
    """
    going_on = continue_journeys(later, journeys).filter("continued")
    members = later.select("user_id", "cluster", "keyword").join(going_on, on=["user_id", "cluster"])
    return members.join(used, on=["user_id", "keyword"]).group_by(_JOURNEY).agg(days=pl.col("day").n_unique())


def labelled_snapshots(
    history: History,
    days: Sequence[date],
    settings: Settings,
    vectors: KeywordVectors,
    *,
    users: Sequence[str] | None = None,
    progress: Callable[[float], None] | None = None,
) -> Iterator[pl.DataFrame]:
    """Past snapshots one by one: each journey's features and whether the user came back to it.

    Yields
    ------
    DataFrame
        Columns of `journey_features` (numbers as float32), and ``label_source`` ("return"), ``label`` (float32,
        1 − 2^−n for n days within ``ranking.return_days`` on which the user went on with it, see `days_came_back`: a
        half for one day, 0 for none), ``label_weight`` (float32), ``labelled_on`` (date), ``days_to_return`` (int32,
        see there; null for never); sorted by user and journey.
    """
    ranking = settings.ranking
    ahead: dict[date, pl.DataFrame] = {}  # clusters of later days that are snapshots too
    for done, as_of in enumerate(days, start=1):
        later = as_of + timedelta(days=ranking.return_days)
        clusters = replay_clusters(history, later, settings, vectors, users)
        if later in days:
            ahead[later] = clusters
        used = history.query(_DAYS_OF_USE, {"as_of": as_of, "later": later, "action_names": action_names(settings)})
        features = replay_features(history, as_of, settings, vectors, users, clusters=ahead.pop(as_of, None))
        returned = days_to_return(history, as_of, settings)
        came_back = days_came_back(history.query(_MEMBERS, {}), clusters, used)
        # Trees look at 32 bits, and the snapshots of many days are held at once.
        labelled = (
            features.cast({pl.Float64: pl.Float32, pl.List(pl.Float64): pl.List(pl.Float32)})
            .join(returned, on=_JOURNEY, how="left", maintain_order="left")
            .join(came_back, on=_JOURNEY, how="left", maintain_order="left")
        )
        yield labelled.with_columns(
            label_source=pl.lit(RETURN),
            label=(1.0 - pl.lit(0.5).pow(pl.col("days").fill_null(0))).cast(pl.Float32),
            label_weight=pl.lit(ranking.label_weights.get(RETURN, 1.0), dtype=pl.Float32),
            labelled_on=pl.lit(later),
        ).drop("days")
        if progress is not None:
            progress(done / len(days))
