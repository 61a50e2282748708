"""Whom to notify: no rule is broken whatever the world is like, chance is told as it is, and clocks follow habits."""

from collections import Counter
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from journeys_dagster.notification.clock import user_hours
from journeys_dagster.notification.decisions import BEST, DECISION_SCHEMA, EXPLORED, WHY_NOT, decide
from journeys_dagster.notification.draws import draws, user_seeds
from journeys_dagster.notification.features import FEATURES
from journeys_dagster.notification.send_model import SendModel
from journeys_dagster.settings import NotificationSettings, Settings

DAY = date(2025, 6, 11)
SCHEMAS: dict[str, dict[str, Any]] = {
    "journeys": {
        "user_id": pl.String,
        "journey_id": pl.String,
        "stage": pl.String,
        "may_notify": pl.Boolean,
        "confidence": pl.Float64,
        "return_probability": pl.Float64,
        "list_rank": pl.Int32,
        "is_evergreen": pl.Boolean,
        "idle_days": pl.Int32,
        "events": pl.Int64,
    },
    "sent": {
        **{"user_id": pl.String, "journey_id": pl.String, "channel": pl.String, "day": pl.Date},
        **{"opened": pl.Boolean, "clicked": pl.Boolean},
    },
    "similar": {"user_id": pl.String, "journey_id": pl.String, "similar_lately": pl.Float64},
    "opt_outs": {"user_id": pl.String, "channel": pl.String},
    "hidden": {"user_id": pl.String, "journey_id": pl.String},
    "hours": {"user_id": pl.String, "hour": pl.Int8, "events": pl.Int64},
}
World = dict[str, pl.DataFrame]


def world(**rows: list[tuple[Any, ...]]) -> World:
    """Rows by table; what they leave out at their end is of some journey, or has no outcome."""
    rest = {"journeys": (1, False, 3, 12), "sent": (False, False)}
    made = {}
    for name, schema in SCHEMAS.items():
        filled = [row + rest[name] if name in rest and len(row) < len(schema) else row for row in rows.get(name, [])]
        made[name] = pl.DataFrame(filled, schema=schema, orient="row")
    return made


def chosen(**changed: Any) -> NotificationSettings:
    return NotificationSettings.model_validate({**Settings().notifications.model_dump(), **changed})


PLAIN = chosen(holdout_share=0.0, exploration_share=0.0)


def decided(
    users: list[str], rows: World, settings: NotificationSettings, *, model: SendModel | None = None
) -> pl.DataFrame:
    return decide(pl.Series(users, dtype=pl.String), **rows, day=DAY, settings=settings, model=model)


class DrawnModel(SendModel):
    """Scores by something that is in no rule."""

    def scores(self, features: pl.DataFrame) -> NDArray[np.float64]:
        return (features["idle_days"].to_numpy() * 7 + features["channel_place"].to_numpy()) % 11 / 20


DRAWN_MODEL = DrawnModel("drawn", b"", b"", (), FEATURES, (1.0, 0.0))


def random_settings(draw: np.random.Generator) -> NotificationSettings:
    channel = [
        {"max_per_day": int(day), "max_per_week": int(week), "min_score": float(bar), "min_click": float(bar)}
        for day, week, bar in zip(draw.integers(0, 3, 3), draw.integers(0, 5, 3), draw.random(3) * 0.5, strict=True)
    ]
    hours = draw.permutation(24)[: draw.choice([1, 3, 24])]
    return chosen(
        channels=dict(zip(["push", "email", "app"][: draw.integers(1, 4)], channel, strict=False)),
        max_per_day=int(draw.integers(0, 4)),
        max_per_week=int(draw.integers(0, 6)),
        cooldown_days=int(draw.integers(1, 15)),
        min_confidence=float(draw.random() * 0.6),
        quiet_from_hour=int(draw.integers(24)),
        quiet_until_hour=int(draw.integers(24)),
        sending_hours=sorted(map(int, hours)),
        min_clock_events=int(draw.integers(1, 40)),
        holdout_share=float(draw.choice([0.0, 0.2])),
        exploration_share=float(draw.choice([0.0, 0.3, 1.0])),
        salt=str(draw.integers(1000)),
    )


def random_world(draw: np.random.Generator, users: list[str]) -> World:
    ids, channels = [f"j{number}" for number in range(6)], ["push", "email", "app", "fax"]
    return world(
        journeys=[
            (user, each, str(draw.choice(["evergreen", "ongoing", "ended"])), bool(draw.random() < 0.7),
             round(float(draw.random()), 1), round(float(draw.random()), 1), int(draw.integers(1, 9)),
             bool(draw.random() < 0.3), int(draw.integers(1, 40)), int(draw.integers(1, 99)))
            for user in users for each in ids[: draw.integers(0, 7)]
        ],
        sent=[
            (user, str(draw.choice(ids)), str(draw.choice(channels)), DAY - timedelta(days=int(draw.integers(-1, 16))),
             *((None, None), (False, False), (True, False), (True, True))[int(draw.integers(4))])
            for user in users for _ in range(draw.integers(0, 5))
        ],
        similar=[
            (user, each, float(draw.random() * 3)) for user in users for each in ids if draw.random() < 0.4
        ],
        hidden=[(user, each) for user in users for each in ids if draw.random() < 0.1],
        opt_outs=[
            (user, str(draw.choice([*channels, ""]))) for user in users for _ in range(int(draw.random() < 0.3))
        ],
        hours=[
            (user, int(hour), int(draw.integers(1, 9)))
            for user in users for hour in draw.permutation(24)[: draw.integers(0, 8)]
        ],
    )  # fmt: skip


@pytest.mark.parametrize(("first", "last"), [(0, 100), (100, 200), pytest.param(200, 10_000, marks=pytest.mark.slow)])
def test_no_rule_is_broken_in_any_of_many_worlds(first: int, last: int):
    outcomes: Counter[str] = Counter()
    for seed in range(first, last):
        draw = np.random.default_rng(seed)
        users = [f"u{number}" for number in range(9)]
        rows, settings = random_world(draw, users), random_settings(draw)
        found = decided(users, rows, settings)
        assert dict(found.schema) == DECISION_SCHEMA
        check_rules(found, users, rows, settings)
        outcomes.update(found["reason"])
        # The same alone as among others, and whatever the order of rows.
        some = [users[place] for place in draw.permutation(9)[:4]]
        shuffled = {name: frame.sample(fraction=1.0, shuffle=True, seed=seed) for name, frame in rows.items()}
        alone = decided(some, shuffled, settings)
        assert alone.equals(found.filter(pl.col("user_id").is_in(some)))
        if seed % 5 == 0:
            check_rules(decided(users, rows, settings, model=DRAWN_MODEL), users, rows, settings, by_rule=False)
    assert outcomes.keys() == {BEST, EXPLORED, *WHY_NOT}


def check_rules(
    found: pl.DataFrame, users: list[str], rows: World, settings: NotificationSettings, *, by_rule: bool = True
) -> None:
    """Each rule by itself, row by row, in other words than those of the code."""
    journeys = {(row["user_id"], row["journey_id"]): row for row in rows["journeys"].to_dicts()}
    past = rows["sent"].to_dicts()
    out, hidden = set(rows["opt_outs"].iter_rows()), set(rows["hidden"].iter_rows())
    similar = {(user, journey): of for user, journey, of in rows["similar"].iter_rows()}
    held = set(np.array(users)[draws(user_seeds(pl.Series(users), settings.salt), 0) < settings.holdout_share])
    assert set(found["user_id"]) == set(users)
    for user in users:
        of_user = found.filter(user_id=user).to_dicts()
        sends = [row for row in of_user if row["is_sent"]]
        if not sends:
            (why_not,) = of_user
            assert why_not["reason"] in WHY_NOT
            assert why_not["journey_id"] is None
            assert (why_not["reason"] == "holdout") == (user in held)
            continue
        assert len(sends) == len(of_user)
        assert [row["place"] for row in sends] == list(range(1, len(sends) + 1))
        assert user not in held
        assert (user, "") not in out
        before = [row for row in past if row["user_id"] == user and row["day"] <= DAY]
        for name, most in [*((name, each) for name, each in settings.channels.items()), (None, settings)]:
            now = [row for row in sends if name in {None, row["channel"]}]
            earlier = [row for row in before if name in {None, row["channel"]}]
            if now:
                assert len(now) + sum(row["day"] == DAY for row in earlier) <= most.max_per_day
                week = sum(row["day"] > DAY - timedelta(days=7) for row in earlier)
                assert len(now) + week <= most.max_per_week
        for row in sends:
            journey = journeys[user, row["journey_id"]]
            assert journey["may_notify"]
            assert journey["stage"] in {"evergreen", "ongoing"}
            assert journey["confidence"] >= settings.min_confidence
            assert (user, row["journey_id"]) not in hidden
            assert row["features"]["similar_lately"] == similar.get((user, row["journey_id"]), 0.0)
            if by_rule:
                worth = journey["confidence"] * journey["return_probability"]
                fatigue = settings.fatigue_penalty ** similar.get((user, row["journey_id"]), 0.0)
                assert row["score"] == pytest.approx(worth * fatigue)
            bars = settings.channels[row["channel"]]
            assert row["score"] >= (bars.min_score if by_rule else bars.min_click)
            assert row["scored_by"] == ("rule" if by_rule else "drawn")
            assert (user, row["channel"]) not in out
            assert row["utc_hour"] in settings.sending_hours
            start, end = settings.quiet_from_hour, settings.quiet_until_hour
            quiet = range(start, end) if start <= end else [*range(start, 24), *range(end)]
            assert row["local_hour"] not in quiet
            assert 0 < row["propensity"] <= 1
            last = [each["day"] for each in past if (each["user_id"], each["journey_id"]) == (user, row["journey_id"])]
            assert all((DAY - each).days >= settings.cooldown_days for each in last)
        assert len({row["journey_id"] for row in sends}) == len(sends)


def test_each_reason_why_not_is_told():
    good, any_hour = ("ongoing", True, 0.9, 0.9), [("x", 12, 30)]
    yesterday = DAY - timedelta(days=1)
    cases: dict[str, tuple[World, dict[str, Any]]] = {
        "holdout": (world(journeys=[("x", "j", *good)]), {"holdout_share": 1.0}),
        "opted out": (world(journeys=[("x", "j", *good)], opt_outs=[("x", "")]), {}),
        "no journey that may be notified": (world(journeys=[("x", "j", "ongoing", False, 0.9, 0.9)]), {}),
        "ended": (world(journeys=[("x", "j", "ended", True, 0.9, 0.9)]), {}),
        "cap": (world(journeys=[("x", "j", *good)], sent=[("x", "k", "push", yesterday)]), {"max_per_week": 1}),
        "cool-down": (world(journeys=[("x", "j", *good)], sent=[("x", "j", "push", yesterday)]), {}),
        "score below the bar": (world(journeys=[("x", "j", "ongoing", True, 0.9, 0.05)]), {}),
        "quiet hours": (world(journeys=[("x", "j", *good)], hours=any_hour), {"sending_hours": [2]}),
    }
    assert tuple(cases) == WHY_NOT
    for reason, (rows, changed) in cases.items():
        found = decided(["x"], rows, PLAIN.model_copy(update=changed))
        assert found.select("is_sent", "reason").rows() == [(False, reason)]
    assert decided(["x"], world(), PLAIN)["reason"].to_list() == ["no journey that may be notified"]


def test_an_opt_out_of_one_channel_leaves_the_others():
    rows = world(journeys=[("x", "j", "ongoing", True, 0.9, 0.9)], opt_outs=[("x", "push")])
    assert decided(["x"], rows, PLAIN)["channel"].to_list() == ["email"]
    both = world(journeys=[("x", "j", "ongoing", True, 0.9, 0.9)], opt_outs=[("x", "push"), ("x", "email")])
    assert decided(["x"], both, PLAIN)["reason"].to_list() == ["opted out"]


def test_propensities_are_how_often_each_is_chosen():
    users = [f"u{number}" for number in range(4000)]
    chances = [0.9, 0.8, 0.7, 0.6]
    rows = world(
        journeys=[(user, f"j{n}", "ongoing", True, 1.0, chance) for user in users for n, chance in enumerate(chances)]
    )
    one_channel = {"push": {"max_per_day": 1, "max_per_week": 3, "min_score": 0.0}}
    found = decided(users, rows, chosen(channels=one_channel, holdout_share=0.1, exploration_share=0.4))
    assert found["is_sent"].mean() == pytest.approx(0.9, abs=0.02)
    sends = found.filter("is_sent")
    shares = sends["journey_id"].value_counts(normalize=True)
    for journey, share in shares.iter_rows():
        told = sends.filter(journey_id=journey)["propensity"].unique().to_list()
        assert told == [pytest.approx(0.4 / 4 + (0.6 if journey == "j0" else 0))]
        assert share == pytest.approx(told[0], abs=0.025)


def test_draws_of_users_days_and_places_are_uniform_and_apart():
    seeds = user_seeds(pl.Series([f"u{number}" for number in range(20_000)]), "salt")
    first, second = draws(seeds, 1, day=DAY), draws(seeds, 2, day=DAY)
    tomorrow = draws(seeds, 1, day=DAY + timedelta(days=1))
    other = draws(user_seeds(pl.Series([f"u{number}" for number in range(20_000)]), "other"), 1, day=DAY)
    for each in (first, second, tomorrow, other):
        shares = np.histogram(each, bins=10, range=(0, 1))[0] / len(each)
        assert shares == pytest.approx(0.1, abs=0.01)
    for one, another in ((first, second), (first, tomorrow), (first, other)):
        assert abs(np.corrcoef(one, another)[0, 1]) < 0.03


@pytest.mark.parametrize("ahead", [-11, -5, 0, 3, 12])
def test_a_clock_is_read_from_the_hours_of_activity(ahead: int):
    # Someone who is up from 9 to 23, most of all at 20, in their own zone.
    local = {hour: 1 + 2 * (hour == 20) for hour in range(9, 24)}
    hours = pl.DataFrame(
        [(0, (hour - ahead) % 24, events) for hour, events in local.items()],
        schema={"user": pl.Int64, "hour": pl.Int64, "events": pl.Int64},
        orient="row",
    )
    found = user_hours(2, hours, PLAIN.model_copy(update={"min_clock_events": 10}))
    known, unknown = found.to_dicts()
    assert known["has_own_clock"]
    assert abs(known["local_hour"] - 20) <= 1
    assert (known["utc_hour"] + ahead) % 24 == 20
    assert unknown == {"utc_hour": 16, "local_hour": 16, "has_own_clock": False}


def test_activity_around_the_clock_has_no_middle():
    even = pl.DataFrame({"user": [0] * 24, "hour": list(range(24)), "events": [5] * 24})
    (found,) = user_hours(1, even, PLAIN.model_copy(update={"utc_offset_hours": 2})).to_dicts()
    assert found == {"utc_hour": 14, "local_hour": 16, "has_own_clock": False}
