"""The compiled part of `similarity`. Import this module late: it needs numba."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@njit(cache=True, nogil=True, error_model="numpy")
def fill_mean_crowds(times: Ints, starts: Ints, users: Ints, crowds: NDArray[np.float64]) -> None:
    """Of each row, how many rows of its user share one of its times, in the mean over these; 1 for a row without times.

    Parameters
    ----------
    times : array of int64
        One row's distinct times after the other's.
    starts : array of int64
        First time of each row.
    users : array of int64
        First row of each user.
    """
    for user in range(len(users) - 1):
        user_times = np.sort(times[starts[users[user]] : starts[users[user + 1]]])
        for row in range(users[user], users[user + 1]):
            first, last = starts[row], starts[row + 1]
            together = 0
            for time in times[first:last]:
                together += np.searchsorted(user_times, time, side="right") - np.searchsorted(
                    user_times, time, side="left"
                )
            crowds[row] = together / (last - first) if last > first else 1.0
