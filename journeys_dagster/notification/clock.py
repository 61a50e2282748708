"""The hour of a user: their clock and their best hour, read from when they are active, or by rule."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.settings import NotificationSettings

_HOURS = np.arange(24)
# Whole numbers add up to the same sums in any order, so a user's clock does not depend on the users beside.
_COSINES, _SINES = (np.round(1e6 * wave(2 * np.pi * _HOURS / 24)).astype(np.int64) for wave in (np.cos, np.sin))
_LEAST_CONCENTRATION = 0.2
"""Length of the mean of hours as points on a circle, below which they have no middle."""
_NEVER = -1


def user_hours(users: int, hours: pl.DataFrame, settings: NotificationSettings) -> pl.DataFrame:
    """Clock and best hour of each user.

    The circular mean of a user's hours of activity is taken for `active_hour` of their clock. Where there are too few
    events, or they have no middle, the clock is `utc_offset_hours` ahead of UTC. The best hour is that of most
    activity, its neighbours counted half, of those in which the user may be notified; where no clock is read, the one
    nearest to `active_hour`.

    Parameters
    ----------
    users : int
        How many users there are.
    hours : DataFrame
        Columns ``user`` (number of the user), ``hour`` (0 to 23, UTC), ``events``; each hour of a user once.

    Returns
    -------
    DataFrame
        In the order of users: ``utc_hour`` and ``local_hour``, null where every hour is quiet or none is one of
        sending; ``has_own_clock``.
    """
    counts = np.zeros((users, 24), dtype=np.int64)
    counts[hours["user"].to_numpy(), hours["hour"].to_numpy()] = hours["events"].to_numpy()
    offsets, is_known = _offsets(counts, settings)
    local = (_HOURS[None, :] + offsets[:, None]) % 24
    may_send = np.isin(_HOURS, settings.sending_hours)[None, :] & ~_is_quiet(local, settings)
    smooth = 2 * counts + np.roll(counts, 1, axis=1) + np.roll(counts, -1, axis=1)
    away = (local - settings.active_hour) % 24
    distance = np.minimum(away, 24 - away)
    # Of equal hours the nearest to the active one, and of two of these the later.
    worth = np.where(is_known[:, None], smooth, 0) * 64 + (12 - distance) * 2 + (away <= 12)
    worth = np.where(may_send, worth, _NEVER)
    best = worth.argmax(axis=1)
    rows = np.arange(users)
    can_send = worth[rows, best] != _NEVER
    found = pl.DataFrame({"utc_hour": best, "local_hour": local[rows, best]}, schema=dict.fromkeys(_BEST, pl.Int32))
    return found.select(
        *(pl.when(pl.Series(can_send)).then(pl.col(name)).alias(name) for name in _BEST),
        has_own_clock=pl.Series(is_known, dtype=pl.Boolean),
    )


_BEST = ("utc_hour", "local_hour")


def _offsets(counts: NDArray[np.int64], settings: NotificationSettings) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Hours that each user's clock is ahead of UTC, and whether their activity says so."""
    cosines, sines, events = (counts * _COSINES).sum(axis=1), (counts * _SINES).sum(axis=1), counts.sum(axis=1)
    length = np.hypot(cosines, sines)
    is_known = (events >= settings.min_clock_events) & (length >= _LEAST_CONCENTRATION * 1e6 * events)
    middle = np.arctan2(sines, cosines) * 24 / (2 * np.pi)
    ahead = np.round(settings.active_hour - middle).astype(np.int64)
    return np.where(is_known, (ahead + 12) % 24 - 12, settings.utc_offset_hours), is_known


def _is_quiet(local: NDArray[np.int64], settings: NotificationSettings) -> NDArray[np.bool_]:
    since = (local - settings.quiet_from_hour) % 24
    return since < (settings.quiet_until_hour - settings.quiet_from_hour) % 24
