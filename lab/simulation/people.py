"""Who the simulated people are, and which journeys they are on.

Everything is drawn for a block of `BLOCK` people at once from the block's own random stream, so that a
person's history does not depend on how many people are simulated. When they sit down belongs to `sessions`,
what they then do to `activity`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lab.simulation.catalogue import Catalogue
from lab.simulation.seasons import Seasons

BLOCK = 250
MAX_JOURNEYS = 12
MAX_TOPICS = 6

_LEANING, _LEANING_SHARE = 1.6, 0.12
_BEGINS_WITH_FIRST_TOPIC = 0.7

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

NO_BOARDS, BOARD_PER_JOURNEY, ONE_BOARD = 0, 1, 2

# Most people have one favourite time of the day: before work, at lunch, after work, in the evening.
USUAL_HOURS = np.array([7.3, 12.6, 17.4, 20.8])
USUAL_HOUR_SHARES = np.array([0.14, 0.18, 0.2, 0.48])

# Hours that people's clocks are ahead of UTC.
ZONES = np.array([0.0, 1.0, -5.0, -8.0, 5.5, 10.0])
_ZONE_SHARES = np.array([0.6, 0.16, 0.12, 0.05, 0.03, 0.04])
_NEW_SHARE, _NEWEST = 0.2, 0.8
_BOT_SHARE = 0.0002
_BEFORE_DAYS = 900.0


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all people of a simulated world share.

    Attributes
    ----------
    popularity : float array, shape (journey types,)
        Logarithm of how common each journey type is.
    seasons : Seasons
        When journeys of each type begin.
    launch_day : int array, shape (items,)
        Days since the first simulated day on which each item appears; 0 for every plain item.
    days, first_weekday : int
        Length of the window, and weekday of its first day (0 for Monday).
    """

    catalogue: Catalogue
    popularity: Floats
    seasons: Seasons
    launch_day: Ints
    days: int
    first_weekday: int


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
    zone : float array
        Hours that the person's clock is ahead of UTC.
    joined : float array
        Day on which the person joined the platform, since the first simulated day; most are there before it.
    bot : bool array
        Whether a program acts in the person's name too.
    """

    activity: Floats
    journey_count: Ints
    board_habit: Ints
    capitalises: Bools
    save_share: Floats
    click_share: Floats
    usual_hour: Ints
    zone: Floats
    joined: Floats
    bot: Bools


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
        The queries that this person uses, in the order they are come to, in the first `focus_size` columns.
    """

    person: Ints
    slot: Ints
    type: Ints
    evergreen: Bools
    starts: Floats
    ends: Floats
    focus: Ints
    focus_size: Ints


def draw_people(rng: np.random.Generator, setting: Setting) -> People:
    """Draw the people of one block."""
    sigma = 1.0
    activity = np.clip(np.exp(rng.normal(-(sigma**2) / 2, sigma, BLOCK)), 0.04, 20.0)
    more = 0.55 / (1 + np.exp(0.75 - 0.9 * np.log(activity)))
    new = rng.random(BLOCK) < _NEW_SHARE
    return People(
        activity=activity,
        journey_count=1 + rng.binomial(MAX_JOURNEYS - 1, more),
        board_habit=rng.choice(3, BLOCK, p=[0.5, 0.42, 0.08]),
        capitalises=rng.random(BLOCK) < 0.15,
        save_share=rng.beta(2, 6, BLOCK),
        click_share=rng.beta(2, 9, BLOCK),
        usual_hour=rng.choice(4, BLOCK, p=USUAL_HOUR_SHARES),
        zone=rng.choice(ZONES, BLOCK, p=_ZONE_SHARES),
        joined=np.where(new, rng.uniform(0, _NEWEST * setting.days, BLOCK), -rng.exponential(_BEFORE_DAYS, BLOCK)),
        bot=rng.random(BLOCK) < _BOT_SHARE,
    )


def draw_journeys(rng: np.random.Generator, people: People, setting: Setting) -> Journeys:
    """Draw which journeys people are on, from when to when, and what they look for."""
    catalogue, seasons, days = setting.catalogue, setting.seasons, setting.days
    types = catalogue.journeys
    domains = np.unique([journey.domain for journey in types], return_inverse=True)[1]
    # Gumbel noise on log weights, largest first, draws without replacement. People lean to a few domains, and to what
    # their first journey leads to.
    leaning = _LEANING * (rng.random((BLOCK, domains.max() + 1)) < _LEANING_SHARE)
    keys = setting.popularity + seasons.weight + leaning[:, domains] + rng.gumbel(size=(BLOCK, len(types)))
    first = keys.argmax(axis=1)
    keys += catalogue.pull[first]
    keys[np.arange(BLOCK), first] = np.inf
    chosen = np.argsort(-keys, axis=1)[:, :MAX_JOURNEYS]
    wanted = np.arange(MAX_JOURNEYS) < people.journey_count[:, None]
    person, slot = np.nonzero(wanted & (np.take_along_axis(keys, chosen, axis=1) > -np.inf))
    kind = chosen[person, slot]
    m = len(kind)

    evergreen = np.array([journey.evergreen for journey in types])[kind]
    length = np.array([journey.days for journey in types])[kind] * np.exp(rng.normal(0, 0.3, m))
    season = (rng.random(m) * seasons.count[kind]).astype(np.int64)
    earliest, latest = seasons.first[kind, season], seasons.last[kind, season]
    starts = earliest + rng.random(m) * (latest - earliest)
    # Most evergreen journeys are older than the window.
    starts = np.where(evergreen, rng.uniform(-60, 0.12 * days, m), starts)
    # Nobody is on a journey here before they are here; but a season waits for nobody.
    joined = people.joined[person]
    starts = np.where((joined > 0) & (joined > starts), np.minimum(joined, np.fmax(latest, evergreen * days)), starts)
    ends = np.where(evergreen, days + 60.0, starts + length)

    focus, size = _focus(rng, kind, evergreen, catalogue=catalogue)
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


def _focus(rng: np.random.Generator, kind: Ints, evergreen: Bools, *, catalogue: Catalogue) -> tuple[Ints, Ints]:
    """The queries of each journey in the order in which they are come to, padded, and how many they are.

    People take up some of a journey's topics, most often beginning with the first, and within a topic go from broad
    looks to details.
    """
    m = len(kind)
    counts = np.diff(catalogue.query_start)
    columns = np.arange(counts.max())
    filled = columns < counts[:, None]
    places = np.minimum(catalogue.query_start[:-1, None] + columns, catalogue.query_start[-1] - 1)
    topics = np.where(filled, catalogue.query_topic[places], 0)
    n_topics = np.array([len(journey.topics) for journey in catalogue.journeys])

    order = rng.random((m, MAX_TOPICS))
    order[:, 0] -= rng.random(m) < _BEGINS_WITH_FIRST_TOPIC
    order[np.arange(MAX_TOPICS) >= n_topics[kind][:, None]] = 2.0
    rank = np.argsort(np.argsort(order, axis=1), axis=1)
    taken_up = 1 + rng.binomial(n_topics[kind] - 1, 0.6)
    topic_rank = np.take_along_axis(rank, topics[kind], axis=1)

    # What goes on for long goes over more ground.
    size = np.minimum(rng.integers(5, 12, m) + np.where(evergreen, 5, 0), counts[kind])
    chance = rng.random((m, len(columns))) + (topic_rank >= taken_up[:, None])
    chance = np.where(filled[kind], chance, 9.0)
    wanted = np.argsort(np.argsort(chance, axis=1), axis=1) < size[:, None]
    turn = np.where(wanted, topic_rank * len(columns) + columns, MAX_TOPICS * len(columns) + columns)
    return np.argsort(turn, axis=1) + catalogue.query_start[kind][:, None], size
