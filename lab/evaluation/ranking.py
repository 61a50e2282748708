"""How well rankers put first what users come back to, on past snapshots that they have not seen."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.monitoring.bootstrap import Mean, bootstrap_gain
from journeys_dagster.reporting.calibration import calibration_curve
from journeys_dagster.reporting.plots import trade_off
from journeys_dagster.settings import Settings
from journeys_dagster.sources.parameters import action_names
from journeys_dagster.training.diversification import diversification_trade_off, recommend
from journeys_dagster.training.history import History, KeywordVectors
from journeys_dagster.training.ranker import (
    Attempt,
    attempt_ranker,
    compare_rankers,
    heuristic_scores,
    train_ranker,
    validation_rows,
)
from journeys_dagster.training.ranking_metrics import order_quality
from journeys_dagster.training.replay import labelled_snapshots
from journeys_dagster.training.spans import Spans, snapshot_days, training_spans
from lab.benchmark import Result, Run, argument, option
from lab.evaluation.corpora import read_log
from lab.evaluation.statistics import gain_text

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
class Ranking:
    """A ranker trained on the first months of a log, against heuristics on its last.

    PATH is UCI Online Retail (Parquet), search missions (tab-separated), or the word complete-journey (of N households:
    complete-journey:N), whose package calls it simulated.
    """

    name: ClassVar[str] = "ranking"
    path: Path = argument()
    ablations: bool = option(default=False, help="Train again without some features.")

    def measure(self, run: Run) -> Result:
        """Train, and rank test snapshots."""
        history = read_log(self.path, run.settings)
        with run.step("replay") as advance:
            found = evaluate_ranking(history, run.settings, run.vectors, progress=advance)
        attempt, limit = found.attempt, ceiling(found, run.settings)
        comparison, spans = attempt.comparison, attempt.card["spans"]
        gains = {"ndcg_gain": comparison.ndcg_gain, "mrr_gain": comparison.mrr_gain}
        figures = {"decision": attempt.decision, "spans": spans, **gains, "ceiling": limit, "test": comparison.table}
        tables = {f"test snapshots, {comparison.users:,} users who came back": comparison.table}
        if self.ablations:
            figures["ablations"] = tables["trained without"] = ablations(found, run.settings)
        notes = [
            f"{name}: {span['snapshots']} snapshots, {span['first']} to {span['last']}, {span['users']:,} users, "
            f"{span['journeys']:,} journeys, {span['labels']['return']['positive']:,} returns"
            for name, span in spans.items()
        ]
        notes += [
            f"NDCG@5 over {comparison.best_heuristic}: {gain_text(comparison.ndcg_gain)}; "
            f"MRR: {gain_text(comparison.mrr_gain)}",
            f"were the model's probabilities the truth, the gain in NDCG@5 would be {gain_text(limit)}",
        ]
        curve = partial(calibration_curve, attempt.calibration, title="Calibration on the test snapshots")
        return Result(figures, tables, notes, {"calibration-curve": curve})


@dataclass(frozen=True)
class Diversification:
    """What each method to diversify costs in relevance, on a log. PATH as for `ranking`."""

    name: ClassVar[str] = "diversification"
    path: Path = argument()

    def measure(self, run: Run) -> Result:
        """Rank test snapshots at every strength of every strategy."""
        history = read_log(self.path, run.settings)
        with run.step("replay") as advance:
            points = diversification_trade_off(history, run.settings, run.vectors, progress=advance)
        strategy, parameter = recommend(points)
        return Result(
            {"points": points, "recommended": {"strategy": strategy, "parameter": parameter}},
            {"relevance (NDCG@5) and likeness (mean cosine) of the first five": points},
            [f"most diverse at 99 % of the best relevance: {strategy}, {parameter}"],
            {"relevance-against-diversity": partial(trade_off, points, title="Relevance against diversity")},
        )


@dataclass(frozen=True)
class RankingEvaluation:
    """Past snapshots, from `labelled_snapshots`, and the attempt at a ranker for them."""

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
    """What groups of features are worth: the model trained anew without each, on the same test snapshots.

    Returns
    -------
    DataFrame
        Columns ``without``, ``ndcg``, ``mrr``, ``auc``, ``ece``; and ``lost``, ``lost_low``, ``lost_high``: how much
        lower NDCG@5 is than with all features, as a share, with its interval over users. Null for the model with all.
    """
    attempt, actions = evaluation.attempt, action_names(settings)
    train, validation, _ = evaluation.spans.split(evaluation.examples)
    judged_by = attempt.card["judged_by"]
    test = validation_rows(evaluation.test, judged_by)
    measures, whole = ("ndcg", "mrr", "auc", "ece"), attempt.trained.model.scores(test, actions)
    first = attempt.comparison.table.row(0, named=True)
    rows: list[dict[str, object]] = [{"without": "nothing", **{measure: first[measure] for measure in measures}}]
    for name, columns in ABLATIONS.items():
        left = (train.drop(columns), validation.drop(columns))
        model = train_ranker(*left, actions=actions, model_id="", validated_by=judged_by).model
        scores = model.scores(test.drop(columns), actions)
        rankers = {"without": scores, "with all": whole}
        told = {"without": model.probabilities(scores)}
        compared = compare_rankers(test, rankers, probabilities=told, heuristics=["with all"])
        found, gain = compared.table.row(0, named=True), compared.ndcg_gain
        lost = {"lost": -gain.value, "lost_low": -gain.high, "lost_high": -gain.low}
        rows.append({"without": name, **{measure: found[measure] for measure in measures}, **lost})
    return pl.DataFrame(rows, infer_schema_length=None)


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
    best = heuristic_scores(test)[evaluation.attempt.comparison.best_heuristic]
    rng = np.random.default_rng(seed)
    draws = [test.with_columns(label=pl.Series(rng.random(len(test)) < probabilities)) for _ in range(_DRAWS)]
    return bootstrap_gain(_mean_quality(draws, probabilities), _mean_quality(draws, best))


def _mean_quality(draws: list[pl.DataFrame], scores: NDArray[np.float64]) -> pl.Series:
    by_user = pl.concat(order_quality(draw, scores) for draw in draws).group_by("user_id").agg(pl.col("ndcg").mean())
    return by_user.sort("user_id")["ndcg"]
