"""What a journey's score is made of: the model's contributions by feature, or the heuristic's factors."""

from collections.abc import Sequence
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.inference.ranking import journey_strength, recency_days
from journeys_dagster.inference.ranking_model import RankingModel, RankingModelError, feature_matrix


def model_contributions(model: RankingModel, features: pl.DataFrame, actions: Sequence[str]) -> NDArray[np.float64]:
    """How much each feature adds to the log odds that the trees give each journey (Shapley values by TreeSHAP).

    Parameters
    ----------
    features : DataFrame
        Columns of the model `journey_features`.
    actions : sequence of str
        Names of its ``action_counts``.

    Returns
    -------
    array of shape (journeys, features + 1), float64
        By `RankingModel.features`, and last what every journey begins with. The logistic function of a row's sum is
        the journey's raw score.

    Raises
    ------
    RankingModelError
        The model was trained on other features.
    """
    import xgboost

    if misfit := model.misfit(features, actions):
        raise RankingModelError(f"ranking model {model.model_id} {misfit}: its contributions cannot be told any more")
    matrix = xgboost.DMatrix(feature_matrix(features), feature_names=list(model.features))
    return np.asarray(model.booster.predict(matrix, pred_contribs=True), dtype=np.float64)


def heuristic_factors(engagement: pl.DataFrame, *, as_of: date) -> pl.DataFrame:
    """The factors of `journey_strength`, whose product it is.

    Parameters
    ----------
    engagement : DataFrame
        Columns ``weight``, ``days_active``, ``first_seen``, ``last_seen``.

    Returns
    -------
    DataFrame
        Columns ``amount`` (how much), ``frequency`` (how often) and ``freshness`` (1 with no silence at all).
    """
    weight, days = pl.col("weight"), pl.col("days_active")
    first, last = (recency_days(as_of, pl.col(name)) for name in ("first_seen", "last_seen"))
    # The formula is asked with nothing of one part and all of the others, so that it stands in one place.
    often = journey_strength(pl.lit(1.0), days, first, pl.lit(0.0))
    unfaded = journey_strength(weight, days, first, pl.lit(0.0))
    return engagement.select(
        amount=unfaded / often, frequency=often, freshness=journey_strength(weight, days, first, last) / unfaded
    )
