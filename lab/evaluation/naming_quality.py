"""How near names come to the true ones: means over users, intervals over types of journeys."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.monitoring.bootstrap import RESAMPLES, Mean

MEASURES = ("exact", "cosine", "alike")
SHIPPED = "shipped"


@dataclass(frozen=True)
class Found:
    """What each method calls the journeys: ``user_id``, ``true_name``, ``name``, `MEASURES` and ``is_covered``.

    Attributes
    ----------
    names : dict of str to DataFrame
        By method, the journeys in one order.
    """

    names: dict[str, pl.DataFrame]

    def report(self, *, covered: bool | None = None) -> pl.DataFrame:
        """One row per method: ``namer``, ``journeys``, and each of `MEASURES` with ``_low`` and ``_high``.

        Means over users, with intervals over types of journeys; of types that the library covers, or does not.
        """
        rows = []
        for namer, judged in self.names.items():
            kept = judged if covered is None else judged.filter(is_covered=covered)
            means = zip(MEASURES, over_types(kept, kept.select(MEASURES).to_numpy()), strict=True)
            found = {
                f"{name}{end}": value
                for name, mean in means
                for end, value in zip(("", "_low", "_high"), (mean.value, mean.low, mean.high), strict=True)
            }
            rows.append({"namer": namer, "journeys": len(kept), **found})
        return pl.DataFrame(rows)

    def gains(self, namer: str, *, covered: bool | None = None) -> dict[str, Mean]:
        """How much more each of `MEASURES` is by a method than by what is shipped."""
        ours, theirs = self.names[namer], self.names[SHIPPED]
        difference = ours.select(MEASURES).to_numpy() - theirs.select(MEASURES).to_numpy()
        if covered is not None:
            chosen = (ours["is_covered"] == covered).to_numpy()
            ours, difference = ours.filter(is_covered=covered), difference[chosen]
        return dict(zip(MEASURES, over_types(ours, difference), strict=True))


def over_types(journeys: pl.DataFrame, values: NDArray[np.float64]) -> list[Mean]:
    """Means over users of their journeys' means, with 95 % bootstrap intervals over types of journeys.

    Parameters
    ----------
    journeys : DataFrame
        Columns ``user_id`` and ``true_name``.
    values : array of shape (journeys, columns), float64
    """
    users = journeys["user_id"].rank("dense").to_numpy() - 1
    types = (journeys["true_name"].rank("dense").to_numpy() - 1).astype(np.int64)
    count = int(types.max(initial=-1)) + 1
    if not count:
        return [Mean(float("nan"), float("nan"), float("nan"))] * values.shape[1]
    rng = np.random.default_rng(0)
    drawn = [np.bincount(rng.integers(count, size=count), minlength=count) for _ in range(RESAMPLES // 2)]
    means = np.empty((len(drawn) + 1, values.shape[1]))
    for row, times in enumerate([np.ones(count), *drawn]):
        weight = times[types].astype(np.float64)
        total = np.bincount(users.astype(np.int64), weight)
        has_any = total > 0
        for column in range(values.shape[1]):
            sums = np.bincount(users.astype(np.int64), weight * values[:, column])
            means[row, column] = (sums[has_any] / total[has_any]).mean()
    low, high = np.quantile(means[1:], [0.025, 0.975], axis=0)
    return [Mean(*map(float, ends)) for ends in zip(means[0], low, high, strict=True)]
