"""What each step computes for a batch of users from the frames that were read for them.

The same functions run in the run's own process and on the workers of a cluster, which have no warehouse.
"""

import json
from collections.abc import Mapping
from datetime import date
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.inference.clustering import cluster_keywords
from journeys_dagster.inference.diversification import diversify, select_diverse
from journeys_dagster.inference.expansions import expand_users
from journeys_dagster.inference.identity import continue_journeys
from journeys_dagster.inference.journey_events import events_of_journeys
from journeys_dagster.inference.judge import EVIDENCE_JUDGE, judged, measure
from journeys_dagster.inference.keywords import collect_keywords
from journeys_dagster.inference.llm_judge import apply_opinions
from journeys_dagster.inference.members import journey_masses, journey_of_members, with_journeys
from journeys_dagster.inference.naming import name_journeys
from journeys_dagster.inference.ranking import rank_by_heuristic, rank_by_model
from journeys_dagster.inference.ranking_model import RankingModel
from journeys_dagster.inference.safety import judge_journeys
from journeys_dagster.inference.segments import centroids, segment_starts
from journeys_dagster.inference.stage_model import StageModel
from journeys_dagster.inference.stages import phase_journeys, stage_by_model, stage_journeys
from journeys_dagster.inference.titles import apply_titles
from journeys_dagster.settings import Settings
from journeys_dagster.sql.parameters import action_names, action_weights

Frames = Mapping[str, pl.DataFrame]


class Compute(Protocol):
    """What a step computes: its new rows from frames by name, the day of the snapshot and the settings."""

    def __call__(self, frames: Frames, as_of: date, settings: Settings) -> pl.DataFrame:
        """The step's new rows."""
        ...


def with_codes(rows: pl.DataFrame, embeddings: pl.DataFrame) -> tuple[pl.DataFrame, NDArray[np.float32]]:
    """Add to each row the place of its keyword's vector.

    Parameters
    ----------
    rows : DataFrame
        Has a column ``keyword``.
    embeddings : DataFrame
        Columns ``keyword``, of each keyword of `rows` once, and ``embedding`` (list of float32).

    Returns
    -------
    rows : DataFrame
        In the same order, with ``code`` (int64).
    vectors : array of shape (distinct keywords, dimensions), float32
    """
    coded = rows.join(
        embeddings.select("keyword").with_row_index("code").cast({"code": pl.Int64}),
        on="keyword",
        how="left",
        maintain_order="left",
    )
    if embeddings.is_empty():
        return coded, np.zeros((0, 1), dtype=np.float32)
    vectors = embeddings["embedding"].explode(empty_as_null=True, keep_nulls=True).to_numpy()
    return coded, np.ascontiguousarray(vectors.reshape(len(embeddings), -1), dtype=np.float32)


def weigh_keywords(frames: Frames, as_of: date, settings: Settings) -> pl.DataFrame:
    """`keywords`, of users' ``events`` and the ``item_keywords`` of their items."""
    return collect_keywords(frames["events"], frames["item_keywords"], action_weights(settings), settings.keywords)


def cluster(frames: Frames, as_of: date, settings: Settings) -> pl.DataFrame:
    """`clusters`, of ``keywords`` and their ``embeddings``."""
    keywords, vectors = with_codes(frames["keywords"], frames["embeddings"])
    return cluster_keywords(keywords, vectors, settings.clusters).drop("code", "recent_times", "recent_items")


def identify(frames: Frames, as_of: date, settings: Settings) -> pl.DataFrame:
    """`journey_identities`, of the ``current`` clusters and the ``previous`` journeys."""
    return continue_journeys(frames["current"], frames["previous"])


def attribute_events(frames: Frames, as_of: date, settings: Settings) -> pl.DataFrame:
    """`journey_events`, of users' ``events``, ``item_keywords`` of their items, ``journeys`` and their ``members``."""
    journeys, members = frames["journeys"], frames["members"]
    numbered = members.with_columns(journey=pl.Series(journey_of_members(members, journeys)))
    return events_of_journeys(frames["events"], frames["item_keywords"], journeys, numbered)


def rank(frames: Frames, as_of: date, settings: Settings) -> pl.DataFrame:
    """`rankings`, of ``journeys``: by the stored ``model`` and their ``features``, or by the heuristic without one."""
    if "model" in frames:
        model, actions = ranking_model(frames["model"]), action_names(settings)
        return rank_by_model(frames["journeys"], frames["features"], model, as_of=as_of, actions=actions)
    return rank_by_heuristic(
        frames["journeys"],
        as_of=as_of,
        recency_decay_days=settings.ranking.recency_decay_days,
        half_confidence_score=settings.ranking.half_confidence_score,
    )


def diversify_lists(frames: Frames, as_of: date, settings: Settings) -> pl.DataFrame:
    """`diversified_journeys`, of ranked ``journeys``, their ``members`` and these ones' ``embeddings``."""
    diversification = settings.diversification
    coded, vectors = with_codes(with_journeys(frames["members"], frames["journeys"]), frames["embeddings"])
    # Those without a rank come last of all, and are cut off.
    ranked = (
        frames["journeys"]
        .with_columns(user=pl.col("user_id").rle_id())
        .with_row_index("row")
        .sort(pl.col("rank").is_null(), "user", "rank")
    )
    place_of = np.empty(len(ranked), dtype=np.int64)
    place_of[ranked["row"].to_numpy()] = np.arange(len(ranked))
    places = place_of[coded["journey"].to_numpy()]
    # Members come by keyword, and still do within their journey, so that sums have the same bits.
    order = np.argsort(places, kind="stable")
    ranked = ranked.head(ranked["rank"].count()).select("user_id", "rank", "journey_id", "score")
    starts = np.searchsorted(places[order], np.arange(len(ranked) + 1))
    means = centroids(vectors, coded["code"].to_numpy()[order], coded["weight"].to_numpy()[order], starts)
    threshold = diversification.similarity_threshold
    if diversification.strategy == "penalty":
        return diversify(ranked, means, penalty=diversification.penalty, similarity_threshold=threshold)
    return select_diverse(
        ranked,
        means,
        strategy=diversification.strategy,
        diversity=diversification.diversity,
        list_length=settings.output.max_journeys_per_user,
        similarity_threshold=threshold,
    )


def stage(frames: Frames, as_of: date, settings: Settings) -> pl.DataFrame:
    """`stages`, of ``journeys``: by the stored ``model`` and their ``features``, or by the rule without one."""
    stages, journeys = settings.stages, frames["journeys"]
    staged = stage_journeys(
        journeys,
        as_of=as_of,
        evergreen_min_span_days=stages.evergreen_min_span_days,
        evergreen_min_active_weeks_share=stages.evergreen_min_active_weeks_share,
        ended_after_days=stages.ended_after_days,
    )
    if "model" in frames:
        model = stage_model(frames["model"])
        staged = stage_by_model(staged, frames["features"], model, as_of=as_of, ended_below=stages.ended_below)
    usual = dict(frames["usual_shares"].iter_rows())
    phases = phase_journeys(journeys, usual, acting_actions=stages.acting_actions, acting_odds=stages.acting_odds)
    return staged.join(phases, on=["user_id", "journey_id"], how="left", maintain_order="left")


def name(frames: Frames, as_of: date, settings: Settings) -> pl.DataFrame:
    """`names`, of ``journeys``, ``members``, their ``centrality``, the ``usual`` one, ``titles``, ``former`` names."""
    journeys, titles = frames["journeys"], frames["titles"]
    keywords = with_journeys(frames["members"], journeys)
    names = name_journeys(
        journeys,
        keywords,
        settings.naming,
        known=frames["centrality"],
        usual=frames["usual"]["usual"][0],
        former=frames.get("former"),
    )
    masses = journeys.with_columns(mass=pl.Series(journey_masses(keywords, len(journeys))))
    return apply_titles(names, titles, masses, namer=settings.llm.model)


def check_safety(frames: Frames, as_of: date, settings: Settings) -> pl.DataFrame:
    """`safety`, of ``journeys``, their ``doubtful`` keywords, ``name_verdicts`` and ``keyword_verdicts``."""
    journeys, key = frames["journeys"], ["user_id", "journey_id"]
    numbered = journeys.select(key).with_row_index("journey").cast({"journey": pl.Int64})
    return judge_journeys(
        journeys,
        frames["doubtful"].join(numbered, on=key).select("journey", "keyword", "mass"),
        frames["keyword_verdicts"],
        settings.safety,
        name_verdicts=frames["name_verdicts"],
    )


def expand(frames: Frames, as_of: date, settings: Settings) -> pl.DataFrame:
    """`expansions`, of the ``members`` of listed journeys, what is ``related``, embeddings, and what is ``held``."""
    members, vectors = with_codes(frames["members"], frames["embeddings"])
    starts = segment_starts(members.select("user_id", "journey_id"))
    centres = centroids(vectors, members["code"].to_numpy(), members["weight"].to_numpy(), starts)
    journeys = members.select("user_id", "journey", "confidence")[starts[:-1]]
    related, near = with_codes(frames["related"], frames["related_embeddings"])
    return expand_users(journeys, centres, related, near, held=frames["held"], settings=settings.expansions)


def judge(frames: Frames, as_of: date, settings: Settings) -> pl.DataFrame:
    """`judge_scores`, of sampled users' ``journeys``, their ``members``, ``embeddings``, and a model's ``opinions``."""
    members, vectors = with_codes(frames["members"], frames["embeddings"])
    starts = segment_starts(members.select("user_id", "journey_id"))
    centres = centroids(vectors, members["code"].to_numpy(), members["weight"].to_numpy(), starts)
    # Both are sorted by user and journey; a journey without an event that counts any more is not judged.
    of_member = members.select("user_id", "journey_id")[starts[:-1]].with_row_index("place")
    journeys = frames["journeys"].join(of_member, on=["user_id", "journey_id"], maintain_order="left")
    measured = measure(journeys, centres[journeys["place"].to_numpy()])
    by_evidence = judged(measured, top=settings.judge.top).with_columns(judge=pl.lit(EVIDENCE_JUDGE))
    scores = apply_opinions(measured, by_evidence, frames["opinions"], judge=settings.llm.model)
    sampled = journeys.select("user_id", "stratum", "sample_share").unique()
    return scores.join(sampled, on="user_id", maintain_order="left")


def ranking_model(row: pl.DataFrame) -> RankingModel:
    """The ranker that is stored in the one row of a frame."""
    stored = row.row(0, named=True)
    return RankingModel.stored(stored["model_id"], stored["trees"], json.loads(stored["card"]))


def stage_model(row: pl.DataFrame) -> StageModel:
    """The stage model of a row of the table `stage_model`."""
    return StageModel.stored(json.loads(row["card"][0]))
