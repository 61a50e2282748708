"""A trained model of whether users come back to a journey: what it is made of, and how it ages in silence."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.errors import JourneysError

Floats = NDArray[np.float64]
Term = Callable[[Mapping[str, Floats], int], Floats]

FOREVER_DAYS = 365
"""Days of silence that are looked ahead: then the look-back has forgotten most journeys, and all are said to end."""

AGEING_TERMS: Mapping[str, Term] = {
    "idle": lambda of, silent: -np.log1p(of["days_since_last"] + silent),
    "age": lambda of, silent: -np.log1p(of["days_since_first"] + silent),
    "user_idle": lambda of, silent: -np.log1p(of["user_days_since_last"] + silent),
    "user_regularity": lambda of, silent: np.log(of["user_active_days"]) - np.log1p(of["user_tenure_days"] + silent),
}
"""What falls while nothing happens. Their weights are not negative, so the probability falls with it."""

LASTING_TERMS: Mapping[str, Term] = {
    "active_days": lambda of, _: np.log(of["days_active"]),
    "repetition": lambda of, _: np.log(of["most_days_of_keyword"]),
    "popularity": lambda of, _: np.log(of["share_28"] + 1e-5),
    "season": lambda of, _: np.log(of["share_7"] + 1e-4) - np.log(of["share_84"] + 1e-4),
}
"""What stays: how much there is of the journey, and how the population takes to its keywords now."""

TERMS: Mapping[str, Term] = {**AGEING_TERMS, **LASTING_TERMS}
FEATURES = (
    "days_since_last",
    "days_since_first",
    "user_days_since_last",
    "user_active_days",
    "user_tenure_days",
    "days_active",
    "most_days_of_keyword",
    "share_7",
    "share_28",
    "share_84",
)
"""Columns of the model `journey_features` that the terms are made of."""


class StageModelError(JourneysError, ValueError, carries_user_text=False):
    """A stored model that this code cannot use; the message says what to do."""


def return_terms(features: pl.DataFrame, *, silent_days: int = 0) -> dict[str, Floats]:
    """What the model looks at, on a logarithmic scale.

    Parameters
    ----------
    features : DataFrame
        Has `FEATURES`.
    silent_days : int
        As if so many days had passed without an event of the user.

    Returns
    -------
    dict of str to array of shape (journeys,), float64
        By term, in the order of `TERMS`.
    """
    columns = {name: features[name].cast(pl.Float64).to_numpy() for name in FEATURES}
    return {name: term(columns, silent_days) for name, term in TERMS.items()}


@dataclass(frozen=True)
class StageModel:
    """A logistic regression: the probability that the user comes back to a journey within `return_days`.

    Attributes
    ----------
    model_id : str
    return_days : int
    intercept : float
    weights : mapping of str to float
        By term.
    """

    model_id: str
    return_days: int
    intercept: float
    weights: Mapping[str, float]

    @classmethod
    def stored(cls, card: Mapping[str, Any]) -> "StageModel":
        """A model from its card.

        Raises
        ------
        StageModelError
            It was trained on other terms, or one of them would let the probability rise in silence.
        """
        weights = card["weights"]
        if weights.keys() != TERMS.keys() or any(weights[name] < 0 for name in AGEING_TERMS):
            raise StageModelError(
                f"stage model {card['model_id']} was trained by another version of this code: train a new one with "
                "`journeys train`"
            )
        return cls(card["model_id"], card["return_days"], card["intercept"], weights)

    def probabilities(self, features: pl.DataFrame, *, silent_days: int | NDArray[np.int64] = 0) -> Floats:
        """Probability of a return within `return_days`, if the user stays away for `silent_days` first.

        Parameters
        ----------
        features : DataFrame
            Has `FEATURES`.
        silent_days : int or array of shape (journeys,), int64

        Returns
        -------
        array of shape (journeys,), float64
        """
        # Term by term: a sum over columns in one fixed order has the same bits for one row as for many.
        score = np.full(len(features), self.intercept)
        for name, term in return_terms(features, silent_days=silent_days).items():  # type: ignore[arg-type]
            score += self.weights[name] * term
        return 1.0 / (1.0 + np.exp(-score))

    def days_left(self, features: pl.DataFrame, *, ended_below: float) -> NDArray[np.int64]:
        """Days of silence after which the probability lies below a threshold; 0 where it does so now.

        Returns
        -------
        array of shape (journeys,), int64
            `FOREVER_DAYS` at most.
        """
        low = np.where(self.probabilities(features) < ended_below, 0, 1)
        high = np.where(low == 0, 0, FOREVER_DAYS)
        # The probability falls with every silent day, so the first one below is found by halving.
        while (low < high).any():
            middle = (low + high) // 2
            is_below = self.probabilities(features, silent_days=middle) < ended_below
            low, high = np.where(is_below, low, np.minimum(middle + 1, high)), np.where(is_below, middle, high)
        return high
