"""What an experiment says as of a day: a row per arm and metric, and a verdict in words."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from journeys_dagster.notification.lifts import (
    ALPHA,
    BEFORE,
    COUNTS,
    FEWEST_USERS,
    FEWEST_WITH_SOME,
    METRICS,
    Lift,
    Sample,
    Z,
    always_p_value,
    always_width,
    corrected,
    lift_of,
    sample_of,
    split_p_value,
)
from journeys_dagster.settings import Experiment

MISMATCH = 0.001
"""A split that is so improbable is a fault, and nothing is read: the share of sound experiments that it stops a day."""
USERS_SCHEMA: Mapping[str, Any] = {
    "arm": pl.String,
    "days": pl.Int64,
    **dict.fromkeys((*COUNTS, *(f"{BEFORE}{name}" for name in COUNTS)), pl.Float64),
}
READOUT_SCHEMA: Mapping[str, Any] = {
    "experiment": pl.String,
    "arm": pl.String,
    "metric": pl.String,
    "is_guardrail": pl.Boolean,
    "days": pl.Int32,
    "is_reading_day": pl.Boolean,
    "control_users": pl.Int64,
    "arm_users": pl.Int64,
    "split_p_value": pl.Float64,
    **dict.fromkeys(
        (
            *("control_value", "arm_value", "lift", "low", "high", "always_low", "always_high"),
            *("relative_lift", "relative_low", "relative_high", "always_relative_low", "always_relative_high"),
            *("p_value", "corrected_p_value", "always_p_value", "corrected_always_p_value", "variance_saved"),
        ),
        pl.Float64,
    ),
    "verdict": pl.String,
}


@dataclass(frozen=True)
class _Pair:
    """An arm beside the control."""

    arm: str
    control: Sample
    treated: Sample
    split_p_value: float

    @property
    def information(self) -> int:
        return self.control.days + self.treated.days


def read_out(users: pl.DataFrame, experiment: Experiment, *, as_of: date) -> pl.DataFrame:
    """Compare each arm of an experiment with its control.

    The interval holds for one look, on the day on which the minimum run is over; the one called *always* holds at
    every look at once. The verdict goes by the first on that day, and by the second on all others.

    Parameters
    ----------
    users : DataFrame
        Columns of `USERS_SCHEMA`: who takes part, with the days since, what is counted on these, and what was on the
        days before.
    as_of : date
        The last day that is known.

    Returns
    -------
    DataFrame
        Columns of `READOUT_SCHEMA`: a row per arm besides the control and per metric and guardrail; none while an arm
        has less than two users. What cannot be computed is null.
    """
    days = (as_of - experiment.start).days + 1
    samples, earlier = {}, {}
    for arm in experiment.arms:
        own = users.filter(arm=arm)
        if own.height >= 2:
            samples[arm], earlier[arm] = sample_of(own), own.filter(pl.col("days") > 1).height
    enough = _enough(experiment, days, {arm: sample.users for arm, sample in samples.items()})
    is_reading_day = enough and not _enough(experiment, days - 1, earlier)
    pairs = [
        _pair(experiment, samples, arm) for arm in experiment.compared if {arm, experiment.control} <= samples.keys()
    ]
    rows = []
    for pair in pairs:
        for metric in (*experiment.metrics, *experiment.guardrails):
            row = {
                "experiment": experiment.name,
                "arm": pair.arm,
                "metric": metric,
                "is_guardrail": metric in experiment.guardrails,
                "days": days,
                "is_reading_day": is_reading_day,
                "control_users": pair.control.users,
                "arm_users": pair.treated.users,
                "split_p_value": pair.split_p_value,
            }
            rows.append(row | _figures(pair, metric, experiment))
    for kind in ("p_value", "always_p_value"):
        tested = [row for row in rows if not row["is_guardrail"] and row.get(kind) is not None]
        for row, value in zip(tested, corrected([row[kind] for row in tested], experiment.correction), strict=True):
            row[f"corrected_{kind}"] = value
    for row in rows:
        row["verdict"] = verdict(row, experiment, enough=enough)
    return pl.DataFrame(rows, schema=READOUT_SCHEMA)


def _pair(experiment: Experiment, samples: Mapping[str, Sample], arm: str) -> _Pair:
    control, treated = samples[experiment.control], samples[arm]
    ratio = experiment.arms[arm].share / experiment.arms[experiment.control].share
    return _Pair(arm, control, treated, split_p_value(control.users, treated.users, ratio=ratio))


def _enough(experiment: Experiment, days: int, users: Mapping[str, int]) -> bool:
    return days >= experiment.minimum_days and all(
        users.get(arm, 0) >= experiment.minimum_users for arm in experiment.arms
    )


def _figures(pair: _Pair, metric: str, experiment: Experiment) -> dict[str, float]:
    lift = lift_of(pair.control, pair.treated, metric)
    if lift is None:
        return {}
    found = {
        "control_value": lift.control,
        "arm_value": lift.treated,
        "lift": lift.value,
        "p_value": lift.p_value,
        "variance_saved": lift.variance_saved,
        **dict(zip(("low", "high"), lift.interval(), strict=True)),
        **_relative(lift),
    }
    total = METRICS[metric].total
    if all(of.users >= FEWEST_USERS and of.with_some[total] >= FEWEST_WITH_SOME for of in (pair.control, pair.treated)):
        planned = 2.0 * experiment.minimum_users * experiment.minimum_days
        width = always_width(pair.information, planned)
        found |= dict(zip(("always_low", "always_high"), lift.interval(width), strict=True))
        found |= _relative(lift, width=width, name="always_relative")
        found["always_p_value"] = always_p_value(lift.value / lift.error, pair.information, planned)
    return found


def _relative(lift: Lift, *, width: float = Z, name: str = "relative") -> dict[str, float]:
    if not math.isfinite(lift.log_error):
        return {}
    low, high = lift.relative(width)
    return {"relative_lift": lift.relative()[0], f"{name}_low": low, f"{name}_high": high}


def verdict(row: Mapping[str, Any], experiment: Experiment, *, enough: bool) -> str:
    """A row of the readout in words."""
    if row["split_p_value"] < MISMATCH:
        planned = "{:g} : {:g}".format(*(experiment.arms[arm].share for arm in (experiment.control, row["arm"])))
        return (
            f"not to be read: {row['control_users']:,} users and {row['arm_users']:,} in place of {planned} "
            f"(p = {row['split_p_value']:.1g}); who takes part depends on the arm, or rows are missing"
        )
    if row.get("lift") is None:
        return "cannot be said: nobody in one of the arms has what it is counted per, or nobody differs"
    final = bool(row["is_reading_day"])
    kind = "" if final else "always_"
    said = _guardrail(row, experiment, kind) if row["is_guardrail"] else _plain(row, kind)
    if enough:
        return said
    waiting = f"{row['days']} of {experiment.minimum_days} days"
    fewest = min(row["control_users"], row["arm_users"])
    if fewest < experiment.minimum_users:
        waiting += f", {fewest:,} of {experiment.minimum_users:,} users"
    return f"too early ({waiting})" + (f"; so far: {said}" if said != _NOTHING_YET else "")


_NOTHING_YET = "nothing shown yet"


def _plain(row: Mapping[str, Any], kind: str) -> str:
    p_value = row.get(f"corrected_{kind}p_value")
    if p_value is None:
        return _NOTHING_YET
    if p_value < ALPHA:
        is_better = (row["lift"] < 0) == METRICS[row["metric"]].fewer_is_better
        return f"{'better' if is_better else 'worse'}: {_by(row, kind)}"
    return f"no difference shown: {_by(row, kind)}" if not kind else _NOTHING_YET


def _guardrail(row: Mapping[str, Any], experiment: Experiment, kind: str) -> str:
    low, high = (row.get(f"{kind}relative_{end}") for end in ("low", "high"))
    margin = experiment.guardrails[row["metric"]]
    if low is None or high is None:
        return _NOTHING_YET if kind else "guardrail not shown to hold: too little is counted for a share"
    best, worst = (low, high) if METRICS[row["metric"]].fewer_is_better else (-high, -low)
    if best > margin:
        return f"guardrail broken: worse by more than {margin:.1%}: {_by(row, kind)}"
    if worst < margin:
        return f"guardrail holds: worse by less than {margin:.1%}: {_by(row, kind)}"
    return f"guardrail not shown to hold: {_by(row, kind)}" if not kind else _NOTHING_YET


def _by(row: Mapping[str, Any], kind: str) -> str:
    """The lift with its interval, as a share where it can be."""
    if row.get(f"{kind}relative_low") is not None:
        lift, low, high = row["relative_lift"], row[f"{kind}relative_low"], row[f"{kind}relative_high"]
        return f"{lift:+.1%} ({low:+.1%} to {high:+.1%})"
    return f"{row['lift']:+.4g} ({row[f'{kind}low']:+.4g} to {row[f'{kind}high']:+.4g})"


def in_words(rows: pl.DataFrame) -> Sequence[str]:
    """A line per row of a readout."""
    return [
        f"{row['experiment']}, {row['arm']}, {row['metric']}: {row['verdict']}" for row in rows.iter_rows(named=True)
    ]
