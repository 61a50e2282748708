"""Fidelity of a simulated world to real logs: how often people come, after how long, and how much they do then.

Of real logs only times and users are read, never a text.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import ClassVar

import click
import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.reporting.canvas import COLOURS, legend, new_axes, to_png
from lab.benchmark import FILE, Result, Run, argument, option
from lab.evaluation.clusterers import SESSION_GAP
from lab.importers import online_retail_frames
from lab.importers.search_missions import read_search_missions

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
class Fidelity:
    """Rhythm and amount of a simulated world beside UCI Online Retail (Parquet at PATH) and search missions."""

    name: ClassVar[str] = "fidelity"
    path: Path = argument()
    missions: Path | None = option(
        None, "Search missions as tab-separated text; only users and times are used.", type=FILE
    )
    users: int = option(2000, type=click.IntRange(10))
    days: int = option(120, type=click.IntRange(14))
    seed: int = option(7, type=int)

    def measure(self, run: Run) -> Result:
        """Simulate, and compare distributions."""
        world = run.world(users=self.users, days=self.days, seed=self.seed)
        with run.step("compare"):
            found = [compare("Online Retail", world.engagements, online_retail_frames(self.path)["engagements"])]
            if self.missions is not None:
                searches = read_search_missions(self.missions).frames["searches"]
                found.append(compare("search missions", world.searches, searches))
        tables = {comparison: comparison.table() for comparison in found}
        return Result(
            {"users": self.users, "seed": self.seed, "measures": pl.concat(tables.values())},
            {f"{of.name}, the last {of.days} days": rows.drop("log") for of, rows in tables.items()},
            plots={
                f"{comparison.name} {measure}".lower().replace(" ", "-").replace("_", "-"): partial(
                    distribution, measure, comparison
                )
                for comparison in found
                for measure in comparison.measured()
            },
        )


def distribution(measure: str, comparison: "Comparison") -> bytes:
    """Draw the share of values that are at most as large, simulated and real, as a PNG."""
    label, shares = MEASURES[measure], np.linspace(0, 1, 501)
    figure, axes = new_axes(
        title=f"{label[:1].upper()}{label[1:]}",
        subtitle=f"simulated world and {comparison.name}, the last {comparison.days} days of each",
        x_label=label,
        y_label="share of values up to this",
    )
    handles = [
        axes.plot(np.quantile(of[measure], shares), shares, color=colour, linewidth=1.4)[0]
        for colour, of in zip(COLOURS, (comparison.simulated, comparison.real), strict=False)
    ]
    axes.set_xscale("log")
    axes.set_ylim(0, 1)
    legend(axes, handles, ["simulated", comparison.name])
    return to_png(figure)


@dataclass(frozen=True, eq=False)
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

    def measured(self) -> list[str]:
        """Measures that both have values of."""
        return [measure for measure in MEASURES if len(self.simulated[measure]) and len(self.real[measure])]

    def table(self) -> pl.DataFrame:
        """One row per measure: quantiles of both, and the Kolmogorov–Smirnov distance.

        ``ks`` is the largest distance of the two distribution functions, ``ks_shape`` that of the values divided by
        their medians: how far they differ when the scale is left out.
        """
        from scipy.stats import ks_2samp

        rows = []
        for measure in self.measured():
            ours, theirs = self.simulated[measure], self.real[measure]
            row: dict[str, str | float] = {"log": self.name, "measure": MEASURES[measure]}
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
    """Values of every measure, ascending. Events of one user at the same time count as one."""
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
