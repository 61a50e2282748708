"""Which of a user's items are of one kind, by the keywords they share. Import this module late: it needs numba.

A brand is on phones and on refrigerators, and says nothing of the one to who looks at the other; what phones have in
common are several keywords at once.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Ints = NDArray[np.int64]

NO_KIND = -1
LEAST_ITEMS = 3
"""Items that make a kind; titles of two items share two phrases by chance."""


@njit(cache=True, nogil=True, error_model="numpy")
def find(parents: Ints, i: int) -> int:
    """Root of `i`, with the path to it halved."""
    while parents[i] != i:
        parents[i] = parents[parents[i]]
        i = parents[i]
    return i


@njit(cache=True, nogil=True, error_model="numpy")
def connect_alike(places: Ints, lengths: Ints, parents: Ints) -> None:
    """Connect items that share two keywords.

    Parameters
    ----------
    places : array of shape (n, D), int64
        Of each keyword, its items, ascending.
    parents : array of shape (items,), int64
        0 … items-1; afterwards a forest of what is connected.
    """
    size, held = len(parents), 0
    for length in lengths:
        held += length * (length - 1) // 2
    pairs, held = np.empty(held, np.int64), 0
    for i in range(len(lengths)):
        for k in range(lengths[i]):
            for other in range(k):
                pairs[held] = places[i, other] * size + places[i, k]
                held += 1
    pairs.sort()
    for k in range(1, len(pairs)):
        if pairs[k] == pairs[k - 1]:
            one, other = find(parents, pairs[k] // size), find(parents, pairs[k] % size)
            parents[max(one, other)] = min(one, other)


@njit(cache=True, nogil=True, error_model="numpy")
def distinct_items(items: Ints, lengths: Ints) -> Ints:
    """A user's items, ascending. By hand: numba takes seconds to compile `np.unique` and assignments of slices."""
    flat, held = np.empty(lengths.sum(), np.int64), 0
    for i in range(len(lengths)):
        for k in range(lengths[i]):
            flat[held] = items[i, k]
            held += 1
    flat.sort()
    held = 0
    for item in flat:
        if held == 0 or item != flat[held - 1]:
            flat[held] = item
            held += 1
    return flat[:held]


@njit(cache=True, nogil=True, error_model="numpy")
def kinds_of(items: Ints, lengths: Ints) -> Ints:
    """The kind of most of each keyword's items: a number that only equals itself; `NO_KIND` where they are of none.

    Items that share two keywords are of one kind, and so are all that such pairs connect, if they are `LEAST_ITEMS`.

    Parameters
    ----------
    items : array of shape (n, D), int64
        Of each of a user's keywords, ascending.
    lengths : array of shape (n,), int64
        How many of them there are.
    """
    n = len(lengths)
    kinds = np.full(n, NO_KIND, np.int64)
    distinct = distinct_items(items, lengths)
    if len(distinct) < LEAST_ITEMS:
        return kinds
    places = np.empty(items.shape, np.int64)
    for i in range(n):
        for k in range(lengths[i]):
            places[i, k] = np.searchsorted(distinct, items[i, k])
    parents, sizes = np.arange(len(distinct)), np.zeros(len(distinct), np.int64)
    connect_alike(places, lengths, parents)
    for item in range(len(distinct)):
        # The root is the first of its items.
        parents[item] = find(parents, item)
        sizes[parents[item]] += 1
    for i in range(n):
        most = 0
        for k in range(lengths[i]):
            kind, alike = parents[places[i, k]], 0
            if sizes[kind] < LEAST_ITEMS or kind == kinds[i]:
                continue
            for other in range(k, lengths[i]):
                alike += parents[places[i, other]] == kind
            # Of as many items of each, the larger kind.
            weight = alike * (len(distinct) + 1) + sizes[kind]
            if weight > most:
                most, kinds[i] = weight, kind
    return kinds
