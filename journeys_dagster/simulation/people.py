"""Who the simulated people are, which journeys they are on, and when they sit down for them.

Everything is drawn for a block of `BLOCK` people at once from the block's own random stream, so that a person's
history does not depend on how many people are simulated. What happens in a session belongs to `activity`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from journeys_dagster.simulation.catalogue import Catalogue

BLOCK = 250
MAX_JOURNEYS = 7
DAY_MS = 86_400_000

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

NO_BOARDS, BOARD_PER_JOURNEY, ONE_BOARD = 0, 1, 2

# Most people have one favourite time of the day: before work, at lunch, after work, in the evening.
_USUAL_HOURS = np.array([7.3, 12.6, 17.4, 20.8])
_USUAL_HOUR_SHARES = np.array([0.14, 0.18, 0.2, 0.48])
_EVERGREEN_PERIODS = np.array([3.5, 7.0, 10.0])


@dataclass(frozen=True, kw_only=True)
class People:
    """A block of people; every array has shape (BLOCK,).

    Attributes
    ----------
    activity : float array
        How active the person is; mean near 1, heavy-tailed.
    board_habit : int array
        `NO_BOARDS`, `BOARD_PER_JOURNEY` or `ONE_BOARD`.
    capitalises : bool array
        Whether the person's phone writes the first letter large.
    save_share, click_share : float array
        Share of the items looked at that are saved, and that are clicked through.
    usual_hour : int array
        Favourite time of the day.
    """

    activity: Floats
    journey_count: Ints
    board_habit: Ints
    capitalises: Bools
    save_share: Floats
    click_share: Floats
    usual_hour: Ints


@dataclass(frozen=True, kw_only=True)
class Journeys:
    """The journeys of a block of people; every array has one entry per journey.

    Attributes
    ----------
    person : int array
        Place in the block.
    slot : int array
        Number of the journey within the person.
    type : int array
        Journey type.
    starts, ends : float array
        Days since the first simulated day; may lie outside of the window. Evergreen journeys end after it.
    focus : int array, shape (journeys, longest query list)
        The queries that this person uses, in catalogue order, in the first `focus_size` columns.
    """

    person: Ints
    slot: Ints
    type: Ints
    evergreen: Bools
    starts: Floats
    ends: Floats
    focus: Ints
    focus_size: Ints


@dataclass(frozen=True, kw_only=True)
class Sessions:
    """The sittings of a block of people; every array has one entry per session.

    Attributes
    ----------
    journey : int array
        Place in `Journeys`.
    start : int array
        Milliseconds since the first simulated day.
    progress : float array
        How far the journey has come, from 0 to 1; random for evergreen journeys.
    """

    journey: Ints
    start: Ints
    progress: Floats


def draw_people(rng: np.random.Generator) -> People:
    """Draw the people of one block."""
    sigma = 0.9
    activity = np.clip(np.exp(rng.normal(-(sigma**2) / 2, sigma, BLOCK)), 0.06, 14.0)
    more = 1 / (1 + np.exp(0.75 - 0.8 * np.log(activity)))
    return People(
        activity=activity,
        journey_count=1 + rng.binomial(MAX_JOURNEYS - 1, more),
        board_habit=rng.choice(3, BLOCK, p=[0.5, 0.42, 0.08]),
        capitalises=rng.random(BLOCK) < 0.15,
        save_share=rng.beta(2, 6, BLOCK),
        click_share=rng.beta(2, 9, BLOCK),
        usual_hour=rng.choice(4, BLOCK, p=_USUAL_HOUR_SHARES),
    )


def draw_journeys(
    rng: np.random.Generator, people: People, *, catalogue: Catalogue, popularity: Floats, days: int
) -> Journeys:
    """Draw which journeys people are on, from when to when, and what they look for.

    Parameters
    ----------
    popularity : float array, shape (journey types,)
        Logarithm of how common each type is.
    days : int
        Length of the window.
    """
    types = catalogue.journeys
    domains = np.unique([journey.domain for journey in types], return_inverse=True)[1]
    # Gumbel noise on log weights, largest first, draws without replacement. People lean to a few domains.
    leaning = 1.6 * (rng.random((BLOCK, domains.max() + 1)) < 0.2)
    keys = popularity + leaning[:, domains] + rng.gumbel(size=(BLOCK, len(types)))
    chosen = np.argsort(-keys, axis=1)[:, :MAX_JOURNEYS]
    person, slot = np.nonzero(np.arange(MAX_JOURNEYS) < people.journey_count[:, None])
    kind = chosen[person, slot]
    m = len(kind)

    evergreen = np.array([journey.lifecycle == "evergreen" for journey in types])[kind]
    length = np.array([journey.days for journey in types])[kind] * np.exp(rng.normal(0, 0.3, m))
    latest = max(days - 5.0, days / 2)
    starts = -0.6 * length + rng.random(m) * (latest + 0.6 * length)
    # Most evergreen journeys are older than the window.
    starts = np.where(evergreen, rng.uniform(-60, 0.12 * days, m), starts)
    ends = np.where(evergreen, days + 60.0, starts + length)

    counts = np.diff(catalogue.query_start)
    columns = np.arange(counts.max())
    size = np.minimum(rng.integers(5, 12, m), counts[kind])
    keys = np.where(columns < counts[kind][:, None], rng.random((m, len(columns))), 2.0)
    wanted = np.argsort(np.argsort(keys, axis=1), axis=1) < size[:, None]
    focus = np.sort(np.where(wanted, columns, len(columns)), axis=1) + catalogue.query_start[kind][:, None]
    return Journeys(
        person=person,
        slot=slot,
        type=kind,
        evergreen=evergreen,
        starts=starts,
        ends=ends,
        focus=focus,
        focus_size=size,
    )


def draw_sessions(
    rng: np.random.Generator, people: People, journeys: Journeys, *, days: int, first_weekday: int
) -> Sessions:
    """Draw when people sit down, in order of person and time.

    Parameters
    ----------
    first_weekday : int
        Weekday of the first simulated day, 0 for Monday.
    """
    situational = _situational_times(rng, people, journeys, days=days, first_weekday=first_weekday)
    evergreen = _evergreen_times(rng, people, journeys, days=days)
    journey = np.concatenate([situational[0], evergreen[0]])
    time = np.concatenate([situational[1], evergreen[1]])
    progress = np.concatenate([situational[2], rng.random(len(evergreen[0]))])

    person = journeys.person[journey]
    usual = np.where(
        rng.random(len(time)) < 0.65,
        people.usual_hour[person],
        rng.choice(4, len(time), p=_USUAL_HOUR_SHARES),
    )
    hour = _USUAL_HOURS[usual] + rng.normal(0, 1.1, len(time))
    # Late evenings are folded back: starting before 23:15 leaves a session room within its day.
    hour = np.clip(np.where(hour > 23.25, 46.5 - hour, hour), 0.0, 23.25)
    start = (np.floor(time) * DAY_MS + hour * 3_600_000).astype(np.int64)

    order = np.lexsort((start, person))
    journey, start, progress, person = journey[order], start[order], progress[order], person[order]
    # People who are at it turn to another of their journeys now and then: such a session follows the one before.
    if len(start) > 1:
        gap = np.diff(start)
        follows = (
            (np.diff(person) == 0) & (np.diff(journey) != 0) & (gap < 3 * DAY_MS) & (rng.random(len(gap)) < 0.25)
        )
        later = start[:-1] + rng.integers(120_000, 900_000, len(gap))
        start[1:] = np.where(follows & (later < start[1:]), later, start[1:])
    return Sessions(journey=journey, start=start, progress=progress)


def _situational_times(
    rng: np.random.Generator, people: People, journeys: Journeys, *, days: int, first_weekday: int
) -> tuple[Ints, Floats, Floats]:
    own = np.flatnonzero(~journeys.evergreen)
    length = journeys.ends[own] - journeys.starts[own]
    mean = 3.6 * people.activity[journeys.person[own]] ** 0.75 * np.sqrt(length / 30) * np.exp(
        rng.normal(0, 0.3, len(own))
    )
    count = 1 + rng.poisson(mean)
    journey = np.repeat(own, count)
    progress = rng.beta(1.2, 1.5, len(journey))
    starts, ends = journeys.starts[journey], journeys.ends[journey]
    # Everybody's first journey has a first session in the window, so that nobody is without a history.
    first = np.r_[True, journey[1:] != journey[:-1]] if len(journey) else np.zeros(0, dtype=bool)
    low, high = np.maximum(starts, 0), np.minimum(ends, days)
    within = ((low + progress * (high - low)) - starts) / (ends - starts)
    progress = np.where(first & (journeys.slot[journey] == 0), within, progress)
    time = starts + progress * (ends - starts)
    # Part of what would fall on Monday to Thursday waits for the weekend.
    weekday = (np.floor(time) + first_weekday) % 7
    waits = (weekday < 4) & (rng.random(len(time)) < 0.3)
    shifted = time + 5 + rng.integers(0, 2, len(time)) - weekday
    time = np.where(waits & (shifted < np.minimum(ends, days)), shifted, time)
    kept = (time >= 0) & (time < days)
    return journey[kept], time[kept], progress[kept]


def _evergreen_times(
    rng: np.random.Generator, people: People, journeys: Journeys, *, days: int
) -> tuple[Ints, Floats]:
    own = np.flatnonzero(journeys.evergreen)
    quiet = people.activity[journeys.person[own]] < 0.5
    busy = people.activity[journeys.person[own]] > 2.0
    habit = rng.random(len(own))
    place = np.where(busy & (habit < 0.5), 0, np.where(quiet & (habit < 0.6), 2, 1))
    period = _EVERGREEN_PERIODS[place][:, None]
    first = np.maximum(journeys.starts[own], 0)[:, None]
    beats = np.arange(int(days / _EVERGREEN_PERIODS.min()) + 1)
    phase = rng.random((len(own), 1)) * period
    time = first + phase + beats * period + rng.normal(0, 0.5, (len(own), len(beats)))
    # The first beat is always kept; later ones are sometimes skipped.
    kept = (rng.random(time.shape) < 0.88) | (beats == 0)
    time = np.where(beats == 0, np.clip(time, first, max(days - 0.01, 0)), time)
    kept &= (time >= first) & (time < days)
    row, column = np.nonzero(kept)
    return own[row], time[row, column]
