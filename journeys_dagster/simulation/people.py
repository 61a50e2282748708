"""Who the simulated people are, and which journeys they are on.

Everything is drawn for a block of `BLOCK` people at once from the block's own random stream, so that a
person's history does not depend on how many people are simulated. When they sit down belongs to `sessions`,
what they then do to `activity`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from journeys_dagster.simulation.catalogue import Catalogue

BLOCK = 250
MAX_JOURNEYS = 7

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

NO_BOARDS, BOARD_PER_JOURNEY, ONE_BOARD = 0, 1, 2

# Most people have one favourite time of the day: before work, at lunch, after work, in the evening.
USUAL_HOURS = np.array([7.3, 12.6, 17.4, 20.8])
USUAL_HOUR_SHARES = np.array([0.14, 0.18, 0.2, 0.48])


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
        usual_hour=rng.choice(4, BLOCK, p=USUAL_HOUR_SHARES),
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
