"""Training the stage model, and whether it is promoted."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.inference.stage_model import AGEING_TERMS, StageModel, return_terms
from journeys_dagster.monitoring.bootstrap import Mean, bootstrap_gain
from journeys_dagster.settings import Settings
from journeys_dagster.training.ranking_metrics import expected_calibration_error
from journeys_dagster.training.replay import RETURN
from journeys_dagster.training.spans import Spans, TooFewReturnsError

MIN_RETURNS = 20
"""A line of eight weights needs far fewer returns than trees."""
RIDGE = 10.0
RULE, GAPS, SMOOTHED_GAPS = "days since last", "exponential gaps", "exponential gaps, smoothed"


def returned_within(examples: pl.DataFrame, days: int) -> NDArray[np.bool_]:
    """Whether users came back to journeys within so many days, shape (rows,)."""
    return (examples["days_to_return"] <= days).fill_null(value=False).to_numpy()


def train_stage_model(train: pl.DataFrame, *, return_days: int, model_id: str) -> StageModel:
    """Fit a logistic regression with a ridge; what falls in silence gets no negative weight.

    Parameters
    ----------
    train : DataFrame
        From `labelled_snapshots`; whether users came back within `return_days` is known of every row.

    Raises
    ------
    TooFewReturnsError
        There are too few returns, or nothing else.
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    labels = returned_within(train, return_days)
    returns = int(labels.sum())
    if not MIN_RETURNS <= returns < len(labels):
        raise TooFewReturnsError(
            f"training snapshots hold {returns} returns within {return_days} days among {len(labels)} journeys; at "
            f"least {MIN_RETURNS} and some journeys without are needed"
        )
    terms = return_terms(train)
    columns = np.column_stack([*terms.values()])
    means, deviations = columns.mean(axis=0), columns.std(axis=0)
    deviations[deviations == 0] = 1.0
    design = np.column_stack([(columns - means) / deviations, np.ones(len(columns))])

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scores = design @ weights
        penalty = RIDGE * np.append(weights[:-1], 0.0)
        value = np.logaddexp(0.0, scores).sum() - scores[labels].sum() + 0.5 * penalty @ weights
        return float(value), design.T @ (expit(scores) - labels) + penalty

    bounds = [(0.0, None) if name in AGEING_TERMS else (None, None) for name in terms]
    start = np.append(np.zeros(len(terms)), np.log(labels.mean() / (1.0 - labels.mean())))
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[*bounds, (None, None)])
    weights = found.x[:-1] / deviations
    return StageModel(
        model_id=model_id,
        return_days=return_days,
        intercept=float(found.x[-1] - weights @ means),
        weights={name: float(weight) for name, weight in zip(terms, weights, strict=True)},
    )


def baseline_probabilities(
    examples: pl.DataFrame, *, return_days: int, ended_after_days: int
) -> dict[str, NDArray[np.float64]]:
    """Simple forecasts of a return, by name, each of shape (rows,).

    The rule is sure: ongoing journeys return and others do not. Exponential gaps are a Poisson process per journey:
    its rate is the number of gaps between active days over the days since the first, or with one gap mixed in.
    """
    days_active, age, idle = (
        examples[name].cast(pl.Float64).to_numpy() for name in ("days_active", "days_since_first", "days_since_last")
    )
    exposure = age + 1.0
    return {
        RULE: (idle <= ended_after_days).astype(np.float64),
        GAPS: 1.0 - np.exp(-return_days * (days_active - 1.0) / exposure),
        SMOOTHED_GAPS: 1.0 - np.exp(-return_days * days_active / exposure),
    }


@dataclass(frozen=True)
class StageComparison:
    """How forecasts of a return did on the same journeys.

    Attributes
    ----------
    table : DataFrame
        One row per forecast: ``forecast``, ``auc``, ``brier``, ``ece`` (float64).
    brier_gains : dict of str to Mean
        How much lower the first forecast's Brier score is than each other's, as a share, over users.
    """

    table: pl.DataFrame
    brier_gains: dict[str, Mean]


def compare_forecasts(
    examples: pl.DataFrame, forecasts: Mapping[str, NDArray[np.float64]], *, return_days: int
) -> StageComparison:
    """Measure forecasts of a return within `return_days` by AUC, Brier score (Brier 1950) and calibration error."""
    from sklearn.metrics import roc_auc_score

    labels = returned_within(examples, return_days)
    rows, errors = [], {}
    for name, stated in forecasts.items():
        squared = (stated - labels) ** 2
        by_user = examples.select("user_id", squared=pl.Series(squared)).group_by("user_id").sum().sort("user_id")
        errors[name] = by_user["squared"]
        rows.append(
            {
                "forecast": name,
                "auc": float(roc_auc_score(labels, stated)),
                "brier": float(squared.mean()),
                "ece": expected_calibration_error(labels, stated),
            }
        )
    first, *others = errors
    gains = {name: bootstrap_gain(errors[first], errors[name]) for name in others}
    # A lower score is the better one.
    return StageComparison(
        pl.DataFrame(rows), {name: Mean(-gain.value, -gain.high, -gain.low) for name, gain in gains.items()}
    )


@dataclass(frozen=True)
class StageAttempt:
    """A model that was trained, how it did on the test span, and whether it may take over."""

    model: StageModel
    comparison: StageComparison
    promoted: bool
    decision: str
    card: dict[str, Any]


def attempt_stage_model(
    examples: pl.DataFrame, spans: Spans, settings: Settings, *, current: StageModel | None
) -> StageAttempt:
    """Train on all but the newest span, and compare on that.

    A new model is promoted when its Brier score is lower than that of every simple forecast beyond doubt (95 %
    intervals over users) and its AUC higher, and when its Brier score is no worse than the current model's.

    Parameters
    ----------
    examples : DataFrame
        From `labelled_snapshots`; labels of other sources are left out.
    spans : Spans
        With `stages.return_days` as their horizon; there is nothing to validate, so those days are trained on too.
    current : StageModel, optional
        The model in use. One with another horizon does not compare.

    Raises
    ------
    TooFewReturnsError
        There are too few returns to train or to test on.
    """
    chosen = settings.stages
    days = chosen.return_days
    train, validation, test = spans.split(examples.filter(pl.col("label_source") == RETURN))
    train = pl.concat([train, validation])
    model = train_stage_model(train, return_days=days, model_id=f"logistic-{spans.known_until}")
    returns = int(returned_within(test, days).sum())
    if not MIN_RETURNS <= returns < len(test):
        raise TooFewReturnsError(
            f"test snapshots hold {returns} returns within {days} days among {len(test)} journeys; at least "
            f"{MIN_RETURNS} and some journeys without are needed"
        )
    forecasts = {"new model": model.probabilities(test)}
    forecasts |= baseline_probabilities(test, return_days=days, ended_after_days=chosen.ended_after_days)
    if current is not None and current.return_days == days:
        forecasts["current model"] = current.probabilities(test)
    comparison = compare_forecasts(test, forecasts, return_days=days)
    promoted, decision = decide(comparison)
    parts = {"train": train, "test": test}
    card = {
        "model_id": model.model_id,
        "decision": decision,
        "promoted": promoted,
        "label": f"return within {days} days",
        "return_days": days,
        "intercept": model.intercept,
        "weights": dict(model.weights),
        "spans": {
            name: {
                "first": str(rows["as_of"].min()),
                "last": str(rows["as_of"].max()),
                "journeys": rows.height,
                "users": rows["user_id"].n_unique(),
                "returns": int(returned_within(rows, days).sum()),
            }
            for name, rows in parts.items()
        },
        "test": comparison.table.to_dicts(),
        "settings": chosen.model_dump(mode="json"),
    }
    return StageAttempt(model, comparison, promoted, decision, card)


def decide(comparison: StageComparison) -> tuple[bool, str]:
    """Whether a new model may take over, and why; see `attempt_stage_model`."""
    scores = {name: (auc, brier) for name, auc, brier in comparison.table.select("forecast", "auc", "brier").rows()}
    auc, brier = scores.pop("new model")
    current = scores.pop("current model", None)
    rival = min(scores, key=lambda name: scores[name][1])
    gain = comparison.brier_gains[rival]
    against = f"Brier {brier:.4f}, {gain.value:.1%} ({gain.low:.1%} to {gain.high:.1%}) below {rival}; AUC {auc:.3f}"
    if min(comparison.brier_gains[name].low for name in scores) <= 0:
        return False, f"refused: {against}; the gain may be chance"
    if auc <= max(rival_auc for rival_auc, _ in scores.values()):
        return False, f"refused: {against}, which a simple forecast reaches too"
    if current is not None and brier > current[1]:
        return False, f"refused: {against}, but the current model has {current[1]:.4f}"
    return True, f"promoted: {against}"
