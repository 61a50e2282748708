"""Training a model of sends in time order, and whether it may take over from the rule."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.monitoring.bootstrap import Mean, bootstrap_gain
from journeys_dagster.notification.decisions import RULE, rule_score
from journeys_dagster.notification.features import FEATURES, FEWER_IS_BETTER
from journeys_dagster.notification.send_model import SendModel
from journeys_dagster.settings import NotificationSettings
from journeys_dagster.training.ranking_metrics import calibration_table, expected_calibration_error
from journeys_dagster.training.spans import TooFewReturnsError

SEED = 0
PARAMETERS: Mapping[str, Any] = {
    "objective": "binary:logistic",
    "eval_metric": "logloss",
    "learning_rate": 0.05,
    "max_depth": 4,
    "min_child_weight": 10,
    "subsample": 0.8,
    "colsample_bytree": 0.6,
    "reg_lambda": 4.0,
    "tree_method": "hist",
    "seed": SEED,
}
MAX_ROUNDS, PATIENCE = 300, 30
MIN_CLICKS = {"train": 50, "validation": 20, "test": 20}
_TEST_SHARE, _VALIDATION_SHARE = 0.25, 0.2
NEW, CURRENT = "new model", "current model"


@dataclass(frozen=True)
class SendComparison:
    """How orders of the same sends did.

    Attributes
    ----------
    table : DataFrame
        One row for each of the models and the rule: ``sends_by``, ``clicks_per_send`` of the better half of the sends,
        ``auc`` of a click over all of them, ``ece`` (null where there is no probability).
    gains : dict of str to Mean
        How many more clicks the new model's half has than each other's, as a share, over users.
    """

    table: pl.DataFrame
    gains: dict[str, Mean]


@dataclass(frozen=True)
class SendAttempt:
    """A model that was trained, how it did on the newest sends, and whether it may take over."""

    model: SendModel
    comparison: SendComparison
    calibration: pl.DataFrame
    importance: dict[str, float]
    promoted: bool
    decision: str
    card: dict[str, Any]


def attempt_send_model(
    sends: pl.DataFrame, settings: NotificationSettings, *, known_until: date, current: SendModel | None
) -> SendAttempt:
    """Train on the oldest sends, stop and calibrate on newer ones, and compare on the newest; then calibrate on both.

    A new model is promoted when the half of the newest sends that it scores best has more clicks than the half that the
    rule scores best beyond doubt (the 95 % interval of the gain over users lies above 0), and no fewer than the current
    model's. Only sends whose `feedback_days` are over take part, and between two spans lie as many.

    Parameters
    ----------
    sends : DataFrame
        ``user_id``, ``day``, ``opened``, ``clicked`` (as known on `known_until`), and the columns of `FEATURES` as they
        were when it was decided.
    current : SendModel, optional
        The model in use; one of other features or channels does not compare.

    Raises
    ------
    TooFewReturnsError
        A span holds too few clicks.
    """
    spans = split_sends(sends, feedback_days=settings.feedback_days, known_until=known_until)
    for name, rows in spans.items():
        clicks = int(rows["clicked"].sum())
        if not MIN_CLICKS[name] <= clicks < rows.height:
            raise TooFewReturnsError(
                f"{name} sends hold {clicks} clicks among {rows.height} sends; at least {MIN_CLICKS[name]} are needed"
            )
    train, validation, test = spans.values()
    channels = tuple(settings.channels)
    model, importance, rounds = train_send_model(train, validation, model_id=f"sends-{known_until}", channels=channels)
    models = {NEW: model}
    if current is not None and not current.misfit(channels):
        models[CURRENT] = current
    comparison = compare_sends(test, settings, models)
    promoted, decision = decide_promotion(comparison)
    table = calibration_table(test["clicked"].to_numpy(), model.scores(test))
    model = calibrated(model, pl.concat([validation, test]))
    card = {
        "model_id": model.model_id,
        "decision": decision,
        "promoted": promoted,
        "label": f"click within {settings.feedback_days} days",
        "channels": list(channels),
        "features": list(FEATURES),
        "importance": importance,
        "rounds": rounds,
        "parameters": dict(PARAMETERS),
        "spans": {
            name: {
                "first": str(rows["day"].min()),
                "last": str(rows["day"].max()),
                "sends": rows.height,
                "users": rows["user_id"].n_unique(),
                "opens": int(rows["opened"].sum()),
                "clicks": int(rows["clicked"].sum()),
            }
            for name, rows in spans.items()
        },
        "test": comparison.table.to_dicts(),
        "calibration": list(model.calibration),
    }
    return SendAttempt(model, comparison, table, importance, promoted, decision, card)


def split_sends(sends: pl.DataFrame, *, feedback_days: int, known_until: date) -> dict[str, pl.DataFrame]:
    """Sends of which it is known what became of them, by day: ``train``, ``validation`` and ``test``."""
    horizon = timedelta(days=feedback_days)
    known = sends.filter(pl.col("day") + horizon <= known_until).sort("day", "user_id")
    if known.is_empty():
        raise TooFewReturnsError("there are no sends yet whose feedback_days are over")
    first, last = known["day"][0], known["day"][-1]
    days = (last - first).days + 1
    test_from = last - timedelta(days=max(1, round(_TEST_SHARE * days)) - 1)
    validation_to = test_from - horizon
    validation_from = validation_to - timedelta(days=max(1, round(_VALIDATION_SHARE * days)) - 1)
    return {
        "train": known.filter(pl.col("day") <= validation_from - horizon),
        "validation": known.filter(pl.col("day").is_between(validation_from, validation_to)),
        "test": known.filter(pl.col("day") >= test_from),
    }


def train_send_model(
    train: pl.DataFrame, validation: pl.DataFrame, *, model_id: str, channels: Sequence[str]
) -> tuple[SendModel, dict[str, float], int]:
    """Fit trees of opens on all sends and of clicks on the opened ones; also features by gain, and how many trees."""
    gains: dict[str, float] = dict.fromkeys(FEATURES, 0.0)
    trees, rounds = [], 0
    for label, parts in (
        ("opened", (train, validation)),
        ("clicked", (train.filter("opened"), validation.filter("opened"))),
    ):
        booster = _boosted(label, *parts)
        found = booster.get_score(importance_type="total_gain")
        total = sum(found.values()) or 1.0
        for name, gain in found.items():
            gains[name] += gain / total / 2
        rounds += booster.num_boosted_rounds()
        trees.append(bytes(booster.save_raw("ubj")))
    model = SendModel(model_id, trees[0], trees[1], tuple(channels), FEATURES, (1.0, 0.0))
    return calibrated(model, validation), dict(sorted(gains.items(), key=lambda item: -item[1])), rounds


def _boosted(label: str, train: pl.DataFrame, validation: pl.DataFrame) -> Any:  # noqa: ANN401
    import xgboost

    matrices = [
        xgboost.DMatrix(
            rows.select(pl.col(FEATURES).cast(pl.Float32)).to_numpy(),
            rows[label].cast(pl.Float32).to_numpy(),
            feature_names=list(FEATURES),
        )
        for rows in (train, validation)
    ]
    constraints = dict.fromkeys(FEWER_IS_BETTER, -1)
    stopped = xgboost.train(
        {**PARAMETERS, "monotone_constraints": constraints},
        matrices[0],
        MAX_ROUNDS,
        evals=[(matrices[1], "validation")],
        early_stopping_rounds=PATIENCE,
        verbose_eval=False,
    )
    return stopped[: stopped.best_iteration + 1]


def calibrated(model: SendModel, sends: pl.DataFrame) -> SendModel:
    """The model with probabilities that sends come to, by logistic regression on its odds (Platt 1999): what it orders
    stays in order.
    """
    from scipy.optimize import minimize

    odds, clicked = model.odds(sends), sends["clicked"].to_numpy().astype(np.float64)

    def loss(line: NDArray[np.float64]) -> float:
        stated = np.exp(line[0]) * odds + line[1]
        return float((np.logaddexp(0.0, stated) - clicked * stated).mean() + 1e-3 * line[0] ** 2)

    # The logarithm of the slope, which so stays above 0.
    slope, intercept = minimize(loss, np.zeros(2), method="Nelder-Mead").x
    return replace(model, calibration=(float(np.exp(slope)), float(intercept)))


def compare_sends(
    sends: pl.DataFrame, settings: NotificationSettings, models: Mapping[str, SendModel]
) -> SendComparison:
    """Measure how well the rule and some models order the same sends."""
    from sklearn.metrics import roc_auc_score

    clicked = sends["clicked"].to_numpy()
    probabilities = {name: model.scores(sends) for name, model in models.items()}
    scores = {**probabilities, RULE: sends.select(rule_score(settings)).to_series().to_numpy()}
    half = max(1, len(sends) // 2)
    rows, clicks = [], {}
    for name, of in scores.items():
        best = np.zeros(len(sends), dtype=np.bool_)
        best[np.argsort(-of, kind="stable")[:half]] = True
        counted = sends.select("user_id", clicks=pl.Series((best & clicked).astype(np.float64)))
        clicks[name] = counted.group_by("user_id").agg(pl.col("clicks").sum()).sort("user_id")["clicks"]
        rows.append(
            {
                "sends_by": name,
                "clicks_per_send": float(clicked[best].mean()),
                "auc": float(roc_auc_score(clicked, of)),
                "ece": expected_calibration_error(clicked, of) if name in probabilities else None,
            }
        )
    gains = {name: bootstrap_gain(clicks[NEW], each) for name, each in clicks.items() if name != NEW and each.sum() > 0}
    return SendComparison(pl.DataFrame(rows, schema_overrides={"ece": pl.Float64}), gains)


def decide_promotion(comparison: SendComparison) -> tuple[bool, str]:
    """Whether a new model may take over, and why; see `attempt_send_model`."""
    by = dict(comparison.table.select("sends_by", "clicks_per_send").iter_rows())
    if RULE not in comparison.gains:
        return False, "refused: the rule's half of the test sends has no clicks to compare with"
    gain = comparison.gains[RULE]
    against = (
        f"{by[NEW]:.3f} clicks per send in the better half, {gain.value:+.1%} ({gain.low:+.1%} to {gain.high:+.1%}) "
        "over the rule"
    )
    if gain.low <= 0:
        return False, f"refused: {against}, which may be chance"
    if CURRENT in by and by[NEW] < by[CURRENT]:
        return False, f"refused: {against}, but the current model has {by[CURRENT]:.3f}"
    return True, f"promoted: {against}"
