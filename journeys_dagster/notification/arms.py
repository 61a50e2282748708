"""Which arm of an experiment a user is in, and by which settings they are decided on."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.notification.draws import draws, user_seeds
from journeys_dagster.settings import Experiment, NotificationSettings, settings_of_arms

CONTROL_ARM = "control arm"
"""Why a user is notified of nothing who is in an arm that sends nothing."""
ARMS_TYPE = pl.List(pl.Struct({"experiment": pl.String, "arm": pl.String}))
_NO_ARM = -1
Decide = Callable[[pl.Series, NotificationSettings], pl.DataFrame]


def arms_of(users: pl.Series, experiment: Experiment, salt: str) -> NDArray[np.int64]:
    """Each user's arm, by its place; -1 for those whom no share takes.

    It depends on the user, the salt and the experiment's name alone: a user stays in an arm, experiments are
    independent of one another, and so is the holdout of them.
    """
    bounds = np.cumsum([arm.share for arm in experiment.arms.values()])
    drawn = draws(user_seeds(users, f"{salt}\x1fexperiment\x1f{experiment.name}"), 0)
    # Thirds do not add up to one; nobody is to be left out for that.
    bounds[-1] = 1.0 if np.isclose(bounds[-1], 1.0) else bounds[-1]
    place = np.searchsorted(bounds, drawn, side="right")
    return np.where(place < len(bounds), place, _NO_ARM)


def decide_by_arm(
    users: pl.Series,
    decide: Decide,
    experiments: Sequence[Experiment],
    *,
    day: date,
    settings: NotificationSettings,
) -> pl.DataFrame:
    """Decide on each user by the settings of their arms.

    Parameters
    ----------
    users : Series
        Ids of those in scope.
    decide : callable
        Takes some of them and their settings; returns decisions, sorted by user.
    experiments : sequence of Experiment
        Those that do not run on the day are passed over.
    day : date
        The day on which notifications are sent.

    Returns
    -------
    DataFrame
        What `decide` returns, and ``arms``: experiment and arm of each that the user is in, held out or not.
    """
    users = users.unique().sort()
    running = [each for each in experiments if each.runs_on(day)]
    if not running or users.is_empty():
        return _with_arms(decide(users, settings), [])
    places = np.column_stack([arms_of(users, each, settings.salt) for each in running])
    parts = []
    combinations, member = np.unique(places, axis=0, return_inverse=True)
    for number, combination in enumerate(combinations):
        named = [
            (each, list(each.arms)[place]) for each, place in zip(running, combination, strict=True) if place != _NO_ARM
        ]
        arms = [each.arms[name] for each, name in named]
        decided = decide(users.filter(pl.Series(member.reshape(-1) == number)), settings_of_arms(settings, arms))
        if not all(arm.sends for arm in arms):
            # Their cap is none at all.
            decided = decided.with_columns(pl.col("reason").replace("cap", CONTROL_ARM))
        parts.append(_with_arms(decided, [{"experiment": each.name, "arm": name} for each, name in named]))
    return pl.concat(parts).sort("user_id", "place")


def _with_arms(decided: pl.DataFrame, arms: Sequence[Mapping[str, str]]) -> pl.DataFrame:
    repeated = pl.Series("arms", [arms], dtype=ARMS_TYPE).new_from_index(0, decided.height)
    return decided.with_columns(repeated)
