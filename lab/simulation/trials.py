"""Users of a simulated experiment, day by day, as they would be in either arm: what `read_out` is tried on.

Each user has a rate of activity, of opening and of clicking of their own, so days of one user resemble one another;
users enter when they are first active; opting out ends their notifications. Constants are chosen, not measured.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.notification.lifts import BEFORE, COUNTS
from journeys_dagster.notification.readout import USERS_SCHEMA

BEFORE_DAYS, RETURN_DAYS = 28, 7
EFFECTS: Mapping[str, float] = {
    "active": 1.04,
    "sent": 0.9,
    "opened": 1.05,
    "clicked": 1.08,
    "out": 0.6,
    "returned": 1.05,
}
"""Factors of a treated user's rates."""
_RATES: Mapping[str, tuple[float, float]] = {
    "active": (1.0, 3.0),
    "opened": (2.0, 5.0),
    "clicked": (2.0, 6.0),
    "returned": (2.0, 4.0),
}
"""Users' rates are drawn from these beta distributions."""
_SENT, _OUT = 0.5, 0.006
_WEEK = np.array([1.1, 1.0, 1.0, 1.0, 1.05, 0.9, 0.8])
Counts = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Trial:
    """Users who take part, by both outcomes.

    Attributes
    ----------
    entry : array of int, shape (users,)
        The day before the first on which the arm has a part, from -1 on; days of the experiment count from 0.
    days : int
        How many days of the experiment there are.
    control, treated : mapping of str to array of shape (users, days + 1)
        What is counted since entry until before a day.
    before : mapping of str to array of shape (users,)
        The same on the days before entry.
    """

    entry: NDArray[np.int64]
    days: int
    control: Counts
    treated: Counts
    before: Counts

    def users(self, arms: NDArray[np.int64], names: tuple[str, str], *, days: int, treat: bool) -> pl.DataFrame:
        """Those who have entered, after so many days, as `read_out` wants them.

        Parameters
        ----------
        arms : array of int, shape (users,)
            Places in `names`; the second arm is treated if `treat` says so.
        """
        taking = days - 1 - self.entry
        is_in = taking > 0
        changes = (arms == 1) & treat
        columns = {
            name: np.where(changes, self.treated[name][:, days], self.control[name][:, days])[is_in] for name in COUNTS
        }
        earlier = {f"{BEFORE}{name}": self.before[name][is_in] for name in COUNTS}
        arm = pl.Series(names).gather(arms[is_in])
        frame = pl.DataFrame({"arm": arm, "days": taking[is_in], **columns, **earlier})
        return frame.select(*USERS_SCHEMA).cast(pl.Schema(USERS_SCHEMA))  # type: ignore[arg-type]


def simulate_trial(users: int, days: int, rng: np.random.Generator) -> Trial:
    """Draw a population and both of its outcomes by the same chance."""
    span = BEFORE_DAYS + days
    rates = {name: rng.beta(*shape, size=(users, 1)).astype(np.float32) for name, shape in _RATES.items()}
    chance = {name: rng.random((users, span), dtype=np.float32) for name in (*_RATES, "sent", "out")}
    shares = {**rates, "sent": np.float32(_SENT), "out": np.float32(_OUT)}
    shares["active"] = rates["active"] * _WEEK[np.arange(span) % 7].astype(np.float32)
    active = chance["active"] < shares["active"]
    # The first day on which they are in scope, from the day before the start on; the last day enters nobody.
    may_enter = active[:, BEFORE_DAYS - 1 : span - 1]
    taken = may_enter.any(axis=1)
    first = np.where(taken, may_enter.argmax(axis=1) + BEFORE_DAYS - 1, span)
    since = np.arange(span)[None, :] > first[:, None]
    daily = {
        treat: _daily(
            {name: shares[name] * np.where(since, EFFECTS[name] if treat else 1.0, 1.0) for name in shares}, chance
        )
        for treat in (False, True)
    }
    cumulated = {treat: {name: _cumulated(of) for name, of in found.items()} for treat, found in daily.items()}
    rows = np.flatnonzero(taken)
    entry = first[rows]

    def since_entry(counts: Counts, name: str) -> NDArray[np.float32]:
        total = counts[name][rows]
        at_entry = np.take_along_axis(total, entry[:, None] + 1, axis=1)
        return np.maximum(total[:, BEFORE_DAYS:] - at_entry, 0)

    def until_entry(name: str) -> NDArray[np.float32]:
        total = cumulated[False][name][rows]
        ends = np.stack([entry + 1 - BEFORE_DAYS, entry + 1], axis=1)
        low, high = np.take_along_axis(total, np.maximum(ends, 0), axis=1).T
        return high - low

    return Trial(
        entry=entry - BEFORE_DAYS,
        days=days,
        control={name: _late(since_entry(cumulated[False], name), name) for name in COUNTS},
        treated={name: _late(since_entry(cumulated[True], name), name) for name in COUNTS},
        before={name: until_entry(name) for name in COUNTS},
    )


def _daily(shares: Mapping[str, NDArray[np.float32]], chance: Counts) -> dict[str, NDArray[np.bool_]]:
    happens = {name: chance[name] < shares[name] for name in shares}
    active = happens["active"]
    # Who was active the day before is in scope.
    in_scope = np.zeros_like(active)
    in_scope[:, 1:] = active[:, :-1]
    sent = in_scope & happens["sent"]
    leaves = sent & happens["out"]
    has_left = np.zeros_like(active)
    has_left[:, 1:] = np.logical_or.accumulate(leaves, axis=1)[:, :-1]
    sent &= ~has_left
    opened = sent & happens["opened"]
    return {
        "active_days": active,
        "sends": sent,
        "opens": opened,
        "clicks": opened & happens["clicked"],
        "settled": sent,
        "returns": sent & happens["returned"],
        "opt_outs": leaves & ~has_left,
    }


def _cumulated(daily: NDArray[np.bool_]) -> NDArray[np.float32]:
    total = np.zeros((daily.shape[0], daily.shape[1] + 1), dtype=np.float32)
    np.cumsum(daily, axis=1, out=total[:, 1:], dtype=np.float32)
    return total


def _late(total: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    """What counts only once a send has had its time is known so many days later."""
    if name not in {"settled", "returns"}:
        return total
    late = np.zeros_like(total)
    late[:, RETURN_DAYS:] = total[:, :-RETURN_DAYS]
    return late
