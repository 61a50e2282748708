"""Training a ranker in time order, and whether it may take over."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.inference.ranking import HEURISTIC, journey_strength
from journeys_dagster.inference.ranking_model import RankingModel, feature_matrix, feature_names
from journeys_dagster.monitoring.bootstrap import Mean, bootstrap_gain, bootstrap_mean
from journeys_dagster.settings import Settings
from journeys_dagster.sources.parameters import action_names
from journeys_dagster.training.ranking_metrics import calibration_table, expected_calibration_error, order_quality
from journeys_dagster.training.replay import RETURN
from journeys_dagster.training.spans import Spans, TooFewReturnsError

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
POSITIVE = 0.5
"""Label from which a journey counts as one that the user was in the middle of; that of a return on a single day."""
_DECAY_DAYS = 30
"""Days after which frequency × recency has fallen to 1/e."""
FEEDBACK = "feedback"
"""Labels that users or annotators gave, of whichever source."""


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
    train: pl.DataFrame, validation: pl.DataFrame, *, actions: Sequence[str], model_id: str, validated_by: str = RETURN
) -> Trained:
    """Fit trees point by point, stop early on validation, and calibrate on it, see `calibrated`.

    All labels are learned from, each with its weight; the calibration is on the labels that validate.

    Parameters
    ----------
    train, validation : DataFrame
        From `labelled_snapshots`, and alike from feedback; every label of `train` was known before the first snapshot
        of `validation`.
    actions : sequence of str
        Names of the ``action_counts``.
    validated_by : str
        See `validation_rows`.
    """
    import xgboost

    names = feature_names(train, actions)
    matrices = [
        xgboost.DMatrix(
            feature_matrix(rows),
            rows["label"].to_numpy(),
            weight=rows["label_weight"].to_numpy(),
            feature_names=names,
        )
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
    gains = booster.get_score(importance_type="total_gain")
    total = sum(gains.values()) or 1.0  # type: ignore[arg-type]
    model = RankingModel(model_id, bytes(booster.save_raw("ubj")), tuple(names), ((0.0, 1.0), (0.0, 1.0)))
    return Trained(
        calibrated(model, validation_rows(validation, validated_by), actions),
        booster.num_boosted_rounds(),
        {name: gain / total for name, gain in sorted(gains.items(), key=lambda item: -item[1])},  # type: ignore[operator]
    )


def calibrated(model: RankingModel, examples: pl.DataFrame, actions: Sequence[str]) -> RankingModel:
    """The model with probabilities that examples come to: of a label from `POSITIVE` on, by isotonic regression."""
    from sklearn.isotonic import IsotonicRegression

    positive = (examples["label"] >= POSITIVE).cast(pl.Float64).to_numpy()
    line = IsotonicRegression(out_of_bounds="clip").fit(model.scores(examples, actions), positive)
    return replace(model, calibration=(tuple(map(float, line.X_thresholds_)), tuple(map(float, line.y_thresholds_))))


def validation_rows(examples: pl.DataFrame, validated_by: str) -> pl.DataFrame:
    """The rows whose labels validate: of returns, or of feedback."""
    is_return = pl.col("label_source") == RETURN
    return examples.filter(is_return if validated_by == RETURN else ~is_return)


def choose_validation_label(parts: Mapping[str, pl.DataFrame], *, min_returns: int) -> str:
    """Feedback where validation and test hold enough of it, good and bad; else returns.

    Raises
    ------
    TooFewReturnsError
        There are too few returns, or nothing else, in one of the parts.
    """
    needed = max(min_returns, 1)

    def enough(rows: pl.DataFrame) -> bool:
        good = rows.filter(pl.col("label") >= POSITIVE).height
        return needed <= good <= rows.height - needed

    if all(enough(validation_rows(parts[name], FEEDBACK)) for name in ("validation", "test")):
        return FEEDBACK
    for name, rows in parts.items():
        chosen = validation_rows(rows, RETURN)
        returns = chosen.filter(pl.col("label") >= POSITIVE).height
        if not needed <= returns < chosen.height:
            raise TooFewReturnsError(
                f"{name} snapshots hold {returns} returns among {chosen.height} journeys; at least {needed} and some "
                "journeys without are needed"
            )
    return RETURN


def heuristic_scores(examples: pl.DataFrame) -> dict[str, NDArray[np.float64]]:
    """What ranks without a model, and simpler orders, by name; the random one has a fixed seed."""
    weight, days, first, last = (
        pl.col(name).cast(pl.Float64) for name in ("weight", "days_active", "days_since_first", "days_since_last")
    )
    orders = examples.select(
        heuristic=journey_strength(weight, days, first, last),
        both=weight * (last * (-1.0 / _DECAY_DAYS)).exp(),
        days=days,
        frequency=weight,
        recency=-last,
    )
    return {
        HEURISTIC: orders["heuristic"].to_numpy(),
        "frequency × recency": orders["both"].to_numpy(),
        "active days": orders["days"].to_numpy(),
        "frequency": orders["frequency"].to_numpy(),
        "recency": orders["recency"].to_numpy(),
        "random": np.random.default_rng(SEED).random(len(examples)),
    }


@dataclass(frozen=True)
class Comparison:
    """How rankers did on the same snapshots.

    Attributes
    ----------
    table : DataFrame
        One row each: ``ranker``, ``ndcg``, ``ndcg_low``, ``ndcg_high``, ``mrr``, ``mrr_low``, ``mrr_high``, ``auc``
        (over all rows), ``ece`` (null where there are no probabilities).
    ndcg_gain, mrr_gain : Mean
        The first ranker over the best heuristic, as a share.
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
    """Measure rankers; the first one of `scores` is compared with the best heuristic.

    Parameters
    ----------
    examples : DataFrame
        Columns ``as_of``, ``user_id``, ``journey_id``, ``label`` (float, positive from `POSITIVE` on).
    scores : mapping of str to array of shape (rows,)
    probabilities : mapping of str to array of shape (rows,)
        For those rankers that have them.
    heuristics : sequence of str
        Names of the rankers that are heuristics.
    """
    from sklearn.metrics import roc_auc_score

    examples = examples.with_columns(label=pl.col("label") >= POSITIVE)
    labels = examples["label"].to_numpy()
    qualities = {name: order_quality(examples, of_ranker) for name, of_ranker in scores.items()}
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
    """Train on the first span, calibrate on the second, and compare on the third; then calibrate on the newer two.

    A new model is promoted when it beats the best heuristic there beyond doubt (the 95 % interval of its gain in
    NDCG@5 over users lies above 0), and the current model at all. Feedback validates where there is enough of it, else
    returns do.

    Parameters
    ----------
    examples : DataFrame
        From `labelled_snapshots`, of all days of the spans, and alike from feedback.
    current : RankingModel, optional
        The model in use. One that was trained on other features does not compare.

    Raises
    ------
    TooFewReturnsError
        A span holds too few returns.
    """
    actions = action_names(settings)
    parts: dict[str, pl.DataFrame] = dict(zip(("train", "validation", "test"), spans.split(examples), strict=True))
    validated_by = choose_validation_label(parts, min_returns=settings.ranking.min_returns)
    trained = train_ranker(
        parts["train"],
        parts["validation"],
        actions=actions,
        model_id=f"xgboost-{spans.known_until}",
        validated_by=validated_by,
    )
    test = validation_rows(parts["test"], validated_by)
    scores = trained.model.scores(test, actions)
    probabilities = {"new model": trained.model.probabilities(scores)}
    heuristics = heuristic_scores(test)
    rankers = {"new model": scores, **heuristics}
    comparable = current is not None and current.features == trained.model.features
    if current is not None and comparable:
        rankers["current model"] = current.scores(test, actions)
        probabilities["current model"] = current.probabilities(rankers["current model"])
    comparison = compare_rankers(
        test, rankers, probabilities=probabilities, heuristics=[name for name in heuristics if name != "random"]
    )
    promoted, decision = decide(comparison)
    # How many come back changes with the season. What was compared was the order, and that stays.
    newest = validation_rows(pl.concat([parts["validation"], parts["test"]]), validated_by)
    table = calibration_table(test["label"].to_numpy() >= POSITIVE, probabilities["new model"])
    trained = replace(trained, model=calibrated(trained.model, newest, actions))
    card = {
        "model_id": trained.model.model_id,
        "decision": decision,
        "promoted": promoted,
        "judged_by": validated_by,
        "label": f"return within {settings.ranking.return_days} days",
        "spans": {
            name: {
                "first": str(days[0]),
                "last": str(days[-1]),
                "snapshots": len(days),
                "journeys": rows.height,
                "users": rows["user_id"].n_unique(),
                "labels": label_mix(rows),
            }
            for days, (name, rows) in zip(spans.parts, parts.items(), strict=True)
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
    return Attempt(trained, comparison, table, promoted, decision, card)


def label_mix(examples: pl.DataFrame) -> dict[str, dict[str, int]]:
    """How many labels there are, and how many of them positive, by source."""
    counts = (
        examples.group_by("label_source")
        .agg(labels=pl.len(), positive=(pl.col("label") >= POSITIVE).sum())
        .sort("label_source")
    )
    return {source: {"labels": labels, "positive": positive} for source, labels, positive in counts.iter_rows()}


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
