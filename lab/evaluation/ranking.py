"""How well rankers put first what users come back to, on past snapshots that they have not seen."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.monitoring.bootstrap import Mean, bootstrap_gain
from journeys_dagster.settings import Settings
from journeys_dagster.sources.parameters import action_names
from journeys_dagster.training.history import History, KeywordVectors
from journeys_dagster.training.ranker import Attempt, attempt_ranker, heuristic_scores
from journeys_dagster.training.ranking_metrics import order_quality
from journeys_dagster.training.replay import labelled_snapshots
from journeys_dagster.training.spans import Spans, snapshot_days, training_spans

_DRAWS = 20
_POPULATION = ("share_7", "share_28", "share_84", "expected_returns", "highest_return_rate")
_RHYTHM = ("gap_mean", "gap_deviation", "gap_longest", "gap_newest", "overdue")
_DAYS = ("days_active", "days_active_30", "days_active_90", "days_active_share")
_REPETITION = ("repeated_keywords", "most_days_of_keyword")
ABLATIONS = {
    "the population now": _POPULATION,
    "rhythm": _RHYTHM,
    "active days": _DAYS,
    "repeated keywords": _REPETITION,
    "distance to other journeys, active weeks": ("neighbour_distance", "active_weeks_share"),
    "rhythm, active days and repeated keywords": (*_RHYTHM, *_DAYS, *_REPETITION),
}


@dataclass(frozen=True)
class RankingEvaluation:
    """Past snapshots and the attempt at a ranker for them.

    Attributes
    ----------
    examples : DataFrame
        From `labelled_snapshots`.
    spans : Spans
    attempt : Attempt
    """

    examples: pl.DataFrame
    spans: Spans
    attempt: Attempt

    @property
    def test(self) -> pl.DataFrame:
        """Rows of the test span."""
        return self.spans.split(self.examples)[2]


def evaluate_ranking(
    history: History,
    settings: Settings,
    vectors: KeywordVectors,
    *,
    progress: Callable[[float], None] | None = None,
) -> RankingEvaluation:
    """Train, calibrate and test a ranker in time order, as the asset `ranking_model` does.

    Raises
    ------
    TooFewReturnsError
        There is too little to train on.
    """
    first, last = history.span
    ranking = settings.ranking
    days = snapshot_days(first, last, ranking)
    spans = training_spans(days, horizon_days=ranking.return_days, known_until=last, ranking=ranking)
    examples = pl.concat(labelled_snapshots(history, days, settings, vectors, progress=progress))
    return RankingEvaluation(examples, spans, attempt_ranker(examples, spans, settings, current=None))


def ablations(evaluation: RankingEvaluation, settings: Settings) -> pl.DataFrame:
    """What the model is worth without some of its features, trained anew each time.

    Returns
    -------
    DataFrame
        Columns ``without``, ``ndcg``, ``mrr``, ``auc``.
    """
    rows = []
    for name, columns in {"nothing": (), **ABLATIONS}.items():
        left = evaluation.examples.drop(columns)
        attempt = attempt_ranker(left, evaluation.spans, settings, current=None) if columns else evaluation.attempt
        ours = attempt.comparison.table.row(0, named=True)
        rows.append({"without": name, "ndcg": ours["ndcg"], "mrr": ours["mrr"], "auc": ours["auc"]})
    return pl.DataFrame(rows)


def ceiling(evaluation: RankingEvaluation, settings: Settings, *, seed: int = 0) -> Mean:
    """What could be gained over the best heuristic if the model's probabilities were the truth.

    Returns are drawn from the probabilities, each journey by itself, and ranked by them: no order does better in the
    mean. So the gain is what this much knowledge is worth; only knowing more can give more.

    Returns
    -------
    Mean
        Gain in NDCG@5 as a share, with its interval over users.
    """
    test, model = evaluation.test, evaluation.attempt.trained.model
    probabilities = model.probabilities(model.scores(test, action_names(settings)))
    best = heuristic_scores(test, settings)[evaluation.attempt.comparison.best_heuristic]
    rng = np.random.default_rng(seed)
    draws = [test.with_columns(label=pl.Series(rng.random(len(test)) < probabilities)) for _ in range(_DRAWS)]
    return bootstrap_gain(_mean_quality(draws, probabilities), _mean_quality(draws, best))


def _mean_quality(draws: list[pl.DataFrame], scores: NDArray[np.float64]) -> pl.Series:
    by_user = pl.concat(order_quality(draw, scores) for draw in draws).group_by("user_id").agg(pl.col("ndcg").mean())
    return by_user.sort("user_id")["ndcg"]
