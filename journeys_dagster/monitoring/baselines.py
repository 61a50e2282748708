"""What is to be expected of a day, from the days before it: robust against outliers, aware of weekdays and growth."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.float64]
# Of a normal distribution, the standard deviation is this many times the median absolute deviation.
_MAD_TO_DEVIATION = 1.4826
_LEVEL_DAYS = 10
_SMOOTHING_DAYS = 7
# Weekday effects are drawn towards none, and a weekday's deviation towards that of all days, as if so many more of
# its days had shown that.
_EFFECT_PRIOR_DAYS = 1.0
_DEVIATION_PRIOR_DAYS = 8.0


@dataclass(frozen=True)
class Baseline:
    """What is expected of a value, and how far it usually lies from what is expected.

    Attributes
    ----------
    centre : float
        The expected value.
    deviation : float
        Robust standard deviation of the past days' values from what was expected of them a day ahead.
    """

    centre: float
    deviation: float


def baseline(values: _Floats, weekdays: NDArray[np.int64], weekday: int) -> Baseline:
    """Expect a value for the next day.

    The level is the median of the last ten days, freed of weekday effects. The effect of a weekday is the median of
    what its days differ from the running median around them, drawn towards none where there are few of them. The
    deviation is what this forecast, made for each of the past days from those before it, was wrong by; weekdays that
    are harder to forecast have a larger one.

    Parameters
    ----------
    values : array of float64, shape (days,)
        Earlier days' values in order of days, at least one; of a quantity that grows by factors, their logarithms.
    weekdays : array of int, shape (days,)
        Their weekdays, 0 to 6.
    weekday : int
        The day's own weekday.
    """
    effects = _weekday_effects(values, weekdays)
    level_values = values - effects[weekdays]
    centre = float(np.median(level_values[-_LEVEL_DAYS:]) + effects[weekday])
    if len(values) > 2 * _LEVEL_DAYS:
        windows = np.lib.stride_tricks.sliding_window_view(level_values[:-1], _LEVEL_DAYS)
        errors = level_values[_LEVEL_DAYS:] - np.median(windows, axis=1)
    else:
        errors = level_values - np.median(level_values)
    return Baseline(centre, _deviation(np.abs(errors), weekdays[-len(errors) :] == weekday))


def _deviation(errors: _Floats, same_weekday: NDArray[np.bool_]) -> float:
    of_all = _MAD_TO_DEVIATION * float(np.median(errors))
    own_errors = errors[same_weekday]
    if not len(own_errors):
        return of_all
    own = _MAD_TO_DEVIATION * float(np.median(own_errors))
    weight = len(own_errors) / (len(own_errors) + _DEVIATION_PRIOR_DAYS)
    return math.sqrt(weight * own**2 + (1 - weight) * of_all**2)


def _weekday_effects(values: _Floats, weekdays: NDArray[np.int64]) -> _Floats:
    effects = np.zeros(7)
    if len(values) < 2 * _SMOOTHING_DAYS:
        return effects
    padded = np.pad(values, _SMOOTHING_DAYS // 2, mode="edge")
    around = np.median(np.lib.stride_tricks.sliding_window_view(padded, _SMOOTHING_DAYS), axis=1)
    differences = values - around
    for weekday in range(7):
        of_weekday = differences[weekdays == weekday]
        if len(of_weekday) > 1:
            drawn = len(of_weekday) / (len(of_weekday) + _EFFECT_PRIOR_DAYS)
            effects[weekday] = float(np.median(of_weekday)) * drawn
    return effects
