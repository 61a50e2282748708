"""When in the year journeys of a type begin: at any time, or in and around the months of their season."""

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from lab.simulation.journey_types import JourneyType

# Parts of a journey's length by which it may begin before its season, and by which it must begin before the end of it.
_EARLY, _EARLIEST_END = 0.5, 0.5


@dataclass(frozen=True, kw_only=True)
class Seasons:
    """Where in the window journeys of each type may begin.

    Attributes
    ----------
    first, last : float array, shape (types, most seasons of a type)
        Days since the first simulated day between which a journey of the type begins; unused places are nan.
    count : int array, shape (types,)
        Seasons of each type that the window has a part of; 0 for types out of season.
    weight : float array, shape (types,)
        Logarithm of the share of the types' seasons that lie within the window; 0 for types without season.
    """

    first: NDArray[np.float64]
    last: NDArray[np.float64]
    count: NDArray[np.int64]
    weight: NDArray[np.float64]


def seasons_of(journeys: tuple[JourneyType, ...], *, first_day: date, days: int) -> Seasons:
    """Where in a window journeys of each type may begin.

    Parameters
    ----------
    journeys : tuple of JourneyType
    first_day : date
        First day of the window.
    days : int
        Length of the window.
    """
    spans: list[list[tuple[float, float]]] = []
    weights: list[float] = []
    for journey in journeys:
        # Begun too early, a journey is over before the window; begun too late, it has hardly a day in it.
        low, high = -0.6 * journey.days, max(days - 5.0, days / 2)
        whole = [(low, high)] if not journey.months else _starts(journey, first_day=first_day, days=days)
        inside = [(max(start, low), min(end, high)) for start, end in whole]
        inside = [(start, end) for start, end in inside if start < end]
        part = sum(end - start for start, end in inside) / max(sum(end - start for start, end in whole), 1e-9)
        spans.append(inside)
        weights.append(float(np.log(part)) if part > 0 else -np.inf)
    most = max(1, *(len(own) for own in spans))
    padded = np.array([own + [(np.nan, np.nan)] * (most - len(own)) for own in spans])
    return Seasons(
        first=padded[..., 0],
        last=padded[..., 1],
        count=np.array([len(own) for own in spans]),
        weight=np.array(weights),
    )


def _starts(journey: JourneyType, *, first_day: date, days: int) -> list[tuple[float, float]]:
    """Days between which journeys of a seasonal type begin, for every season that has to do with the window."""
    last_day = first_day + timedelta(days=days - 1)
    months = [
        (year, month)
        for year in range(first_day.year - 1, last_day.year + 2)
        for month in range(1, 13)
        if month in journey.months
    ]
    runs: list[tuple[date, date]] = []
    for year, month in months:
        start = date(year, month, 1)
        end = date(year + month // 12, month % 12 + 1, 1)
        if runs and runs[-1][1] == start:
            runs[-1] = (runs[-1][0], end)
        else:
            runs.append((start, end))
    starts = [
        ((start - first_day).days - _EARLY * journey.days, (end - first_day).days - _EARLIEST_END * journey.days)
        for start, end in runs
    ]
    return [(start, end) for start, end in starts if end > -0.6 * journey.days and start < days]
