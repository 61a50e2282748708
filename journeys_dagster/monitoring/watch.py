"""Checking days: the expected range of each metric, and whether the measured value is an alarm.

A day is compared with the days before it and with nothing else, so that checking it again gives the same.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.monitoring.baselines import baseline
from journeys_dagster.monitoring.drift import best_shift, population_stability_index, silent_share, surprise
from journeys_dagster.monitoring.measures import MEASURED_SCHEMA
from journeys_dagster.monitoring.metrics import METRICS, QualityMetric
from journeys_dagster.settings import QualityCheck, QualitySettings

_Row = dict[str, Any]
SERIES = ("scope", "metric", "slice")
CHECKED_SCHEMA = {
    **MEASURED_SCHEMA,
    "expected": pl.Float64(),
    "low": pl.Float64(),
    "high": pl.Float64(),
    "history_days": pl.Int32(),
    "severity": pl.String(),
    "alarm": pl.Boolean(),
    "reason": pl.String(),
}
# A distribution is compared with at least so many days, and with its weekday's alone from so many of them.
_MIN_REFERENCE_DAYS = 7
_MIN_SAME_WEEKDAYS = 4
# A source is missed where at least this share of the same weekdays, and at least so many, had rows of it.
_REGULAR_SHARE = 0.5
_MIN_REGULAR_WEEKDAYS = 3
# Of a source so small that no rows are within the ordinary, only so many such days in a row are a fault.
_SILENT_DAYS = 3
_MAX_LOG_FACTOR = 50.0
_WEEK = 7
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def check_days(measured: pl.DataFrame, history: pl.DataFrame, settings: QualitySettings) -> pl.DataFrame:
    """Judge measured rows.

    Parameters
    ----------
    measured : DataFrame
        Rows of `MEASURED_SCHEMA`, one per day and series (scope, metric, slice), of any number of days.
    history : DataFrame
        The same columns, of other days; those of `measured` count as history of each other too.

    Returns
    -------
    DataFrame
        `measured` with the columns of `CHECKED_SCHEMA`, sorted by day and series. A range is null while there is too
        little history, and nothing is an alarm then.
    """
    columns = list(MEASURED_SCHEMA)
    both = pl.concat(
        [
            history.select(columns).with_columns(new=pl.lit(value=False)),
            measured.select(columns).with_columns(new=pl.lit(value=True)),
        ]
    ).sort("as_of")
    checked: list[_Row] = []
    series: defaultdict[tuple[str, ...], list[_Row]] = defaultdict(list)
    for row in both.filter(pl.col("metric").is_in(list(METRICS))).iter_rows(named=True):
        known = series[tuple(row[name] for name in SERIES)]
        if row.pop("new"):
            row.update(_judgement(row, METRICS[row["metric"]], known, settings))
            checked.append(row)
        known.append(row)
    return pl.DataFrame(checked, schema=CHECKED_SCHEMA).sort("as_of", *SERIES)


def _judgement(row: _Row, metric: QualityMetric, known: Sequence[_Row], settings: QualitySettings) -> _Row:
    """What is said of a day, and its value where that follows from the days before."""
    day, value = row["as_of"], row["value"]
    check: QualityCheck = getattr(settings, metric.name)
    first = day - timedelta(days=settings.trailing_days)
    past = [other for other in known if other["as_of"] >= first and other["as_of"] not in settings.closed_days]
    reference = _reference(past, day, by_weekday=metric.by_weekday) if metric.comparison else None
    if reference is not None:
        value = _compared(metric, np.array(row["counts"]), reference)
    expected = {"expected": None, "low": None, "high": None, "history_days": len(past)}
    fault = ""
    is_silent = metric.name == "volume" and not value
    if value is not None and not (is_silent and day in settings.closed_days):
        expected = _expected(row, metric, past, check, settings)
        fault = _silence(past, day, expected["low"]) if is_silent else _fault(value, metric, expected)
        if fault and metric.name == "hour_drift" and reference is not None:
            fault += _shift_text(row["counts"], reference)
    where = f"{row['slice']}: " if row["slice"] else ""
    return {
        "value": value,
        **expected,
        "severity": check.severity,
        "alarm": bool(fault),
        "reason": f"{where}{fault}. {metric.advice}" if fault else "",
    }


def _reference(past: Sequence[_Row], day: date, *, by_weekday: bool) -> NDArray[np.int64] | None:
    """Counts of the earlier days together; none where there are too few."""
    if len(past) < _MIN_REFERENCE_DAYS:
        return None
    counts = np.array([row["counts"] for row in past], dtype=np.int64)
    same = np.array([row["as_of"].weekday() == day.weekday() for row in past])
    return counts[same].sum(axis=0) if by_weekday and same.sum() >= _MIN_SAME_WEEKDAYS else counts.sum(axis=0)


def _compared(metric: QualityMetric, counts: NDArray[np.int64], reference: NDArray[np.int64]) -> float:
    if metric.comparison == "surprise":
        square = (math.isqrt(len(counts)), -1)
        return surprise(counts.reshape(square), reference.reshape(square))
    compare = silent_share if metric.comparison == "silence" else population_stability_index
    return compare(counts, reference)


def _silence(past: Sequence[_Row], day: date, low: float | None) -> str:
    """What to say of a source without rows; nothing where that is usual, on this weekday or for its size."""
    with_rows = {row["as_of"] for row in past if row["value"]}
    if not with_rows:
        return ""
    first = min(with_rows)
    silent_days = 0
    while (other := day - timedelta(days=silent_days)) > first and other not in with_rows:
        silent_days += 1
    usual_days = [
        other
        for back in range(silent_days)
        if _had_rows(with_rows, first, other := day - timedelta(days=back)) >= _REGULAR_SHARE
    ]
    if day not in usual_days:
        return ""
    if low is not None and low >= 1:
        share = _had_rows(with_rows, first, day)
        return f"no rows, though {share:.0%} of the {_WEEKDAYS[day.weekday()]}s before had some"
    return f"no rows on {len(usual_days)} usual days in a row" if len(usual_days) >= _SILENT_DAYS else ""


def _had_rows(with_rows: Collection[date], first: date, day: date) -> float:
    """Share of the same weekdays before a day that had rows; 0 where there are too few."""
    same_weekdays = [day - timedelta(days=_WEEK * back) for back in range(1, (day - first).days // _WEEK + 1)]
    if len(same_weekdays) < _MIN_REGULAR_WEEKDAYS:
        return 0.0
    return sum(other in with_rows for other in same_weekdays) / len(same_weekdays)


def _expected(
    row: _Row, metric: QualityMetric, past: Sequence[_Row], check: QualityCheck, settings: QualitySettings
) -> _Row:
    """What the days before let expect; nothing while they are too few."""
    past = [other for other in past if other["value"] is not None and (other["value"] > 0 or metric.scale == "share")]
    is_scarce = metric.name != "volume" and row["observations"] < settings.min_observations
    if len(past) < settings.min_history_days or is_scarce:
        return {"expected": None, "low": None, "high": None, "history_days": len(past)}
    values = np.array([other["value"] for other in past], dtype=np.float64)
    weekdays = np.array([other["as_of"].weekday() for other in past])
    observations = np.array([other["observations"] for other in past], dtype=np.float64)
    scarcity = max(1.0, float(np.median(observations)) / max(row["observations"], 1))
    expected = baseline(_evenly_scattered(metric, values), weekdays, row["as_of"].weekday())
    if metric.scale == "share":
        centre = min(max(expected.centre, 0.0), 1.0)
        mean = float(values @ observations / max(observations.sum(), 1.0))
        chance = mean * (1 - mean) / row["observations"]
        width = max(check.tolerance, check.deviations * math.sqrt(expected.deviation**2 + chance))
        low, high = max(0.0, centre - width), min(1.0, centre + width)
    elif metric.scale == "factor":
        centre = math.exp(expected.centre)
        # Counts scatter by chance; of other values it is fewer observations than usual that make them do so.
        noise = expected.deviation * math.sqrt(scarcity)
        if metric.name == "volume":
            noise = math.sqrt(expected.deviation**2 + 1 / centre)
        factor = max(1 + check.tolerance, math.exp(min(check.deviations * noise, _MAX_LOG_FACTOR)))
        low, high = centre / factor, centre * factor
    else:
        centre = max(expected.centre, 0.0) ** 2 * scarcity
        limit = max(expected.centre, 0.0) + check.deviations * expected.deviation
        low, high = 0.0, max(check.tolerance, limit**2 * scarcity)
    return {"expected": centre, "low": low, "high": high, "history_days": len(past)}


def _evenly_scattered(metric: QualityMetric, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values on a scale with the same scatter at every level; drift by chance alone is a chi-square."""
    if metric.scale == "factor":
        return np.log(values)
    return np.sqrt(values) if metric.scale == "drift" else values


def _fault(value: float, metric: QualityMetric, expected: _Row) -> str:
    low, high = expected["low"], expected["high"]
    if low is None or high is None or low <= value <= high:
        return ""
    side, limit = ("below", low) if value < low else ("above", high)
    if metric.side not in ("both", side):
        return ""
    return (
        f"{metric.measures} {value_text(metric, value)}, {side} {value_text(metric, limit)} "
        f"({value_text(metric, expected['expected'])} expected from {expected['history_days']} days)"
    )


def _shift_text(counts: Sequence[int], reference: NDArray[np.int64]) -> str:
    hours = best_shift(counts, reference)
    return f"; most like the usual day moved by {hours:+d} h" if hours else ""


def value_text(metric: QualityMetric, value: float) -> str:
    """A metric's value for people."""
    if metric.scale == "share":
        return f"{value:.1%}"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def alarms_text(rows: Iterable[_Row], *, most: int = 5) -> str:
    """The reasons of alarms, newest day first, in one text."""
    alarms = sorted((row for row in rows if row["alarm"]), key=lambda row: (row["as_of"], row["slice"]), reverse=True)
    listed = [f"{row['as_of']} {row['reason']}" for row in alarms[:most]]
    if len(alarms) > most:
        listed.append(f"{len(alarms) - most} more are in quality_metrics.")
    return " ".join(listed)
