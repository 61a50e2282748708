"""Chance that can be had again: numbers that depend on a user, a salt, a day and a place, and on nothing else."""

import hashlib
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

_STEP, _FIRST, _SECOND = (np.uint64(each) for each in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_FRACTION_BITS = 53


def user_seeds(users: pl.Series, salt: str) -> NDArray[np.uint64]:
    """A number of 64 bits for each user."""
    key = hashlib.blake2b(salt.encode(), digest_size=32).digest()
    digests = (hashlib.blake2b(user.encode(), digest_size=8, key=key).digest() for user in users.to_list())
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def draws(seeds: NDArray[np.uint64], place: int, *, day: date | None = None) -> NDArray[np.float64]:
    """Uniform draws from [0, 1), one a seed.

    Parameters
    ----------
    seeds : array of uint64
        From `user_seeds`.
    place : int
        Which of the draws of a user it is.
    day : date, optional
        Draws of days are independent; without one they stay for good.
    """
    place_of_day = np.uint64(place + (day.toordinal() << 16 if day is not None else 0))
    with np.errstate(over="ignore"):
        mixed = _mixed(_mixed(seeds) + place_of_day * _STEP)
    return (mixed >> np.uint64(64 - _FRACTION_BITS)).astype(np.float64) * 2.0**-_FRACTION_BITS


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele et al. 2014): each bit of the outcome depends on all bits."""
    with np.errstate(over="ignore"):
        numbers = numbers + _STEP
        numbers = (numbers ^ (numbers >> np.uint64(30))) * _FIRST
        numbers = (numbers ^ (numbers >> np.uint64(27))) * _SECOND
    return numbers ^ (numbers >> np.uint64(31))
