"""Past snapshots computed again, as they would have been, and what users did afterwards."""

from collections.abc import Callable, Sequence
from datetime import date, timedelta

import polars as pl

from journeys_dagster.inference.clustering import cluster_keywords, strongest_keywords
from journeys_dagster.inference.identity import continue_journeys
from journeys_dagster.settings import Settings
from journeys_dagster.sql_parameters import action_names
from journeys_dagster.training.history import History, KeywordVectors

_RETURNS = """
    select distinct clusters.user_id, journey_identities.journey_id
    from clusters
    join journey_identities using (user_id, cluster)
    join keyword_events using (user_id, keyword)
    where keyword_events.known_from <= $closes_on
        and keyword_events.known_until > $closes_on
        and cast(keyword_events.occurred_at as date) > $as_of
        and cast(keyword_events.occurred_at as date) <= $closes_on
        and list_contains($action_names, keyword_events.action)
"""
_NO_JOURNEYS = pl.DataFrame(schema={"user_id": pl.String, "keyword": pl.String, "journey_id": pl.String})


def replay_features(
    history: History, as_of: date, settings: Settings, vectors: KeywordVectors, users: Sequence[str] | None = None
) -> pl.DataFrame:
    """Rows of the model `journey_features` as of a past day, of all users unless some are named.

    Journeys are those that a full run of that day would find; their ids are those of a first run.
    """
    keywords = history.keywords(as_of, users)
    strongest = strongest_keywords(keywords, limit=settings.clusters.max_keywords_per_user)
    coded, used = vectors.only(strongest)
    clusters = cluster_keywords(coded, used, settings.clusters).join(
        keywords.select("user_id", "keyword", "weight", "first_seen"), on=["user_id", "keyword"]
    )
    constants = {"as_of": pl.lit(as_of), "scope": pl.lit("all_users"), "algorithm_version": pl.lit("")}
    history.keep("keywords", keywords)
    history.keep("clusters", clusters.with_columns(**constants))
    history.keep("journey_identities", continue_journeys(clusters, _NO_JOURNEYS).with_columns(**constants))
    for model in ("journey_engagement", "keyword_trends"):
        history.keep(model, history.rows_of(model, as_of))
    return history.rows_of("journey_features", as_of).sort("user_id", "journey_id")


def return_labels(history: History, as_of: date, settings: Settings) -> pl.DataFrame:
    """The journeys of the snapshot that was last replayed to which their users came back.

    A user comes back to a journey with an event on one of its keywords within the horizon after `as_of`.

    Returns
    -------
    DataFrame
        Columns ``user_id``, ``journey_id``.
    """
    closes_on = as_of + timedelta(days=settings.ranking.return_days)
    params = {"as_of": as_of, "closes_on": closes_on, "action_names": action_names(settings)}
    return history.query(_RETURNS, params)


def return_examples(
    history: History,
    days: Sequence[date],
    settings: Settings,
    vectors: KeywordVectors,
    *,
    users: Sequence[str] | None = None,
    progress: Callable[[float], None] | None = None,
) -> pl.DataFrame:
    """Features of past snapshots with the return label.

    Returns
    -------
    DataFrame
        Columns of `journey_features`, and ``label`` (bool); sorted by day, user and journey.
    """
    examples = []
    for done, as_of in enumerate(days, start=1):
        features = replay_features(history, as_of, settings, vectors, users)
        returned = return_labels(history, as_of, settings).with_columns(label=pl.lit(value=True))
        # Trees look at 32 bits, and the snapshots of many days are held at once.
        labelled = features.cast({pl.Float64: pl.Float32}).join(
            returned, on=["user_id", "journey_id"], how="left", maintain_order="left"
        )
        examples.append(labelled.with_columns(pl.col("label").fill_null(value=False)))
        if progress is not None:
            progress(done / len(days))
    return pl.concat(examples)
