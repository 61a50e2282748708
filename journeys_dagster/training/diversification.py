"""What diversity costs: relevance against likeness within the list, for each strategy over its parameter."""

from collections.abc import Callable
from datetime import timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.inference.diversification import diversify, select_diverse
from journeys_dagster.inference.ranking import HEURISTIC
from journeys_dagster.inference.segments import centroids, segment_starts
from journeys_dagster.settings import Settings
from journeys_dagster.training.history import History, KeywordVectors
from journeys_dagster.training.ranker import heuristic_scores
from journeys_dagster.training.ranking_metrics import CUTOFF, order_quality
from journeys_dagster.training.replay import days_to_return, replay_features
from journeys_dagster.training.spans import TooFewReturnsError

SNAPSHOTS = 4
KEPT_RELEVANCE = 0.99
PENALTIES = (1.0, 0.95, 0.9, 0.8, 0.65, 0.5, 0.25)
DIVERSITIES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7)
_MEMBERS = "select user_id, journey_id, keyword, weight from clusters join journey_identities using (user_id, cluster)"


def diversification_trade_off(
    history: History,
    settings: Settings,
    vectors: KeywordVectors,
    *,
    progress: Callable[[float], None] | None = None,
) -> pl.DataFrame:
    """Re-rank past snapshots by every strategy and look at what users came back to.

    Journeys are ranked by the heuristic first; snapshots are the newest whose returns are known, a horizon apart.

    Returns
    -------
    DataFrame
        Columns ``strategy``, ``parameter``, ``ndcg`` (NDCG@5 on returns, mean over users), ``similarity`` (mean
        cosine of two journeys of the first five, mean over lists of two and more).

    Raises
    ------
    TooFewReturnsError
        Nobody came back to a journey.
    """
    horizon = timedelta(days=settings.ranking.return_days)
    first, last = history.span
    days = [day for step in range(1, SNAPSHOTS + 1) if (day := last - step * horizon) > first]
    snapshots = []
    for done, day in enumerate(days, start=1):
        features = replay_features(history, day, settings, vectors)
        returned = days_to_return(history, day, settings).filter(pl.col("days_to_return") <= horizon.days)
        score = heuristic_scores(features)[HEURISTIC]
        rows = (
            features.select("as_of", "user_id", "journey_id", score=pl.Series(score))
            .join(returned, on=["user_id", "journey_id"], how="left")
            .with_columns(label=pl.col("days_to_return").is_not_null())
            .filter(pl.col("label").any().over("user_id"))
            .sort("user_id", "score", "journey_id", descending=[False, True, False])
            .with_columns(rank=pl.int_range(pl.len()).over("user_id") + 1)
        )
        if not rows.is_empty():
            snapshots.append((rows, _journey_vectors(history, rows, vectors)))
        if progress is not None:
            progress(done / len(days))
    if not snapshots:
        raise TooFewReturnsError(f"of {len(days)} snapshots from {first} to {last}, none has a journey with a return")
    trials = [("penalty", value) for value in PENALTIES]
    trials += [(strategy, value) for strategy in ("mmr", "dpp", "ssd") for value in DIVERSITIES]
    return pl.DataFrame([_trial(snapshots, settings, strategy, value) for strategy, value in trials])


def recommend(points: pl.DataFrame) -> tuple[str, float]:
    """The most diverse strategy and parameter among those that keep 99 % of the best relevance."""
    enough = points["ndcg"].max() * KEPT_RELEVANCE  # type: ignore[operator]
    strategy, parameter = (
        points.filter(pl.col("ndcg") >= enough).sort("similarity").select("strategy", "parameter").row(0)
    )
    return strategy, parameter


def _journey_vectors(history: History, rows: pl.DataFrame, vectors: KeywordVectors) -> NDArray[np.float32]:
    members = rows.select("user_id", "journey_id", "rank").join(
        history.query(_MEMBERS, {}), on=["user_id", "journey_id"], how="left"
    )
    coded = vectors.code(members.sort("user_id", "rank", "keyword"))
    starts = segment_starts(coded.select("user_id", "rank"))
    return centroids(vectors.vectors, coded["code"].to_numpy(), coded["weight"].to_numpy(), starts)


def _trial(
    snapshots: list[tuple[pl.DataFrame, NDArray[np.float32]]], settings: Settings, strategy: str, value: float
) -> dict[str, str | float]:
    scored, similarities = [], []
    threshold = settings.diversification.similarity_threshold
    for rows, vectors in snapshots:
        if strategy == "penalty":
            new = diversify(rows, vectors, penalty=value, similarity_threshold=threshold)
        else:
            length = settings.output.max_journeys_per_user
            new = select_diverse(
                rows,
                vectors,
                strategy=strategy,
                diversity=value,
                list_length=length,
                similarity_threshold=threshold,
            )
        placed = rows.with_row_index("row").join(
            new.select("user_id", "journey_id", place="rank"), on=["user_id", "journey_id"]
        )
        scored.append(placed)
        similarities.append(_similarity(placed, vectors))
    every = pl.concat(scored)
    quality = order_quality(every, -every["place"].to_numpy().astype(np.float64))
    return {
        "strategy": strategy,
        "parameter": value,
        "ndcg": float(np.mean(quality["ndcg"].to_numpy())),
        "similarity": float(np.concatenate(similarities).mean()),
    }


def _similarity(placed: pl.DataFrame, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean cosine of the pairs among the first places, of each list with two and more."""
    top = placed.filter(pl.col("place") <= CUTOFF).sort("user_id", "place")
    starts = segment_starts(top.select("user_id"))
    sizes = np.diff(starts)
    unit = vectors[top["row"].to_numpy()].astype(np.float64)
    sums = np.add.reduceat(unit, starts[:-1], axis=0)
    # Of unit vectors, the squared length of the sum is n and twice the sum of the cosines.
    squares = np.add.reduceat((unit**2).sum(axis=1), starts[:-1])
    several = sizes > 1
    cosines = ((sums**2).sum(axis=1) - squares)[several]
    return cosines / (sizes * (sizes - 1.0))[several]
