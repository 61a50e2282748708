"""Small random logs with everything that happens to logs: late rows, duplicates, silent users, changing items."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any

import polars as pl

PHRASES: Sequence[str] = (
    "kitchen renovation", "kitchen cabinets", "kitchen tiles", "bathroom tiles", "small bathroom ideas",
    "walk in shower", "summer dress", "linen dress", "floral midi dress", "beach outfit", "straw hat",
    "vegan dinner", "vegan lasagna", "crispy tofu", "healthy lunch", "meal prep", "sourdough bread", "bread scoring",
    "rye starter", "running shoes", "marathon training", "trail running", "half marathon plan", "yoga for beginners",
    "yoga mat", "morning stretch", "camping tent", "campfire recipes", "camping kitchen", "family camping",
    "baby shower", "baby shower games", "nursery ideas", "nursery wall art", "wedding dress", "garden wedding",
    "wedding cake", "table setting", "istanbul travel", "cappadocia balloon", "turkish breakfast", "lisbon travel",
    "surf lessons", "surfboard", "wetsuit", "indoor plants", "monstera care", "fiddle leaf fig", "raised garden bed",
    "tomato seedlings", "compost bin", "halloween costume", "pumpkin carving", "christmas wreath", "gift wrapping",
    "knitting pattern", "chunky knit blanket", "crochet granny square", "watercolor flowers", "urban sketching",
)  # fmt: skip
# The same keyword in other spellings, marks alone, codes, other scripts, what SQL or a parser could stumble over.
ODD_TEXTS: Sequence[str] = (
    "KITCHEN  Tiles", " kitchen tiles!", '"kitchen tiles"', "Crème brûlée", "Cre\u0300me bru\u0302le\u0301e", "!!!",
    "'; drop table keywords; --", "10", "b-4711/x", "www.example.com", "مطبخ", "台所", "🎃", "a", "null", "NaN",
    "summer\u00a0dress", "kitchen\ttiles", "x" * 120,
)  # fmt: skip
REJECTED_TEXTS = ("", "   ", "\u200b", "y" * 501)
ITEMS = [f"i{number}" for number in range(12)]
ACTIONS = ("closeup", "clickthrough", "save", "purchase")
_SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    "searches": {"user_id": pl.String, "query": pl.String, "occurred_at": pl.Datetime("us")},
    "engagements": {
        "user_id": pl.String,
        "item_id": pl.String,
        "action": pl.String,
        "occurred_at": pl.Datetime("us"),
    },
    "items": {
        "item_id": pl.String,
        "title": pl.String,
        "annotations": pl.List(pl.String),
        "interests": pl.List(pl.String),
    },
    "board_items": {
        "user_id": pl.String,
        "board_id": pl.String,
        "board_name": pl.String,
        "item_id": pl.String,
        "occurred_at": pl.Datetime("us"),
    },
}
Rows = dict[str, list[tuple[Any, ...]]]


@dataclass(frozen=True, kw_only=True)
class LogShape:
    """What a log is drawn from.

    Attributes
    ----------
    days : sequence of date
        Arrival days.
    users : int
    events_per_day : int
        Of a user on a day on which the user is active.
    active_share : float
        Share of arrival days on which a user is active; so users fall silent and return.
    late_share : float
        Share of rows that happened days, or half a year, before they arrived.
    """

    seed: int
    days: Sequence[date]
    users: int
    events_per_day: int
    active_share: float
    late_share: float
    interests_per_user: int = 8


@dataclass
class RandomLog:
    """Rows by arrival day and source; `late_files` holds days as their files are later."""

    days: dict[date, Rows] = field(default_factory=dict)
    late_rows: int = 0


def frames_of(rows: Rows) -> dict[str, pl.DataFrame]:
    """A day's rows as frames by source."""
    return {
        source: pl.DataFrame(rows.get(source, []), schema=dict(schema), orient="row")
        for source, schema in _SCHEMAS.items()
    }


def random_log(shape: LogShape) -> RandomLog:
    """Draw a log; the same shape gives the same log."""
    rng = random.Random(shape.seed)  # noqa: S311
    log = RandomLog()
    tastes = {f"u{user}": rng.sample(PHRASES, shape.interests_per_user) for user in range(shape.users)}
    sent: list[tuple[str, tuple[Any, ...]]] = []
    for day in shape.days:
        rows: Rows = {source: [] for source in _SCHEMAS}
        # Some items are engaged with before they arrive, some never arrive, some change what they are about.
        rows["items"] += [item(rng, name) for name in rng.sample(ITEMS[:-1], rng.randint(1, 5))]
        for user, taste in tastes.items():
            if rng.random() < shape.active_share:
                for _ in range(rng.randint(1, shape.events_per_day)):
                    source, row, is_late = _event(rng, user, taste, ITEMS, day=day, late_share=shape.late_share)
                    log.late_rows += is_late
                    rows[source].append(row)
                    sent.append((source, row))
        for _ in range(rng.randint(0, 3)):
            if sent:
                source, row = rng.choice(sent)
                rows[source] += [row] * rng.randint(1, 2)
        log.days[day] = rows
    return log


def changed_day(rng: random.Random, rows: Rows, day: date, users: Sequence[str], *, removes: bool) -> Rows:
    """A day's rows as a later delivery has them: more rows, other items, and, where told, some rows gone."""
    changed = {source: list(of_source) for source, of_source in rows.items()}
    if removes:
        # All that some of the users did, and a third of the items.
        gone = set(rng.sample(users, (len(users) + 1) // 2))
        for source, of_source in changed.items():
            changed[source] = [row for row in of_source if row[0] not in gone]
        changed["items"] = changed["items"][len(changed["items"]) // 3 :]
        users = [user for user in users if user not in gone]
    for _ in range(rng.randint(1, 6) if users else 0):
        source, row, _ = _event(rng, rng.choice(users), PHRASES, ITEMS, day=day, late_share=0.5)
        changed[source].append(row)
    changed["items"].append(item(rng, f"i{rng.randint(0, 10)}"))
    return changed


def item(rng: random.Random, name: str) -> tuple[Any, ...]:
    """A version of an item."""
    theme = rng.randint(0, len(PHRASES) - 4)
    annotations = rng.sample(PHRASES[theme : theme + 4], rng.randint(0, 3))
    if rng.random() < 0.1:
        annotations.append(rng.choice(ODD_TEXTS))
    return name, rng.choice(PHRASES), annotations, rng.sample(PHRASES, rng.randint(0, 1))


def _event(
    rng: random.Random, user: str, taste: Sequence[str], items: Sequence[str], *, day: date, late_share: float
) -> tuple[str, tuple[Any, ...], bool]:
    is_late = rng.random() < late_share
    back = rng.choice((1, 2, 5, 9, 30, 60, 200, 400)) if is_late else rng.choice((0, 0, 0, 0, -1))
    # Few distinct times, so that there are ties and crowded moments.
    moment = datetime.combine(day - timedelta(days=back), time(rng.choice((0, 9, 9, 20, 23)), rng.choice((0, 5, 59))))
    kind = rng.random()
    if kind < 0.5:
        text = rng.choice(taste)
        if rng.random() < 0.12:
            text = rng.choice(ODD_TEXTS if rng.random() < 0.7 else REJECTED_TEXTS)
        return "searches", (user, text, moment), is_late
    if kind < 0.85:
        return "engagements", (user, rng.choice(items), rng.choice(ACTIONS), moment), is_late
    board = rng.choice("xy")
    return "board_items", (user, f"{user}-{board}", f"board {board}", rng.choice(items), moment), is_late
