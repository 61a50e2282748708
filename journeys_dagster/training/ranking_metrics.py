"""How good an order of journeys and their probabilities are, user by user."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

CUTOFF = 5
_SNAPSHOT = ["as_of", "user_id"]


def order_quality(examples: pl.DataFrame, scores: NDArray[np.float64]) -> pl.DataFrame:
    """NDCG@5 (Järvelin and Kekäläinen 2002, binary gains) and reciprocal rank of each user's journeys.

    Snapshots without a return have no right order and are left out; a user with several counts once, by their mean.
    Ties go to the smaller journey id.

    Parameters
    ----------
    examples : DataFrame
        Columns ``as_of``, ``user_id``, ``journey_id``, ``label`` (bool).
    scores : array of shape (rows,), float64
        Larger is better.

    Returns
    -------
    DataFrame
        Columns ``user_id``, ``ndcg``, ``reciprocal_rank`` (float64), sorted by user.
    """
    discounts = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(np.arange(CUTOFF) + 2.0))])
    ranked = (
        examples.select(*_SNAPSHOT, "journey_id", "label", score=pl.Series(scores))
        .filter(pl.col("label").any().over(_SNAPSHOT))
        .sort(*_SNAPSHOT, "score", "journey_id", descending=[False, False, True, False])
        .with_columns(place=pl.int_range(pl.len()).over(_SNAPSHOT))
    )
    gain = pl.when(pl.col("label") & (pl.col("place") < CUTOFF)).then(1.0 / (pl.col("place") + 2.0).log(2.0))
    snapshots = ranked.group_by(_SNAPSHOT).agg(
        gain=gain.sum(),
        returns=pl.col("label").sum().clip(upper_bound=CUTOFF),
        reciprocal_rank=1.0 / (pl.col("place").filter("label").min() + 1.0),
    )
    best = pl.Series(discounts[snapshots["returns"].to_numpy()], dtype=pl.Float64)
    return (
        snapshots.with_columns(ndcg=pl.col("gain") / best)
        .group_by("user_id")
        .agg(pl.col("ndcg", "reciprocal_rank").mean())
        .sort("user_id")
    )


def calibration_table(labels: NDArray[np.bool_], probabilities: NDArray[np.float64], *, bins: int = 15) -> pl.DataFrame:
    """Stated and observed rates in bins of equally many rows.

    Returns
    -------
    DataFrame
        Columns ``rows`` (int), ``stated``, ``observed`` (float64), from the lowest probabilities to the highest.
    """
    order = np.argsort(probabilities, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return pl.DataFrame(
        {
            "rows": [len(part) for part in parts],
            "stated": [float(probabilities[part].mean()) for part in parts],
            "observed": [float(labels[part].mean()) for part in parts],
        },
        schema={"rows": pl.Int64, "stated": pl.Float64, "observed": pl.Float64},
    )


def expected_calibration_error(labels: NDArray[np.bool_], probabilities: NDArray[np.float64]) -> float:
    """ECE (Naeini et al. 2015): mean distance of stated and observed rates, over bins of equally many rows."""
    table = calibration_table(labels, probabilities)
    stated, observed, rows = (table[name].to_numpy() for name in ("stated", "observed", "rows"))
    return float(np.average(np.abs(stated - observed), weights=rows))
