"""The judge without a language model against simulated annotators, who grade by what people are truly up to."""

from datetime import timedelta

import numpy as np
import polars as pl

from journeys_dagster.inference.confidence import with_confidence
from journeys_dagster.inference.judge import EVIDENCE, EVIDENCE_JUDGE, judge_by_evidence
from journeys_dagster.inference.members import number_journeys
from journeys_dagster.inference.naming import name_journeys
from journeys_dagster.inference.ranking import rank_by_heuristic
from journeys_dagster.inference.segments import centroids, segment_starts
from journeys_dagster.settings import Settings
from journeys_dagster.training.history import KeywordVectors
from journeys_dagster.training.replay import replay_features
from lab.evaluation.corpora import keyword_truth, world_history
from lab.evaluation.graded_pairs import EMBEDDING, MAJORITY
from lab.evaluation.intent import journey_intents
from lab.simulation.grades import draw_human_labels
from lab.simulation.world import World

_GRADED_PER_USER = 5
_COVERAGE = """
    with engaged as (
        select distinct clusters.user_id, clusters.cluster, events.source, events.action, events.item_id,
            if(events.source = 'search', events.keyword, null) as query, events.occurred_at
        from keyword_events events
        join clusters using (user_id, keyword)
        where events.known_from <= $as_of and events.known_until > $as_of
            and events.occurred_at >= cast($as_of as timestamp) - interval 27 day
    ),

    covered as (select user_id, cluster, count(*) as events from engaged group by all)

    select user_id, journey_id, events / sum(events) over (partition by user_id) as coverage
    from covered join journey_identities using (user_id, cluster)
"""
_MEMBERS = """
    select user_id, journey_id, keyword, weight, events, list_contains(sources, 'search') as is_searched,
        centroid_similarity
    from clusters join journey_identities using (user_id, cluster)
    order by user_id, journey_id, keyword
"""
_ENGAGEMENT = """
    select user_id, journey_id, weight, search_count + action_count as events, keywords, cohesion, days_active,
        first_seen, last_seen
    from journey_engagement
"""


def judged_world(world: World, settings: Settings, vectors: KeywordVectors, *, seed: int = 0) -> pl.DataFrame:
    """Judge the first journeys of everyone's list as of the world's last day, beside simulated annotators' grades.

    Returns
    -------
    DataFrame
        ``user_id``, ``level`` (rounded mean grade of the annotators), `EVIDENCE`, and the levels given by ``evidence``,
        ``embedding only`` (from the cohesion and the name's nearness, in the shares that annotators gave) and
        ``majority class``.
    """
    history, as_of = world_history(world, settings), world.last_day
    replay_features(history, as_of, settings, vectors)
    members = history.query(_MEMBERS, {})
    coded = vectors.code(members)
    starts = segment_starts(coded.select("user_id", "journey_id"))
    centres = centroids(vectors.vectors, coded["code"].to_numpy(), coded["weight"].to_numpy(), starts)
    names = name_journeys(*number_journeys(members), settings.naming)
    engagement = history.query(_ENGAGEMENT, {})
    ranked = rank_by_heuristic(
        with_confidence(engagement, as_of=as_of),
        as_of=as_of,
        sure_from=settings.output.min_confidence,
    )
    end = pl.lit(as_of + timedelta(days=1)).cast(pl.Datetime("us"))
    journeys = (
        coded.select("user_id", "journey_id")[starts[:-1]]
        .with_row_index("place")
        .join(engagement, on=["user_id", "journey_id"])
        .join(ranked.select("user_id", "journey_id", "rank"), on=["user_id", "journey_id"])
        .join(names.select("user_id", "journey_id", "keyword"), on=["user_id", "journey_id"])
        .join(members.select("user_id", "keyword", "centroid_similarity"), on=["user_id", "keyword"])
        .join(history.query(_COVERAGE, {"as_of": as_of}), on=["user_id", "journey_id"], how="left")
        .sort("user_id", "journey_id")
        .with_columns(
            rank=pl.when(pl.col("rank") <= settings.output.max_journeys_per_user).then("rank"),
            coverage=pl.col("coverage").fill_null(0.0),
            days_since=(end - pl.col("last_seen")).dt.total_seconds() / 86_400,
            name_similarity=pl.col("centroid_similarity"),
            stage=pl.lit("ongoing"),
        )
    )
    judged = judge_by_evidence(journeys, centres[journeys["place"].to_numpy()], top=_GRADED_PER_USER).drop_nulls(
        "level"
    )
    intents = journey_intents(history, world, keyword_truth(world, history, settings), as_of)
    shown = judged.join(intents, on=["user_id", "journey_id"], how="left", maintain_order="left").with_columns(
        pl.col("intent").fill_null(0.0)
    )
    grades = draw_human_labels(np.random.default_rng(seed), shown, day=as_of)
    human = grades.group_by("user_id", "journey_id").agg(human=pl.col("grade").mean().round().cast(pl.Int64))
    rows = shown.join(human, on=["user_id", "journey_id"]).sort("user_id", "journey_id")
    near = rows["cohesion"] + rows["name_fit"]
    shares = rows["human"].sort().to_numpy()
    by_nearness = shares[near.rank("ordinal").to_numpy() - 1]
    majority = int(rows["human"].mode().sort()[0])
    return rows.select(
        "user_id",
        *EVIDENCE,
        level=pl.col("human"),
        **{
            EVIDENCE_JUDGE: pl.col("level").cast(pl.Int64),
            EMBEDDING: pl.Series(by_nearness, dtype=pl.Int64),
            MAJORITY: pl.lit(majority, dtype=pl.Int64),
        },
    )
