"""A trained model of whether users come back to a journey: what it is made of, and how it ages in silence.

How far it may move the day on which a journey ends belongs to `stages`.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Term = Callable[[Mapping[str, Floats], int], Floats]

FOREVER_DAYS = 365
"""Days of silence that are looked ahead: the look-back has forgotten most journeys by then."""

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
    ended_below : float
        Probability below which a journey has ended, within what the rule allows.
    """

    model_id: str
    return_days: int
    intercept: float
    weights: Mapping[str, float]
    ended_below: float

    @classmethod
    def stored(cls, card: Mapping[str, Any]) -> "StageModel":
        """A model from its card."""
        # Older cards say when a journey has ended nowhere.
        ended_below = card.get("ended_below", math.nan)
        return cls(card["model_id"], card["return_days"], card["intercept"], card["weights"], ended_below)

    def misfit(self) -> str:
        """Why this code cannot use it; empty where it can."""
        if differing := ", ".join(sorted(self.weights.keys() ^ TERMS.keys())):
            return f"was trained on other terms ({differing})"
        if any(self.weights[name] < 0 for name in AGEING_TERMS):
            return "would let the probability of a return rise in silence"
        if math.isnan(self.ended_below):
            return "was trained without learning when a journey has ended"
        return ""

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

    def days_left(self, features: pl.DataFrame) -> NDArray[np.int64]:
        """Days of silence after which the probability lies below `ended_below`; 0 where it does so now.

        Returns
        -------
        array of shape (journeys,), int64
            `FOREVER_DAYS` at most.
        """
        low = np.where(self.probabilities(features) < self.ended_below, 0, 1)
        high = np.where(low == 0, 0, FOREVER_DAYS)
        # The probability falls with every silent day, so the first one below is found by halving.
        while (low < high).any():
            middle = (low + high) // 2
            is_below = self.probabilities(features, silent_days=middle) < self.ended_below
            low, high = np.where(is_below, low, np.minimum(middle + 1, high)), np.where(is_below, middle, high)
        return high


def stage_model(row: pl.DataFrame) -> StageModel:
    """The stage model of a row of the table `stage_model`."""
    return StageModel.stored(json.loads(row["card"][0]))
