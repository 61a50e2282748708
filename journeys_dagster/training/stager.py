"""Training the stage model, and whether it is promoted."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.inference.stage_model import AGEING_TERMS, StageModel, return_terms
from journeys_dagster.inference.stages import RULE, outlived_silence
from journeys_dagster.monitoring.bootstrap import Mean, bootstrap_gain
from journeys_dagster.settings import Settings
from journeys_dagster.training.replay import RETURN
from journeys_dagster.training.spans import Spans, TooFewReturnsError

MIN_RETURNS = 20
"""A line of eight weights needs far fewer returns than trees."""
RIDGE = 10.0
NEW, CURRENT = "new model", "current model"
MIN_AGREEMENT = 0.8
"""Share of journeys whose stage a model must leave as the rule has it."""
_THRESHOLDS = 100
_ALIKE = 0.001
"""Two fits of the same history differ by the last bits of their sums, and so by a few journeys at the threshold."""


def returned_within(examples: pl.DataFrame, days: int) -> NDArray[np.bool_]:
    """Whether users came back to journeys within so many days, shape (rows,)."""
    return (examples["days_to_return"] <= days).fill_null(value=False).to_numpy()


def train_stage_model(train: pl.DataFrame, *, return_days: int, model_id: str) -> StageModel:
    """Fit a logistic regression with a ridge; what falls in silence gets no negative weight.

    A journey has ended below the probability that best tells journeys with and without a return apart: by balanced
    accuracy, as few returns would else let nothing end, or everything.

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
    stated = expit(design @ found.x)
    thresholds = np.quantile(stated, np.linspace(0.0, 1.0, _THRESHOLDS + 1))
    balanced = [balanced_shares(labels) @ ((stated >= threshold) == labels) for threshold in thresholds]
    return StageModel(
        model_id=model_id,
        return_days=return_days,
        intercept=float(found.x[-1] - weights @ means),
        weights={name: float(weight) for name, weight in zip(terms, weights, strict=True)},
        ended_below=float(thresholds[int(np.argmax(balanced))]),
    )


def balanced_shares(returned: NDArray[np.bool_]) -> NDArray[np.float64]:
    """What each row counts in balanced accuracy, shape (rows,): those with a return half together, the others half."""
    return np.where(returned, 0.5 / max(returned.sum(), 1), 0.5 / max((~returned).sum(), 1))


@dataclass(frozen=True)
class StageComparison:
    """How stages did on the same journeys.

    Attributes
    ----------
    table : DataFrame
        One row for each of the rule and the models: ``stages_by``, ``balanced`` (accuracy of ended against no return),
        ``ended`` (share of the journeys), ``flips`` (share of the ended that were come back to), ``agreement`` (with
        the rule).
    gains : dict of str to Mean
        How much larger the new model's balanced accuracy is than each other's, as a share, over users.
    """

    table: pl.DataFrame
    gains: dict[str, Mean]


def compare_stages(
    examples: pl.DataFrame, settings: Settings, models: Mapping[str, StageModel], *, return_days: int
) -> StageComparison:
    """Measure what the rule and some models, within its bounds, call ended against returns within some days."""
    returned = returned_within(examples, return_days)
    counts = balanced_shares(returned)
    idle = examples["days_since_last"].cast(pl.Int64)
    by_rule = (idle > outlived_silence(examples, settings.stages)).to_numpy()
    rows, right = [], {}
    for name, model in {RULE: None, **models}.items():
        ended = (idle > outlived_silence(examples, settings.stages, model)).to_numpy()
        scored = examples.select("user_id", right=pl.Series(counts * (ended != returned)))
        right[name] = scored.group_by("user_id").sum().sort("user_id")["right"]
        rows.append(
            {
                "stages_by": name,
                "balanced": float(right[name].sum()),
                "ended": float(ended.mean()),
                "flips": float(returned[ended].mean()) if ended.any() else 0.0,
                "agreement": float((ended == by_rule).mean()),
            }
        )
    gains = {name: bootstrap_gain(right[NEW], right[name]) for name in right if name != NEW}
    return StageComparison(pl.DataFrame(rows), gains)


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

    A new model is promoted when the stages that it leads to tell apart what is come back to
    and what is not better than the rule's beyond doubt (95 % interval over users) and no worse than the current
    model's, and when most stages stay as the rule has them.

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
    models = {NEW: model}
    if current is not None and current.return_days == days:
        models[CURRENT] = current
    comparison = compare_stages(test, settings, models, return_days=days)
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
        "ended_below": model.ended_below,
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
    stages = {row["stages_by"]: row for row in comparison.table.iter_rows(named=True)}
    new, rule, gain = stages[NEW], stages[RULE], comparison.gains[RULE]
    against = (
        f"balanced accuracy of ended {new['balanced']:.3f}, {gain.value:.1%} ({gain.low:.1%} to {gain.high:.1%}) above "
        f"the rule; {new['ended']:.1%} ended (rule {rule['ended']:.1%}), of which {new['flips']:.1%} came back (rule "
        f"{rule['flips']:.1%})"
    )
    if gain.low <= 0:
        return False, f"refused: {against}; the gain may be chance"
    if new["agreement"] < MIN_AGREEMENT:
        return False, f"refused: {against}; only {new['agreement']:.1%} of the stages are the rule's"
    if CURRENT in stages and new["balanced"] < stages[CURRENT]["balanced"] - _ALIKE:
        return False, f"refused: {against}, but the current model has {stages[CURRENT]['balanced']:.3f}"
    return True, f"promoted: {against}"
