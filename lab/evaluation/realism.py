"""How much a simulated world is like real logs: how often people come, after how long, and how much they do then.

Of real logs only times and users are read, never a text.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

SESSION_GAP = timedelta(minutes=30)
QUANTILES = (0.1, 0.5, 0.9, 0.99)

MEASURES: Mapping[str, str] = {
    "events_per_user": "events per user",
    "sessions_per_user": "sessions per user",
    "days_between_sessions": "days between a user's sessions",
    "events_per_session": "events per session",
    "minutes_per_session": "minutes per session of two events and more",
    "seconds_between_events": "seconds between events of a session",
}


@dataclass(frozen=True)
class Comparison:
    """Measures of a world beside those of a real log over as many days.

    Attributes
    ----------
    name : str
        Of the real log.
    days : int
        Length of the window.
    simulated, real : dict of str to float array
        One value per user, session or pair of neighbouring events, ascending, by the key of `MEASURES`.
    """

    name: str
    days: int
    simulated: Mapping[str, NDArray[np.float64]]
    real: Mapping[str, NDArray[np.float64]]

    def table(self) -> pl.DataFrame:
        """One row per measure: quantiles of both, and the Kolmogorov–Smirnov distance.

        ``ks`` is the largest distance of the two distribution functions, ``ks_shape`` that of the values divided by
        their medians: how far they differ when the scale is left out.
        """
        from scipy.stats import ks_2samp

        rows = []
        for measure, label in MEASURES.items():
            ours, theirs = self.simulated[measure], self.real[measure]
            if not len(ours) or not len(theirs):
                continue
            row: dict[str, str | float] = {"log": self.name, "measure": label}
            for quantile in QUANTILES:
                row |= {
                    f"simulated_{quantile:.0%}": float(np.quantile(ours, quantile)),
                    f"real_{quantile:.0%}": float(np.quantile(theirs, quantile)),
                }
            scaled = ours / max(np.median(ours), 1e-9), theirs / max(np.median(theirs), 1e-9)
            row["ks"] = float(np.asarray(ks_2samp(ours, theirs))[0])
            row["ks_shape"] = float(np.asarray(ks_2samp(*scaled))[0])
            rows.append(row)
        return pl.DataFrame(rows)


def compare(name: str, simulated: pl.DataFrame, real: pl.DataFrame) -> Comparison:
    """Compare the last days that both have.

    Parameters
    ----------
    name : str
        Of the real log.
    simulated, real : DataFrame
        Columns ``user_id`` and ``occurred_at``; one row per event.
    """
    spans = [_days(frame) for frame in (simulated, real)]
    days = min(spans)
    return Comparison(name, days, *(measures(_last(frame, days)) for frame in (simulated, real)))


def measures(events: pl.DataFrame) -> dict[str, NDArray[np.float64]]:
    """Values of every measure, ascending. Events of one user at the same moment count as one."""
    rows = events.select("user_id", "occurred_at").unique().sort("user_id", "occurred_at")
    gap = pl.col("occurred_at").diff().over("user_id")
    rows = rows.with_columns(gap=gap).with_columns(
        session=(pl.col("gap").is_null() | (pl.col("gap") > SESSION_GAP)).cum_sum()
    )
    sessions = rows.group_by("user_id", "session", maintain_order=True).agg(
        events=pl.len(), begins=pl.col("occurred_at").min(), ends=pl.col("occurred_at").max()
    )
    apart = (pl.col("begins") - pl.col("ends").shift()).over("user_id")
    lasted = (pl.col("ends") - pl.col("begins")).dt.total_seconds() / 60
    within = rows.filter(pl.col("gap") <= SESSION_GAP)
    found = {
        "events_per_user": rows.group_by("user_id").len()["len"],
        "sessions_per_user": sessions.group_by("user_id").len()["len"],
        "days_between_sessions": sessions.select(days=apart.dt.total_seconds() / 86_400)["days"].drop_nulls(),
        "events_per_session": sessions["events"],
        "minutes_per_session": sessions.filter(pl.col("events") > 1).select(minutes=lasted)["minutes"],
        "seconds_between_events": within.select(seconds=pl.col("gap").dt.total_milliseconds() / 1000)["seconds"],
    }
    return {measure: np.sort(values.to_numpy().astype(np.float64)) for measure, values in found.items()}


def _days(events: pl.DataFrame) -> int:
    first, last = events.select(first=pl.col("occurred_at").dt.date().min(), last=pl.col("occurred_at").dt.date().max())
    return (last[0] - first[0]).days + 1


def _last(events: pl.DataFrame, days: int) -> pl.DataFrame:
    day = pl.col("occurred_at").dt.date()
    return events.filter(day > day.max() - timedelta(days=days))
