"""What another policy would have been worth, from decisions that chance had a part in.

Each decision was taken with a known probability, the logged propensity. A policy that would have taken it with another
one is worth what came of it, weighted by the ratio of the two. That holds of each decision as it was met, given all
sent before it; what a policy would change of later days, such as fatigue, is not seen.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from journeys_dagster.notification.lifts import Z

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PolicyValue:
    """The worth of a policy per decision.

    Attributes
    ----------
    value, error : float
        The estimate and its standard error, over users.
    effective : float
        Decisions by the policy itself that would tell as much as the weighted ones: (Σw)² / Σw². Of less than a
        thousand or two the error is too small where few rewards came.
    mean_weight : float
        Near 1 where propensities are right and every choice of the policy has one.
    """

    value: float
    error: float
    effective: float
    mean_weight: float

    @property
    def interval(self) -> tuple[float, float]:
        """Ends of the 95 % interval."""
        return self.value - Z * self.error, self.value + Z * self.error


def inverse_propensity(rewards: Floats, logged: Floats, policy: Floats, users: NDArray[np.int64]) -> PolicyValue:
    """The mean of weighted rewards: right on average, and noisy.

    Parameters
    ----------
    rewards : array of float64, shape (decisions,)
        What came of each, such as a click.
    logged : array of float64, shape (decisions,)
        Probability with which it was taken.
    policy : array of float64, shape (decisions,)
        Probability with which the policy would take it.
    users : array of int64, shape (decisions,)
        Whose they are, from 0; decisions of a user may depend on one another.

    Raises
    ------
    ValueError
        A propensity is not above 0 or above 1, or there are less than two users.
    """
    weights = _weights(logged, policy)
    value = float((weights * rewards).mean())
    return _value(value, weights * rewards - value, weights, users)


def self_normalised(rewards: Floats, logged: Floats, policy: Floats, users: NDArray[np.int64]) -> PolicyValue:
    """Weighted rewards per weight: a little off on few decisions, less noisy, and never above what can be had.

    Parameters and exceptions are those of `inverse_propensity`.
    """
    weights = _weights(logged, policy)
    if not weights.any():
        return PolicyValue(float("nan"), float("nan"), 0.0, 0.0)
    value = float((weights * rewards).sum() / weights.sum())
    return _value(value, weights * (rewards - value) / weights.mean(), weights, users)


def doubly_robust(
    rewards: Floats,
    logged: Floats,
    policy: Floats,
    users: NDArray[np.int64],
    *,
    predicted: Floats,
    predicted_of_policy: Floats,
) -> PolicyValue:
    """What a model predicts of the policy's choices, corrected by what came of the logged ones.

    It is right on average where propensities are, whatever the model says, and less noisy the better it predicts. The
    model must not have seen the rewards of the same users.

    Parameters
    ----------
    predicted : array of float64, shape (decisions,)
        What the model expects of the decision that was taken.
    predicted_of_policy : array of float64, shape (decisions,)
        What it expects of those that the policy would take, by their probabilities.
    """
    weights = _weights(logged, policy)
    terms = predicted_of_policy + weights * (rewards - predicted)
    value = float(terms.mean())
    return _value(value, terms - value, weights, users)


def _weights(logged: Floats, policy: Floats) -> Floats:
    if not ((logged > 0) & (logged <= 1)).all():
        raise ValueError("logged propensities lie above 0 and up to 1; one does not")
    return policy / logged


def _value(value: float, residuals: Floats, weights: Floats, users: NDArray[np.int64]) -> PolicyValue:
    of_users = np.bincount(users, weights=residuals)
    count = len(np.unique(users))
    if count < 2:
        raise ValueError("there is no error of one user's decisions: at least two users are needed")
    variance = (of_users**2).sum() * count / (count - 1) / len(residuals) ** 2
    total = weights.sum()
    effective = float(total**2 / (weights**2).sum()) if total else 0.0
    return PolicyValue(value, float(np.sqrt(variance)), effective, float(weights.mean()))
