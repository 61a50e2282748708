"""Whether what counts as ended is over, by a simulated world's truth and by what users of real logs came back to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, ClassVar

import click
import numpy as np
import polars as pl

from journeys_dagster.inference.stages import ENDED, EVERGREEN, ONGOING
from journeys_dagster.settings import Settings
from journeys_dagster.training.history import History, KeywordVectors
from journeys_dagster.training.replay import days_to_return
from journeys_dagster.training.spans import TooFewReturnsError
from lab.benchmark import HALF, HALF_HELP, Result, Run, argument, option
from lab.evaluation.corpora import is_purchases, keyword_truth, read_log, world_history
from lab.evaluation.staging import JOURNEY, KEYWORDS, RULE, lifecycles, model_before, stages_on
from lab.evaluation.statistics import bootstrap_columns, majority, resampled_totals
from lab.simulation.journey_types import Half
from lab.simulation.truth import states_on
from lab.simulation.world import World

SEEN_DAYS = (14, 30)
"""Days after the true end of a journey within which it should have been seen."""
SNAPSHOTS = 6


@dataclass(frozen=True)
class Stages:
    """Whether journeys that count as ended are over, and when that is seen; and what is evergreen.

    Against the truth of a simulated world; and of each LOG (UCI Online Retail as Parquet, search missions as
    tab-separated text) against what users came back to within some days of past snapshots. Journeys that may be listed
    count. Of purchases the most evergreen names are shown too.
    """

    name: ClassVar[str] = "stages"
    logs: tuple[Path, ...] = argument(nargs=-1, required=False, type=click.Path(path_type=Path))
    users: int = option(600, "Of the simulated world.", type=click.IntRange(1))
    days: int = option(120, "Of the simulated world.", type=click.IntRange(1))
    seed: int = option(47, type=int)
    half: Half | None = option(None, HALF_HELP, type=HALF)
    topics: tuple[str, ...] = option(
        ("christmas",), "May be repeated.", flag="--topic", multiple=True, show_default=True
    )

    def measure(self, run: Run) -> Result:
        """Stage past snapshots, and see who came back."""
        world = run.world(users=self.users, days=self.days, seed=self.seed, half=self.half)
        with run.step("stages of the world"):
            truth = against_truth(world, run.settings, run.vectors)
        figures: dict[str, Any] = {"seed": self.seed, "half": self.half, "truth": truth, "logs": {}}
        tables = {f"against the truth; {self.users:,} users, seed {self.seed}": truth}
        for log in self.logs:
            history = read_log(log, run.settings)
            with run.step(f"replay {log.name}") as advance:
                days, horizon = days_to_stage(history)
                returns = against_returns(history, run.settings, run.vectors, days, horizon, progress=advance)
            figures["logs"][log.name] = {"days": days, "return_days": horizon, "returns": returns}
            tables[f"{log.name}: returns within {horizon} days of {len(days)} snapshots to {days[-1]}"] = returns
            if is_purchases(log):
                last = history.span[1]
                names, topics = lifecycles(history, run.settings, run.vectors, as_of=last, topics=self.topics)
                figures["logs"][log.name] |= {"names": names, "topics": topics}
                tables[f"{log.name}: most evergreen names"] = names.head(15)
                tables[f"{log.name}: journeys by what their keywords say"] = topics
        return Result(figures, tables)


def against_truth(world: World, settings: Settings, vectors: KeywordVectors) -> pl.DataFrame:
    """Stages of the world's last day against the true ones; journeys of nothing but noise are left out.

    Returns
    -------
    DataFrame
        One row per ``method``: ``journeys``; means over users with their intervals of ``stage`` and ``lifecycle``
        (accuracy) and ``ended_early`` (share of the truly ongoing ones that count as ended); and ``seen_14`` and
        ``seen_30``, the share of the true ends that were seen within so many days.
    """
    history, day = world_history(world, settings), world.last_day
    model = model_before(day, history, settings, vectors)
    staged = stages_on(history, day, settings, vectors, model)
    members = history.query(KEYWORDS, {}).join(keyword_truth(world, history, settings), on=["user_id", "keyword"])
    # Whole millionths add up to the same sum in any order.
    of_journey = majority(members, JOURNEY, (pl.col("weight") * 1e6).round().cast(pl.Int64).sum())
    true = (
        world.journeys.join(states_on(world.journeys, day), on=["user_id", "journey"])
        # What has been shown has begun, whatever the person's clock says.
        .with_columns(true_stage=pl.col("state").replace({"ahead": ONGOING}))
        .select("user_id", "true_stage", "ends", truth="journey", true_lifecycle="lifecycle")
    )
    rows = staged.join(of_journey, on=JOURNEY).join(true, on=["user_id", "truth"])
    seen_after = pl.when(pl.col("stage") == ENDED).then((pl.col("ends_on") - pl.col("ends")).dt.total_days())
    measures = {
        "stage": (pl.col("stage") == pl.col("true_stage")).mean(),
        "lifecycle": (pl.col("lifecycle") == pl.col("true_lifecycle")).mean(),
        "ended_early": (pl.col("stage") == ENDED).filter(pl.col("true_stage") == ONGOING).mean(),
        **{
            f"seen_{days}": (seen_after <= days)
            .fill_null(value=False)
            .filter(pl.col("true_stage") == ENDED, pl.col("ends") <= day - timedelta(days=days))
            .mean()
            for days in SEEN_DAYS
        },
    }
    found = []
    for (method,), of_method in rows.partition_by("method", as_dict=True, maintain_order=True).items():
        by_user = of_method.group_by("user_id").agg(**measures).sort("user_id")
        # Of few users nobody may have a journey that ended long enough ago.
        means = bootstrap_columns(by_user.select(pl.col(*measures).cast(pl.Float64).fill_null(np.nan)).to_numpy())
        row: dict[str, Any] = {"method": method, "journeys": len(of_method)}
        for name, mean in zip(measures, means, strict=True):
            row |= {name: mean.value, f"{name}_low": mean.low, f"{name}_high": mean.high}
        found.append(row)
    return pl.DataFrame(found)


def days_to_stage(history: History) -> tuple[list[date], int]:
    """Days of past snapshots in the second half of a history, and the days within which users come back, 60 at most.

    Raises
    ------
    TooFewReturnsError
        The history is too short.
    """
    first, last = history.span
    length = (last - first).days
    horizon = min(60, length // 3)
    step = (length // 2 - horizon) // SNAPSHOTS
    if step < 1:
        raise TooFewReturnsError(f"history from {first} to {last} is too short to see who came back")
    return [last - timedelta(days=horizon + step * back) for back in reversed(range(SNAPSHOTS))], horizon


def against_returns(
    history: History,
    settings: Settings,
    vectors: KeywordVectors,
    days: Sequence[date],
    horizon: int,
    *,
    progress: Callable[[float], None] | None = None,
) -> pl.DataFrame:
    """Stages of past snapshots against what users came back to within some days.

    Returns
    -------
    DataFrame
        One row per ``method``: ``journeys``; ``agreement`` of the stages with the rule's; shares of ``ended`` and
        ``evergreen``; how many of the ended (flips), ongoing and evergreen ones were come back to: ``returned_ended``
        and so on; ``days_to_end`` (mean, of the ongoing ones); and ``balanced``, the mean of the shares of journeys
        with and without a return that count as not ended and as ended, with its interval.
    """
    model = model_before(days[0], history, settings, vectors)
    snapshots = []
    for done, day in enumerate(days, start=1):
        staged = stages_on(history, day, settings, vectors, model)
        returned = days_to_return(history, day, settings).filter(pl.col("days_to_return") <= horizon)
        snapshots.append(staged.join(returned, on=JOURNEY, how="left"))
        if progress is not None:
            progress(done / len(days))
    rows = pl.concat(snapshots).with_columns(returned=pl.col("days_to_return").is_not_null())
    by_rule, found = rows.filter(method=RULE)["stage"], []
    for (method,), of_method in rows.partition_by("method", as_dict=True, maintain_order=True).items():
        of_stage = {
            f"returned_{stage}": of_method.filter(stage=stage)["returned"].mean()
            for stage in (ENDED, ONGOING, EVERGREEN)
        }
        left = (pl.col("ends_on") - pl.col("as_of")).dt.total_days().filter(pl.col("stage") == ONGOING).mean()
        shares = {stage: (pl.col("stage") == stage).mean() for stage in (ENDED, EVERGREEN)}
        found.append(
            {"method": method, "journeys": len(of_method), "agreement": (of_method["stage"] == by_rule).mean()}
            | of_method.select(**shares, days_to_end=left).row(0, named=True)
            | of_stage
            | _balanced(of_method)
        )
    return pl.DataFrame(found)


def _balanced(rows: pl.DataFrame) -> dict[str, float]:
    """Balanced accuracy of ended against no return, with an interval over users."""
    ended, returned = pl.col("stage") == ENDED, pl.col("returned")
    by_user = rows.group_by("user_id").agg(
        (ended & ~returned).sum().alias("gone"),
        (~returned).sum().alias("all_gone"),
        (~ended & returned).sum().alias("back"),
        returned.sum().alias("all_back"),
    )
    sums = by_user.sort("user_id").drop("user_id").to_numpy().astype(np.float64)
    totals = np.vstack([sums.sum(axis=0), resampled_totals(sums)])
    with np.errstate(invalid="ignore"):
        balanced = (totals[:, 0] / totals[:, 1] + totals[:, 2] / totals[:, 3]) / 2
    low, high = np.nanquantile(balanced, [0.025, 0.975])
    return {"balanced": float(balanced[0]), "balanced_low": float(low), "balanced_high": float(high)}
