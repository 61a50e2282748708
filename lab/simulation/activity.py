"""What simulated people do in their sessions: searches, looks at items, saves, clicks, purchases, and noise.

Works on one block of people at a time. Numbers stand for people, queries and items; turning them into landing
rows belongs to `frames`.
"""

import numpy as np
import polars as pl

from lab.simulation.catalogue import Catalogue
from lab.simulation.people import (
    BLOCK,
    BOARD_PER_JOURNEY,
    MAX_JOURNEYS,
    NO_BOARDS,
    Bools,
    Ints,
    Journeys,
    People,
    Setting,
    draw_journeys,
    draw_people,
)
from lab.simulation.sessions import DAY_MS, Sessions, draw_sessions

SEARCH, CLOSEUP, SAVE, CLICKTHROUGH, PURCHASE = range(5)
# Shortest and mean further wait before an event of each kind, in seconds.
_SHORTEST_WAIT = np.array([5.0, 4.0, 2.0, 3.0, 60.0])
_FURTHER_WAIT = np.array([20.0, 16.0, 6.0, 8.0, 180.0])
_NOISE_PER_EVENT = 0.087
# Mean and spread of the logarithm of the further turns that a session is good for.
_STAMINA, _MOST_TURNS = (-0.6, 1.1), 25
_LATE_SHARE = 0.01
_DUPLICATE_SHARE = 0.005


def simulate_block(rng: np.random.Generator, setting: Setting) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Simulate one block of people.

    Returns
    -------
    events : pl.DataFrame
        One row per event: person (place in the block), type (journey type, null for noise), kind, query and
        item (null where not applicable), capital (whether the query is written with a capital), time
        (milliseconds since the first simulated day), late (days until it arrives), again (days until its
        duplicate arrives, null for none), board_slot and board (number of the board's name, null for none).
    journeys : pl.DataFrame
        One row per journey: person, type, starts, ends (days since the first simulated day), pace (sittings per day).
    people : pl.DataFrame
        One row per person: person, activity, joined (days since the first simulated day), zone (hours ahead of UTC),
        bot.
    """
    people = draw_people(rng, setting)
    journeys = draw_journeys(rng, people, setting)
    sessions = draw_sessions(rng, people, journeys, setting)
    acted = _session_events(rng, people, journeys, sessions, setting)
    noise = _noise_events(rng, acted, people, setting)
    bots = _bot_events(rng, people, setting)
    events = pl.concat([acted, noise, bots]).filter(pl.col("time") < setting.days * DAY_MS)
    n = events.height
    again = np.where(rng.random(n) < 0.7, 0, 1)
    events = events.with_columns(
        capital=pl.Series(people.capitalises[events["person"].to_numpy()]),
        again=pl.Series(again).set(pl.Series(rng.random(n) >= _DUPLICATE_SHARE), None),
    ).sort("person", "time", "kind", maintain_order=True)
    table = pl.DataFrame(
        {
            "person": journeys.person,
            "type": journeys.type,
            "starts": journeys.starts,
            "ends": journeys.ends,
            "pace": sessions.pace,
        }
    )
    who = pl.DataFrame(
        {
            "person": np.arange(BLOCK),
            "activity": people.activity,
            "joined": people.joined,
            "zone": people.zone,
            "bot": people.bot,
        }
    )
    return events, table, who


def _session_events(
    rng: np.random.Generator, people: People, journeys: Journeys, sessions: Sessions, setting: Setting
) -> pl.DataFrame:
    """Events of the journeys' sessions.

    A session is a few turns; a turn is a query in mind, searched or not, and looks at items.
    """
    catalogue = setting.catalogue
    # Most sessions are a turn or two, and a few go on and on.
    stamina = np.exp(rng.normal(*_STAMINA, len(sessions.journey)))
    turns = 1 + np.minimum(rng.exponential(stamina), _MOST_TURNS - 1).astype(np.int64)
    session = np.repeat(np.arange(len(turns)), turns)
    turn = np.arange(len(session)) - np.repeat(np.cumsum(turns) - turns, turns)
    journey = sessions.journey[session]
    # Early on the broad queries, later the detailed ones; the next turn rewords or goes on to the next.
    size = journeys.focus_size[journey]
    aim = np.clip(sessions.progress + rng.normal(0, 0.2, len(turns)), 0, 0.999)[session]
    query = journeys.focus[journey, (np.floor(aim * size).astype(np.int64) + turn) % size]
    searched = rng.random(len(session)) < np.where(turn == 0, 0.72, 0.6)
    looks = rng.poisson(1.35, len(session))
    looks = np.where(searched, looks, np.maximum(looks, 1))

    owner = np.repeat(np.arange(len(session)), looks)
    place = 1 + np.arange(len(owner)) - np.repeat(np.cumsum(looks) - looks, looks)
    item = catalogue.items_for(query[owner], rng.random(len(owner)))
    item = _launched(item, np.floor_divide(sessions.start[session[owner]], DAY_MS), setting)
    # Nobody opens the same item twice in a row: only its first look in a session counts.
    first = np.unique(session[owner] * len(catalogue.items) + item, return_index=True)[1]
    first.sort()
    owner, place, item = owner[first], place[first], item[first]
    person = journeys.person[journey[owner]]
    shopping = catalogue.shopping[journeys.type[journey[owner]]]
    saved = rng.random(len(owner)) < people.save_share[person]
    clicked = rng.random(len(owner)) < people.click_share[person]
    bought = clicked & (rng.random(len(owner)) < np.where(shopping, 0.25, 0.01))

    chosen = [np.flatnonzero(searched)] + [owner[flag] for flag in (slice(None), saved, clicked, bought)]
    kind = np.repeat(np.arange(5), [len(part) for part in chosen])
    all_owner = np.concatenate(chosen)
    all_place = np.concatenate([np.zeros(len(chosen[0]), np.int64), place, place[saved], place[clicked], place[bought]])
    all_item = np.concatenate([np.full(len(chosen[0]), -1), item, item[saved], item[clicked], item[bought]])
    order = np.lexsort((kind, all_place, all_owner))
    kind, all_owner, all_item = kind[order], all_owner[order], all_item[order]
    of_session = session[all_owner]

    board_slot, board = _boards(rng, people, journeys, catalogue=catalogue)
    boarded = (kind == SAVE) & (rng.random(len(kind)) < 0.85)
    of_journey = sessions.journey[of_session]
    late = np.where(rng.random(len(turns)) < _LATE_SHARE, rng.integers(1, 4, len(turns)), 0)
    return _frame(
        person=journeys.person[of_journey],
        type=journeys.type[of_journey],
        kind=kind,
        query=np.where(kind == SEARCH, query[all_owner], -1),
        item=all_item,
        time=sessions.start[of_session] + _since_start(rng, kind, of_session),
        late=late[of_session],
        board_slot=np.where(boarded, board_slot[of_journey], -1),
        board=np.where(boarded, board[of_journey], -1),
    )


def _since_start(rng: np.random.Generator, kind: Ints, session: Ints) -> Ints:
    """Milliseconds between a session's start and each of its events, given in order."""
    wait = 1000 * (_SHORTEST_WAIT[kind] + rng.exponential(_FURTHER_WAIT[kind]))
    passed = np.cumsum(wait.astype(np.int64))
    begins = np.r_[True, session[1:] != session[:-1]] if len(session) else np.zeros(0, dtype=bool)
    # The first event of a session is its start.
    return passed - np.repeat(passed[begins], np.diff(np.r_[np.flatnonzero(begins), len(session)]))


def _boards(rng: np.random.Generator, people: People, journeys: Journeys, *, catalogue: Catalogue) -> tuple[Ints, Ints]:
    """Slot and name number of each journey's board, -1 for none.

    Names are numbered through: the mixed boards' first, then those of each journey type.
    """
    habit = people.board_habit[journeys.person]
    counts = np.array([len(journey.boards) for journey in catalogue.journeys])
    name_start = len(catalogue.mixed_boards) + np.cumsum(counts) - counts
    own_name = name_start[journeys.type] + (rng.random(len(habit)) * counts[journeys.type]).astype(np.int64)
    mixed_name = rng.integers(0, len(catalogue.mixed_boards), BLOCK)[journeys.person]
    has_own: Bools = (habit == BOARD_PER_JOURNEY) & (rng.random(len(habit)) < 0.75)
    none = (habit == NO_BOARDS) | ((habit == BOARD_PER_JOURNEY) & ~has_own)
    slot = np.where(none, -1, np.where(has_own, journeys.slot, MAX_JOURNEYS))
    return slot, np.where(none, -1, np.where(has_own, own_name, mixed_name))


def _launched(item: Ints, day: Ints, setting: Setting) -> Ints:
    """The items, with the plain item in place of one that had not appeared by its day."""
    return np.where(setting.launch_day[item] <= day, item, setting.catalogue.plain[item])


def _noise_events(rng: np.random.Generator, acted: pl.DataFrame, people: People, setting: Setting) -> pl.DataFrame:
    """One-off searches and looks at items that belong to no journey, some of them amid a session."""
    catalogue = setting.catalogue
    person, time = acted["person"].to_numpy(), acted["time"].to_numpy()
    near = np.flatnonzero(rng.random(len(person)) < _NOISE_PER_EVENT)
    n = len(near)
    amid = rng.random(n) < 0.6
    since = np.maximum(people.joined[person[near]], 0)
    day = np.floor(since + rng.random(n) * (setting.days - since))
    anywhere = day * DAY_MS + (np.clip(rng.normal(15, 4.5, n), 0.1, 23.9) * 3_600_000)
    when = np.where(amid, time[near] + rng.integers(5_000, 240_000, n), anywhere).astype(np.int64)
    when = np.minimum(when, setting.days * DAY_MS - 1)
    is_search = rng.random(n) < 0.65
    # What one comes across is of the season too.
    shown = np.flatnonzero(np.repeat(setting.seasons.count > 0, np.diff(catalogue.query_start)))
    item = catalogue.items_for(rng.choice(shown, n), rng.random(n))
    item = _launched(item, np.floor_divide(when, DAY_MS), setting)
    none = np.full(n, -1)
    return _frame(
        person=person[near],
        type=none,
        kind=np.where(is_search, SEARCH, CLOSEUP),
        query=np.where(is_search, catalogue.noise_for(rng.random(n)), -1),
        item=np.where(is_search, -1, item),
        time=when,
        late=np.where(rng.random(n) < _LATE_SHARE, rng.integers(1, 4, n), 0),
        board_slot=none,
        board=none,
    )


def _bot_events(rng: np.random.Generator, people: People, setting: Setting) -> pl.DataFrame:
    """Searches and looks of programs: at even intervals, day and night, for anything."""
    catalogue = setting.catalogue
    bots = np.flatnonzero(people.bot)
    count = rng.integers(600, 2400, len(bots))
    begins = (rng.random(len(bots)) * 0.7 * setting.days * DAY_MS).astype(np.int64)
    person = np.repeat(bots, count)
    step = np.arange(len(person)) - np.repeat(np.cumsum(count) - count, count)
    n = len(person)
    time = np.repeat(begins, count) + step * 240_000 + rng.integers(0, 2_000, n)
    query = rng.integers(0, catalogue.query_start[-1], n)
    is_search = step % 2 == 0
    item = _launched(catalogue.items_for(query, rng.random(n)), np.floor_divide(time, DAY_MS), setting)
    none = np.full(n, -1)
    return _frame(
        person=person,
        type=none,
        kind=np.where(is_search, SEARCH, CLOSEUP),
        query=np.where(is_search, query, -1),
        item=np.where(is_search, -1, item),
        time=time,
        late=np.zeros(n, dtype=np.int64),
        board_slot=none,
        board=none,
    )


def _frame(**columns: Ints) -> pl.DataFrame:
    """Columns as a frame with compact types; -1 becomes null."""
    kinds = {"time": pl.Int64, "query": pl.Int32, "item": pl.Int32}
    frame = pl.DataFrame({name: pl.Series(values) for name, values in columns.items()})
    return frame.select(
        pl.when(pl.col(name) >= 0).then(pl.col(name)).cast(kinds.get(name, pl.Int16)) for name in columns
    )
