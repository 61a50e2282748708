"""The compiled part of `expansions`. Import this module late: it needs numba."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from journeys_dagster.inference.segments_kernel import dot

Vectors = NDArray[np.float32]
Ints = NDArray[np.int64]


@njit(cache=True, nogil=True, error_model="numpy")
def choose_new(
    near: Vectors,
    codes: Ints,
    starts: Ints,
    users: Ints,
    centres: Vectors,
    centre_starts: Ints,
    same: float,
    limit: int,
    is_chosen: NDArray[np.bool_],
) -> None:
    """Of each user's offers, best first, the first few that are like none of the user's journeys.

    Parameters
    ----------
    codes : array of int64
        Row of `near` of each offer.
    starts : array of int64
        First offer of each user who is offered anything.
    users : array of int64
        Number of each of these users.
    centre_starts : array of int64
        First row of `centres` of each user, by number.
    same : float
        Cosine from which two are the same.
    """
    offer = np.empty(near.shape[1])
    for place in range(len(starts) - 1):
        chosen = 0
        for row in range(starts[place], starts[place + 1]):
            if chosen == limit:
                break
            for k in range(len(offer)):
                offer[k] = np.float64(near[codes[row], k])
            is_new = True
            for centre in range(centre_starts[users[place]], centre_starts[users[place] + 1]):
                if dot(offer, centres[centre]) >= same:
                    is_new = False
                    break
            is_chosen[row] = is_new
            chosen += is_new
