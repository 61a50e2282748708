"""A trained model of what becomes of a send: what it is made of, how it is stored, and how it scores."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.notification.features import FEATURES

if TYPE_CHECKING:
    import xgboost

_LEAST = 1e-6


@dataclass(frozen=True)
class SendModel:
    """Gradient-boosted trees of an open, and of a click once it is open, with a calibration of their product.

    Attributes
    ----------
    model_id : str
    opens, clicks : bytes
        XGBoost's own format (UBJSON).
    channels : tuple of str
        In the order in which they are numbered.
    features : tuple of str
    calibration : tuple of two floats
        Slope and intercept on the logarithm of the odds.
    """

    model_id: str
    opens: bytes
    clicks: bytes
    channels: tuple[str, ...]
    features: tuple[str, ...]
    calibration: tuple[float, float]

    @classmethod
    def stored(cls, row: Mapping[str, Any]) -> "SendModel":
        """A model from its row in the warehouse."""
        card = json.loads(row["card"])
        slope, intercept = card["calibration"]
        channels, features = tuple(card["channels"]), tuple(card["features"])
        return cls(row["model_id"], row["opens"], row["clicks"], channels, features, (slope, intercept))

    def misfit(self, channels: Sequence[str]) -> str:
        """Why it cannot be used with what is computed now; empty where it can."""
        if self.features != FEATURES:
            return (
                f"was trained on other features ({', '.join(sorted({*self.features} ^ {*FEATURES})) or 'their order'})"
            )
        return "" if self.channels == tuple(channels) else f"was trained on other channels ({', '.join(self.channels)})"

    @cached_property
    def boosters(self) -> "tuple[xgboost.Booster, xgboost.Booster]":
        """The trees, loaded."""
        import xgboost

        loaded = xgboost.Booster(), xgboost.Booster()
        for booster, trees in zip(loaded, (self.opens, self.clicks), strict=True):
            booster.load_model(bytearray(trees))
        return loaded

    def odds(self, features: pl.DataFrame) -> NDArray[np.float64]:
        """Logarithm of the odds of a click, before calibration, shape (rows,); `features` has `FEATURES`."""
        matrix = features.select(pl.col(FEATURES).cast(pl.Float32)).to_numpy()
        if not len(matrix):
            return np.zeros(0)
        opened, clicked = (booster.inplace_predict(matrix) for booster in self.boosters)
        share = np.clip(opened.astype(np.float64) * clicked, _LEAST, 1 - _LEAST)
        return np.log(share / (1 - share))

    def scores(self, features: pl.DataFrame) -> NDArray[np.float64]:
        """Probability of a click, shape (rows,)."""
        slope, intercept = self.calibration
        return 1.0 / (1.0 + np.exp(-(slope * self.odds(features) + intercept)))
