"""When simulated people sit down for their journeys: rhythms of days and weeks, and how journeys progress."""

from dataclasses import dataclass

import numpy as np

from lab.simulation.people import (
    USUAL_HOUR_SHARES,
    USUAL_HOURS,
    Floats,
    Ints,
    Journeys,
    People,
    Setting,
)

DAY_MS = 86_400_000

PROGRESS_SHAPE = (1.2, 1.5)
"""Of the beta distribution of a situational journey's sittings over its course."""

_EVERGREEN_PERIODS = np.array([3.5, 7.0, 10.0])
_KEPT_BEATS, _STRAYING = 0.88, 0.2
_EVERGREEN_REST_SHARE = 0.2
_PAUSE_SHARE, _BURST_SHARE = 0.25, 0.3


@dataclass(frozen=True, kw_only=True)
class Sessions:
    """The sittings of a block of people; every array but `pace` has one entry per session.

    Attributes
    ----------
    journey : int array
        Place in `Journeys`.
    start : int array
        Milliseconds since the first simulated day.
    progress : float array
        How far the journey has come, from 0 to 1; random for evergreen journeys.
    pace : float array, one entry per journey
        Sittings per day that are expected while the journey lasts.
    """

    journey: Ints
    start: Ints
    progress: Floats
    pace: Floats


def draw_sessions(rng: np.random.Generator, people: People, journeys: Journeys, setting: Setting) -> Sessions:
    """Draw when people sit down, in order of person and time."""
    days = setting.days
    situational = _situational_times(rng, people, journeys, setting)
    evergreen = _evergreen_times(rng, people, journeys, days=days)
    journey = np.concatenate([situational[0], evergreen[0]])
    time = np.concatenate([situational[1], evergreen[1]])
    progress = np.concatenate([situational[2], rng.random(len(evergreen[0]))])
    pace = np.where(journeys.evergreen, evergreen[2], situational[3])

    person = journeys.person[journey]
    usual = np.where(
        rng.random(len(time)) < 0.65,
        people.usual_hour[person],
        rng.choice(4, len(time), p=USUAL_HOUR_SHARES),
    )
    hour = USUAL_HOURS[usual] + rng.normal(0, 1.1, len(time))
    # Late evenings are folded back: starting before 23:15 leaves a session room within its day.
    hour = np.clip(np.where(hour > 23.25, 46.5 - hour, hour), 0.0, 23.25)
    start = (np.floor(time) * DAY_MS + hour * 3_600_000).astype(np.int64)
    # The hours are those of people's own clocks; at the edges of the window they are taken for UTC.
    elsewhere = start - (people.zone[person] * 3_600_000).astype(np.int64)
    inside = (elsewhere >= 0) & (elsewhere < (days - 0.03) * DAY_MS)
    start = np.where(inside, elsewhere, start)

    order = np.lexsort((start, person))
    journey, start, progress, person = journey[order], start[order], progress[order], person[order]
    # Now and then people who are at it turn to another of their journeys: its session follows the one before.
    if len(start) > 1:
        gap = np.diff(start)
        later = start[:-1] + rng.integers(120_000, 900_000, len(gap))
        follows = (
            (rng.random(len(gap)) < 0.25)
            & (np.diff(person) == 0)
            & (np.diff(journey) != 0)
            & (gap < 3 * DAY_MS)
            & (later < start[1:])
            & (later >= np.floor(journeys.starts[journey[1:]]) * DAY_MS)
        )
        start[1:] = np.where(follows, later, start[1:])
    return Sessions(journey=journey, start=start, progress=progress, pace=pace)


def _situational_times(
    rng: np.random.Generator, people: People, journeys: Journeys, setting: Setting
) -> tuple[Ints, Floats, Floats, Floats]:
    days = setting.days
    own = np.flatnonzero(~journeys.evergreen)
    length = journeys.ends[own] - journeys.starts[own]
    mean = (
        3.6
        * people.activity[journeys.person[own]] ** 0.75
        * np.sqrt(length / 30)
        * np.exp(rng.normal(0, 0.3, len(own)))
    )
    count = 1 + rng.poisson(mean)
    journey = np.repeat(own, count)
    pace = np.zeros(len(journeys.person))
    pace[own] = (1 + mean) / length
    progress = rng.beta(*PROGRESS_SHAPE, len(journey))
    starts, ends = journeys.starts[journey], journeys.ends[journey]
    # Everybody's first journey has a first session in the window, so that nobody is without a history.
    first = np.r_[True, journey[1:] != journey[:-1]] if len(journey) else np.zeros(0, dtype=bool)
    low, high = np.maximum(starts, 0), np.minimum(ends, days)
    within = ((low + progress * (high - low)) - starts) / (ends - starts)
    progress = np.where(first & (journeys.slot[journey] == 0), within, progress)
    time = starts + progress * (ends - starts)
    journey, time, progress = _paused(rng, journey, time, progress, journeys, days=days)
    # Part of what would fall on Monday to Thursday waits for the weekend.
    weekday = (np.floor(time) + setting.first_weekday) % 7
    waits = (weekday < 4) & (rng.random(len(time)) < 0.3)
    shifted = time + 5 + rng.integers(0, 2, len(time)) - weekday
    time = np.where(waits & (shifted < np.minimum(ends, days)), shifted, time)
    kept = (time >= 0) & (time < days)
    return journey[kept], time[kept], progress[kept], pace


def _paused(
    rng: np.random.Generator, journey: Ints, time: Floats, progress: Floats, journeys: Journeys, *, days: int
) -> tuple[Ints, Floats, Floats]:
    """Sittings in order, gathered: some soon follow the one before, and what falls into a pause waits for its end."""
    order = np.lexsort((time, journey))
    journey, time, progress = journey[order], time[order], progress[order]
    m = len(journeys.person)
    length = journeys.ends - journeys.starts
    begins = journeys.starts + rng.uniform(0.2, 0.6, m) * length
    ends = begins + rng.uniform(0.1, 0.3, m) * length
    pauses = rng.random(m) < _PAUSE_SHARE
    waits = pauses[journey] & (time > begins[journey]) & (time < ends[journey])
    later = ends[journey] + rng.exponential(0.02 * length[journey])
    # What is within the window stays there, or people would be without a history.
    time = np.where(waits & (later < days), later, time)
    if len(time) > 1:
        gap = np.diff(time)
        soon = (journey[1:] == journey[:-1]) & (gap > 1) & (rng.random(len(gap)) < _BURST_SHARE)
        moved = time[1:] - (gap - 1) * rng.uniform(0.6, 1.0, len(gap))
        time[1:] = np.where(soon & ((moved >= 0) | (time[1:] < 0)), moved, time[1:])
    return journey, np.minimum(time, journeys.ends[journey]), progress


def _evergreen_times(
    rng: np.random.Generator, people: People, journeys: Journeys, *, days: int
) -> tuple[Ints, Floats, Floats]:
    own = np.flatnonzero(journeys.evergreen)
    quiet = people.activity[journeys.person[own]] < 0.5
    busy = people.activity[journeys.person[own]] > 2.0
    habit = rng.random(len(own))
    place = np.where(busy & (habit < 0.5), 0, np.where(quiet & (habit < 0.6), 2, 1))
    period = _EVERGREEN_PERIODS[place][:, None]
    first = np.maximum(journeys.starts[own], 0)[:, None]
    beats = np.arange(int(days / _EVERGREEN_PERIODS.min()) + 1)
    phase = rng.random((len(own), 1)) * period
    # Habits are no clocks: the longer the period, the more a sitting strays from its beat.
    time = first + phase + beats * period + _STRAYING * period * rng.normal(0, 1, (len(own), len(beats)))
    # The first beat is always kept; later ones are sometimes skipped.
    kept = (rng.random(time.shape) < _KEPT_BEATS) | (beats == 0)
    time = np.where(beats == 0, np.clip(time, first, max(days - 0.01, 0)), time)
    kept &= (time >= first) & (time < days)
    rests = rng.random(len(own)) < _EVERGREEN_REST_SHARE
    rest = np.where(rests, rng.uniform(0, days, len(own)), np.inf)[:, None]
    kept &= (beats == 0) | ~((time > rest) & (time < rest + rng.uniform(8, 28, (len(own), 1))))
    row, column = np.nonzero(kept)
    pace = np.zeros(len(journeys.person))
    pace[own] = _KEPT_BEATS / period[:, 0]
    return own[row], time[row, column], pace
