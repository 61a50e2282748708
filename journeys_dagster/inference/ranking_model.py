"""A trained ranker: what it is made of, how it is stored, and how it scores journeys."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.errors import JourneysError

if TYPE_CHECKING:
    import xgboost

ROWS_AT_ONCE = 200_000
NOT_FEATURES = (
    *("as_of", "user_id", "journey_id", "scope", "algorithm_version"),
    *("label_source", "label", "label_weight", "labelled_on", "days_to_return", "read_until"),
    "action_counts",
)


class RankingModelError(JourneysError, ValueError, carries_user_text=False):
    """A stored model that does not fit the features at hand; the message says what to do."""


def feature_names(features: pl.DataFrame, actions: Sequence[str]) -> list[str]:
    """Names of the columns of `feature_matrix`."""
    plain = [name for name in features.columns if name not in NOT_FEATURES]
    return [*plain, *(f"action_{action}" for action in actions)]


def feature_matrix(features: pl.DataFrame) -> NDArray[np.float32]:
    """Journeys' features as numbers; NaN for what is unknown.

    Parameters
    ----------
    features : DataFrame
        Columns of the model `journey_features`.

    Returns
    -------
    array of shape (journeys, features), float32
    """
    plain = features.select(pl.exclude(NOT_FEATURES).cast(pl.Float32)).to_numpy()
    if features.is_empty():
        return plain
    counts = features["action_counts"].list.to_array(len(features["action_counts"][0])).to_numpy()
    return np.hstack([plain, counts.astype(np.float32)])


@dataclass(frozen=True)
class RankingModel:
    """Gradient-boosted trees with a calibration of their scores.

    Attributes
    ----------
    model_id : str
    trees : bytes
        XGBoost's own format (UBJSON).
    features : tuple of str
        Names of the features, in order.
    calibration : tuple of two tuples of float
        Knots of a monotone line from raw scores to probabilities.
    """

    model_id: str
    trees: bytes
    features: tuple[str, ...]
    calibration: tuple[tuple[float, ...], tuple[float, ...]]

    @cached_property
    def booster(self) -> "xgboost.Booster":
        """The trees, loaded."""
        import xgboost

        booster = xgboost.Booster()
        booster.load_model(bytearray(self.trees))
        return booster

    @classmethod
    def stored(cls, model_id: str, trees: bytes, card: Mapping[str, Any]) -> "RankingModel":
        """A model from its parts in the warehouse."""
        knots = card["calibration"]
        return cls(model_id, trees, tuple(card["features"]), (tuple(knots["score"]), tuple(knots["probability"])))

    def misfit(self, features: pl.DataFrame, actions: Sequence[str]) -> str:
        """Why it cannot score these features; empty where it can."""
        names = feature_names(features, actions)
        if tuple(names) == self.features:
            return ""
        differing = ", ".join(sorted({*names} ^ {*self.features})) or "their order"
        return f"was trained on other features ({differing})"

    def scores(self, features: pl.DataFrame, actions: Sequence[str]) -> NDArray[np.float64]:
        """Raw score of each journey, between 0 and 1; orders a user's journeys.

        Raises
        ------
        RankingModelError
            The model was trained on other features.
        """
        import xgboost

        if misfit := self.misfit(features, actions):
            raise RankingModelError(f"ranking model {self.model_id} {misfit}: train a new one with `journeys train`")
        matrix = feature_matrix(features)
        scores = np.empty(len(matrix))
        for begin in range(0, len(matrix), ROWS_AT_ONCE):
            rows = slice(begin, begin + ROWS_AT_ONCE)
            scores[rows] = self.booster.predict(xgboost.DMatrix(matrix[rows], feature_names=list(self.features)))
        return scores

    def probabilities(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probability that the user comes back to the journey, from raw scores."""
        return np.interp(scores, *self.calibration)


def ranking_model(row: pl.DataFrame) -> RankingModel:
    """The ranker that is stored in the one row of a frame."""
    stored = row.row(0, named=True)
    return RankingModel.stored(stored["model_id"], stored["trees"], json.loads(stored["card"]))
