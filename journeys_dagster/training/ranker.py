"""Training a ranker in time order, and whether it may take over."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.inference.ranking import heuristic_score
from journeys_dagster.inference.ranking_model import RankingModel, feature_matrix, feature_names
from journeys_dagster.settings import Settings
from journeys_dagster.sql_parameters import action_names
from journeys_dagster.training.bootstrap import Mean, bootstrap_gain, bootstrap_mean
from journeys_dagster.training.ranking_metrics import calibration_table, expected_calibration_error, order_quality

WARM_UP_DAYS = 7
"""Days of history that a user's first snapshot should have behind it."""
SHORT_HISTORY_SHARE = 4
SEED = 0
PARAMETERS: Mapping[str, Any] = {
    "objective": "binary:logistic",
    "eval_metric": "logloss",
    "learning_rate": 0.04,
    "max_depth": 6,
    "min_child_weight": 20,
    "subsample": 0.8,
    "colsample_bytree": 0.5,
    "tree_method": "hist",
    "seed": SEED,
}
MAX_ROUNDS, PATIENCE = 800, 40


class TooFewReturnsError(ValueError):
    """There is not enough history or not enough returns to train on; the message says what there is."""


@dataclass(frozen=True)
class Spans:
    """Days of the snapshots to train on, to validate on and to test on.

    Between two spans lie as many days as a return may take, so that no label of one looks into the next.
    """

    train: list[date]
    validation: list[date]
    test: list[date]

    @property
    def parts(self) -> tuple[list[date], list[date], list[date]]:
        """The three spans."""
        return self.train, self.validation, self.test

    @property
    def days(self) -> list[date]:
        """All days, in order."""
        return [*self.train, *self.validation, *self.test]

    def known_until(self, settings: Settings) -> date:
        """Day on which the newest label is known."""
        return self.test[-1] + timedelta(days=settings.ranking.return_days)


def training_spans(first: date, last: date, settings: Settings) -> Spans:
    """Snapshot days for a history from `first` to `last`.

    Raises
    ------
    TooFewReturnsError
        The history is too short for three spans.
    """
    ranking = settings.ranking
    horizon = timedelta(days=ranking.return_days)
    begins, ends = first + timedelta(days=WARM_UP_DAYS), last - horizon
    days_left = (ends - begins).days - 2 * ranking.return_days
    if days_left < SHORT_HISTORY_SHARE:
        needed = 3 * ranking.return_days + WARM_UP_DAYS + SHORT_HISTORY_SHARE
        raise TooFewReturnsError(
            f"history from {first} to {last} is {(last - first).days} days; training with a horizon of "
            f"{ranking.return_days} days needs {needed}"
        )
    test_from = ends - timedelta(days=min(ranking.test_days, days_left // SHORT_HISTORY_SHARE))
    validation_to = test_from - horizon
    validation_from = validation_to - timedelta(days=min(ranking.validation_days, days_left // SHORT_HISTORY_SHARE))
    spans = ((begins, validation_from - horizon), (validation_from, validation_to), (test_from, ends))
    return Spans(*(_every(ranking.snapshot_every_days, begin, end) for begin, end in spans))


def _every(days: int, begin: date, end: date) -> list[date]:
    """Days from the end of a span backwards, in order of time."""
    backwards = (end - timedelta(days=days * step) for step in itertools.count())
    return list(itertools.takewhile(lambda day: day >= begin, backwards))[::-1]


@dataclass(frozen=True)
class Trained:
    """A new model and how it did.

    Attributes
    ----------
    model : RankingModel
    rounds : int
        Trees that early stopping left.
    importance : dict of str to float
        Share of the gain of all splits, by feature, from the largest down.
    """

    model: RankingModel
    rounds: int
    importance: dict[str, float]


def train_ranker(
    train: pl.DataFrame, validation: pl.DataFrame, *, actions: Sequence[str], model_id: str, min_returns: int
) -> Trained:
    """Fit trees point by point, stop early on validation, and calibrate on it by isotonic regression.

    Parameters
    ----------
    train, validation : DataFrame
        From `return_examples`; every label of `train` was known before the first snapshot of `validation`.
    actions : sequence of str
        Names of the ``action_counts``.
    min_returns : int
        Returns that each of them must hold.

    Raises
    ------
    TooFewReturnsError
        There are fewer returns, or nothing else.
    """
    import xgboost
    from sklearn.isotonic import IsotonicRegression

    for name, rows in (("training", train), ("validation", validation)):
        returns = int(rows["label"].sum())
        if not max(min_returns, 1) <= returns < len(rows):
            raise TooFewReturnsError(
                f"{name} snapshots hold {returns} returns among {len(rows)} journeys; at least {min_returns} and some "
                "journeys without are needed"
            )
    names = feature_names(train, actions)
    matrices = [
        xgboost.DMatrix(feature_matrix(rows), rows["label"].to_numpy().astype(np.float32), feature_names=names)
        for rows in (train, validation)
    ]
    stopped = xgboost.train(
        dict(PARAMETERS),
        matrices[0],
        MAX_ROUNDS,
        evals=[(matrices[1], "validation")],
        early_stopping_rounds=PATIENCE,
        verbose_eval=False,
    )
    booster = stopped[: stopped.best_iteration + 1]
    raw = booster.predict(matrices[1]).astype(np.float64)
    isotonic = IsotonicRegression(out_of_bounds="clip").fit(raw, validation["label"].to_numpy().astype(np.float64))
    gains = booster.get_score(importance_type="total_gain")
    total = sum(gains.values()) or 1.0  # type: ignore[arg-type]
    return Trained(
        RankingModel(
            model_id,
            bytes(booster.save_raw("ubj")),
            tuple(names),
            (tuple(map(float, isotonic.X_thresholds_)), tuple(map(float, isotonic.y_thresholds_))),
        ),
        booster.num_boosted_rounds(),
        {name: gain / total for name, gain in sorted(gains.items(), key=lambda item: -item[1])},  # type: ignore[operator]
    )


def heuristic_scores(examples: pl.DataFrame, settings: Settings) -> dict[str, NDArray[np.float64]]:
    """Simple orders to beat, by name; the random one has a fixed seed."""
    decay = settings.ranking.recency_decay_days
    frequency, days = (pl.col(name).cast(pl.Float64) for name in ("weight", "days_since_last"))
    orders = examples.select(
        both=heuristic_score(frequency, days, recency_decay_days=decay), frequency=frequency, recency=-days
    )
    return {
        "frequency × recency": orders["both"].to_numpy(),
        "frequency": orders["frequency"].to_numpy(),
        "recency": orders["recency"].to_numpy(),
        "random": np.random.default_rng(SEED).random(len(examples)),
    }


@dataclass(frozen=True)
class Comparison:
    """How ways to rank did on the same snapshots.

    Attributes
    ----------
    table : DataFrame
        One row per way: ``ranker``, ``ndcg``, ``ndcg_low``, ``ndcg_high``, ``mrr``, ``mrr_low``, ``mrr_high``, ``auc``
        (over all rows), ``ece`` (null where there are no probabilities).
    ndcg_gain, mrr_gain : Mean
        The first way over the best of the others that are heuristics, as a share.
    best_heuristic : str
        By NDCG@5.
    users : int
        Users with a return.
    """

    table: pl.DataFrame
    ndcg_gain: Mean
    mrr_gain: Mean
    best_heuristic: str
    users: int


def compare_rankers(
    examples: pl.DataFrame,
    scores: Mapping[str, NDArray[np.float64]],
    *,
    probabilities: Mapping[str, NDArray[np.float64]],
    heuristics: Sequence[str],
) -> Comparison:
    """Measure ways to rank; the first one of `scores` is compared with the best heuristic.

    Parameters
    ----------
    examples : DataFrame
        From `return_examples`.
    scores : mapping of str to array of shape (rows,)
    probabilities : mapping of str to array of shape (rows,)
        For those ways that have them.
    heuristics : sequence of str
        Names of the ways that count as heuristics.
    """
    from sklearn.metrics import roc_auc_score

    labels = examples["label"].to_numpy()
    qualities = {name: order_quality(examples, of_way) for name, of_way in scores.items()}
    rows = []
    for name, quality in qualities.items():
        ndcg, mrr = bootstrap_mean(quality["ndcg"]), bootstrap_mean(quality["reciprocal_rank"])
        stated = probabilities.get(name)
        rows.append(
            {
                "ranker": name,
                "ndcg": ndcg.value,
                "ndcg_low": ndcg.low,
                "ndcg_high": ndcg.high,
                "mrr": mrr.value,
                "mrr_low": mrr.low,
                "mrr_high": mrr.high,
                "auc": float(roc_auc_score(labels, scores[name])),
                "ece": None if stated is None else expected_calibration_error(labels, stated),
            }
        )
    table = pl.DataFrame(rows, schema_overrides={"ece": pl.Float64})
    best = {
        measure: max(heuristics, key=lambda name, measure=measure: qualities[name][measure].mean())  # type: ignore[arg-type,return-value]
        for measure in ("ndcg", "reciprocal_rank")
    }
    ours = qualities[next(iter(scores))]
    return Comparison(
        table=table,
        ndcg_gain=bootstrap_gain(ours["ndcg"], qualities[best["ndcg"]]["ndcg"]),
        mrr_gain=bootstrap_gain(ours["reciprocal_rank"], qualities[best["reciprocal_rank"]]["reciprocal_rank"]),
        best_heuristic=best["ndcg"],
        users=len(ours),
    )


@dataclass(frozen=True)
class Attempt:
    """A model that was trained, how it did on the test span, and whether it may take over.

    Attributes
    ----------
    trained : Trained
    comparison : Comparison
    calibration : DataFrame
        Stated and observed rates on the test span, from `calibration_table`.
    promoted : bool
    decision : str
        Why, with figures.
    card : dict
        The model card: plain values.
    """

    trained: Trained
    comparison: Comparison
    calibration: pl.DataFrame
    promoted: bool
    decision: str
    card: dict[str, Any]


def attempt_ranker(
    examples: pl.DataFrame, spans: Spans, settings: Settings, *, current: RankingModel | None
) -> Attempt:
    """Train on the first span, calibrate on the second, and compare on the third.

    A new model is promoted when it beats the best heuristic there beyond doubt (the 95 % interval of its gain in
    NDCG@5 over users lies above 0), and the current model at all.

    Parameters
    ----------
    examples : DataFrame
        From `return_examples`, of all days of the spans.
    current : RankingModel, optional
        The model in use. One that was trained on other features does not compare.

    Raises
    ------
    TooFewReturnsError
        A span holds too few returns.
    """
    actions = action_names(settings)
    train, validation, test = (examples.filter(pl.col("as_of").is_in(days)) for days in spans.parts)
    minimum = settings.ranking.min_returns
    if (returns := int(test["label"].sum())) < minimum:
        raise TooFewReturnsError(f"test snapshots hold {returns} returns; at least {minimum} are needed")
    trained = train_ranker(
        train, validation, actions=actions, model_id=f"xgboost-{spans.known_until(settings)}", min_returns=minimum
    )
    scores = trained.model.scores(test, actions)
    probabilities = {"new model": trained.model.probabilities(scores)}
    heuristics = heuristic_scores(test, settings)
    ways = {"new model": scores, **heuristics}
    comparable = current is not None and current.features == trained.model.features
    if current is not None and comparable:
        ways["current model"] = current.scores(test, actions)
        probabilities["current model"] = current.probabilities(ways["current model"])
    comparison = compare_rankers(
        test, ways, probabilities=probabilities, heuristics=[name for name in heuristics if name != "random"]
    )
    promoted, decision = decide(comparison)
    card = {
        "model_id": trained.model.model_id,
        "decision": decision,
        "promoted": promoted,
        "label": f"return within {settings.ranking.return_days} days",
        "spans": {
            name: {
                "first": str(days[0]),
                "last": str(days[-1]),
                "snapshots": len(days),
                "journeys": len(rows),
                "users": rows["user_id"].n_unique(),
                "returns": int(rows["label"].sum()),
            }
            for name, days, rows in zip(
                ("train", "validation", "test"), spans.parts, (train, validation, test), strict=True
            )
        },
        "features": list(trained.model.features),
        "importance": trained.importance,
        "rounds": trained.rounds,
        "parameters": dict(PARAMETERS),
        "seed": SEED,
        "settings": settings.ranking.model_dump(mode="json"),
        "test": comparison.table.to_dicts(),
        "calibration": {"score": trained.model.calibration[0], "probability": trained.model.calibration[1]},
    }
    table = calibration_table(test["label"].to_numpy(), probabilities["new model"])
    return Attempt(trained, comparison, table, promoted, decision, card)


def decide(comparison: Comparison) -> tuple[bool, str]:
    """Whether a new model may take over, and why; see `attempt_ranker`."""
    gain = comparison.ndcg_gain
    against = f"NDCG@5 {gain.value:+.1%} ({gain.low:+.1%} to {gain.high:+.1%}) over {comparison.best_heuristic}"
    if gain.low <= 0:
        return False, f"refused: {against}, which may be chance"
    ndcg = dict(comparison.table.select("ranker", "ndcg").iter_rows())
    if "current model" not in ndcg:
        return True, f"promoted: {against}"
    over_current = ndcg["new model"] / ndcg["current model"] - 1.0
    if over_current <= 0:
        return False, f"refused: {against}, but {over_current:+.1%} over the current model"
    return True, f"promoted: {against}, {over_current:+.1%} over the current model"
