"""The compiled part of `linkage`: distances and average linkage of one user after another.

Import this module late: it needs numba. The functions release the GIL, so that threads work on users side by side.
A user's labels depend on nothing but the user's own rows.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from journeys_dagster.inference.item_kinds_kernel import NO_KIND, find, kinds_of

Floats = NDArray[np.float64]
Vectors = NDArray[np.float32]
Ints = NDArray[np.int64]
Model = tuple[float, float, float, float]

TILE = 4
NEAR = 1e-12
"""Relative difference below which the order of two distances is a matter of rounding."""


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def dot_products(block: Vectors, products: Vectors) -> None:
    """Fill the lower triangle of `products`, tile by tile of four rows and two columns.

    Eight sums at once stay in registers, and the compiler makes a vector of each. The number of rows must be a
    multiple of four.
    """
    n, dimensions = block.shape
    for i in range(0, n, 4):
        for j in range(0, i + 4, 2):
            s00 = s01 = s10 = s11 = s20 = s21 = s30 = s31 = np.float32(0.0)
            for k in range(dimensions):
                a, b = block[j, k], block[j + 1, k]
                s00 += block[i, k] * a
                s01 += block[i, k] * b
                s10 += block[i + 1, k] * a
                s11 += block[i + 1, k] * b
                s20 += block[i + 2, k] * a
                s21 += block[i + 2, k] * b
                s30 += block[i + 3, k] * a
                s31 += block[i + 3, k] * b
            products[i, j], products[i, j + 1] = s00, s01
            products[i + 1, j], products[i + 1, j + 1] = s10, s11
            products[i + 2, j], products[i + 2, j + 1] = s20, s21
            products[i + 3, j], products[i + 3, j + 1] = s30, s31


@njit(cache=True, nogil=True, error_model="numpy")
def gather(vectors: Vectors, codes: Ints, block: Vectors) -> None:
    """Copy a user's vectors together, with zeros in the rows left over."""
    n = len(codes)
    for i in range(n):
        block[i] = vectors[codes[i]]
    block[n:] = 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def share_an_item(ours: Ints, n_ours: int, theirs: Ints, n_theirs: int) -> bool:
    """Whether two ascending lists of numbers have one in common."""
    i = j = 0
    while i < n_ours and j < n_theirs:
        if ours[i] == theirs[j]:
            return True
        if ours[i] < theirs[j]:
            i += 1
        else:
            j += 1
    return False


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def logistic(logits: Floats, powers: Ints) -> None:
    """Replace each logit z by 1 / (1 + exp(z)), in loops that compile to vector instructions.

    exp by argument reduction and Taylor series, relative error under 1e-14; logits beyond ±700 count as ±700.

    Parameters
    ----------
    logits : array of shape (n,), float64
    powers : array of shape (n,), int64
        Scratch.
    """
    n = len(logits)
    floats = powers.view(np.float64)
    for i in range(n):
        x = min(max(logits[i], -700.0), 700.0)
        # Adding 1.5 * 2**52 rounds to a whole number and leaves it in the lowest bits.
        shifted = x * 1.4426950408889634 + 6755399441055744.0
        floats[i] = shifted
        k = shifted - 6755399441055744.0
        r = (x - k * 0.693147180369123816490) - k * 1.90821492927058770002e-10
        series = 1.0 + r * (1.0 / 13.0)
        series = 1.0 + series * r * (1.0 / 12.0)
        series = 1.0 + series * r * (1.0 / 11.0)
        series = 1.0 + series * r * (1.0 / 10.0)
        series = 1.0 + series * r * (1.0 / 9.0)
        series = 1.0 + series * r * (1.0 / 8.0)
        series = 1.0 + series * r * (1.0 / 7.0)
        series = 1.0 + series * r * (1.0 / 6.0)
        series = 1.0 + series * r * (1.0 / 5.0)
        series = 1.0 + series * r * (1.0 / 4.0)
        series = 1.0 + series * r * (1.0 / 3.0)
        series = 1.0 + series * r * (1.0 / 2.0)
        logits[i] = 1.0 + series * r
    for i in range(n):
        powers[i] = (powers[i] + 1023) << 52  # the bits of 2**k
    for i in range(n):
        logits[i] = 1.0 / (1.0 + logits[i] * floats[i])


@njit(cache=True, nogil=True, error_model="numpy")
def times_by_rank(times: Floats) -> Floats:
    """A user's times with rows and columns exchanged and infinity for NaN, as wide as the user needs.

    Row by row of this, the gaps to all keywords come out of loops that compile to vector instructions.
    """
    n, width = times.shape
    used = 0
    for i in range(n):
        while used < width and not np.isnan(times[i, used]):
            used += 1
    ranked = np.empty((used, n))
    for k in range(used):
        for i in range(n):
            ranked[k, i] = np.inf if np.isnan(times[i, k]) else times[i, k]
    return ranked


@njit(cache=True, nogil=True, error_model="numpy")
def shares_of_times(times: Floats) -> Floats:
    """What each time of a row counts among its own, 0 where it has none; times are those of `times_by_rank`."""
    shares = np.zeros(times.shape[1])
    for of_rank in times:
        for i in range(len(shares)):
            shares[i] += of_rank[i] < np.inf
    for i in range(len(shares)):
        shares[i] = 1.0 / shares[i] if shares[i] > 0.0 else 0.0
    return shares


@njit(cache=True, nogil=True, error_model="numpy")
def add_time(
    row: Floats, i: int, times: Floats, shares: Floats, weights: Floats, scale: float, closeness: Floats, gaps: Floats
) -> None:
    """Add to the logits of row i with all rows before it what their closeness in time adds.

    Parameters
    ----------
    times : array of shape (K, n), float64
        From `times_by_rank`.
    shares : array of shape (n,), float64
        From `shares_of_times`.
    closeness, gaps : array of shape (n,), float64
        Scratch.
    """
    if weights[i] <= 0.0 or shares[i] == 0.0:
        return
    closeness[:i] = 0.0
    own = times[:, i]
    for one in own:
        if one < np.inf:
            gaps[:i] = np.inf
            for of_rank in times:
                for j in range(i):
                    gaps[j] = min(gaps[j], abs(one - of_rank[j]))
            for j in range(i):
                closeness[j] += shares[i] * scale / (scale + gaps[j])
    for of_rank in times:
        gaps[:i] = np.inf
        for one in own:
            if one < np.inf:
                for j in range(i):
                    gaps[j] = min(gaps[j], abs(one - of_rank[j]))
        for j in range(i):
            closeness[j] += shares[j] * scale / (scale + gaps[j])
    for j in range(i):
        row[j] += min(weights[i], weights[j]) * 0.5 * closeness[j]


@njit(cache=True, nogil=True, error_model="numpy")
def add_items(
    row: Floats, i: int, items: Ints, lengths: Ints, marks: Ints, kinds: Ints, weight: float, kind_weight: float
) -> None:
    """Add to the logits of row i with all rows before it the weight of a shared item.

    Where the rows' items are of two kinds, the other weight is taken off instead: what both share is no sign.

    Parameters
    ----------
    marks : array of shape (n,), int64
        From `marks_of`: rows without a bit in common have no item in common.
    kinds : array of shape (n,), int64
        From `kinds_of`.
    """
    if lengths[i] == 0:
        return
    for j in range(i):
        if kinds[i] != kinds[j] and kinds[i] != NO_KIND and kinds[j] != NO_KIND:
            row[j] -= kind_weight
        elif marks[i] & marks[j] and share_an_item(items[i], lengths[i], items[j], lengths[j]):
            row[j] += weight


@njit(cache=True, nogil=True, error_model="numpy")
def marks_of(items: Ints, lengths: Ints) -> Ints:
    """One bit of 64 per item, for each row (Bloom 1970)."""
    marks = np.zeros(len(items), np.int64)
    for i in range(len(items)):
        for k in range(lengths[i]):
            marks[i] |= np.int64(1) << (items[i, k] % 64)
    return marks


@njit(cache=True, nogil=True, error_model="numpy")
def pair_distances(
    products: Vectors,
    times: Floats,
    time_weights: Floats,
    items: Ints,
    model: Model,
    distances: Floats,
) -> None:
    """Turn one user's dot products into the full matrix of distances, infinite on the diagonal."""
    n = len(time_weights)
    offset, item_weight, kind_weight, time_scale = model
    ranked = times_by_rank(times)
    shares = shares_of_times(ranked)
    n_items = np.zeros(n, np.int64)
    for i in range(n):
        while n_items[i] < items.shape[1] and items[i, n_items[i]] >= 0:
            n_items[i] += 1
    marks, kinds = marks_of(items, n_items), kinds_of(items, n_items)
    closeness, gaps, powers = np.empty(n), np.empty(n), np.empty(n, np.int64)
    for i in range(n):
        row = distances[i]
        for j in range(i):
            row[j] = products[i, j] + offset
        add_time(row, i, ranked, shares, time_weights, time_scale, closeness, gaps)
        add_items(row, i, items, n_items, marks, kinds, item_weight, kind_weight)
        logistic(row[:i], powers[:i])
        row[i] = np.inf
    for i in range(n):
        for j in range(i):
            distances[j, i] = distances[i, j]


@njit(cache=True, nogil=True, error_model="numpy")
def merge(distances: Floats, sizes: Floats, x: int, y: int) -> None:
    """Merge cluster x into y, x < y: average linkage by Lance and Williams (1967)."""
    n = len(sizes)
    size = sizes[x] + sizes[y]
    own, other = distances[y], distances[x]
    for i in range(n):
        own[i] = (sizes[x] * other[i] + sizes[y] * own[i]) / size
    own[y] = np.inf
    for i in range(n):
        distances[i, y] = own[i]
        distances[i, x] = np.inf
    sizes[x], sizes[y] = 0.0, size


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"nnan", "reassoc"})
def smallest(row: Floats) -> float:
    """Minimum of a row without NaN."""
    least = np.inf
    for i in range(len(row)):
        least = min(least, row[i])
    return least


@njit(cache=True, nogil=True, error_model="numpy")
def cut_chains(distances: Floats, threshold: float, parents: Ints) -> bool:
    """Nearest-neighbour chains (Murtagh 1983) that end at the threshold.

    Average linkage is reducible: no merge brings a third cluster nearer. So a cluster whose nearest neighbour is
    beyond the threshold is finished, and so are all before it in the chain, whose neighbours are farther.

    Parameters
    ----------
    distances : array of shape (n, n), float64
        Infinite on the diagonal; overwritten.
    parents : array of shape (n,), int64
        0 … n-1; a forest of the clusters afterwards.

    Returns
    -------
    bool
        False when rounding decided between neighbours or at the threshold, so that another order of merges might
        end otherwise; `parents` is of no use then.
    """
    n = len(distances)
    sizes = np.ones(n)
    finished = np.zeros(n, np.bool_)
    chain = np.empty(n + 1, np.int64)
    length, first = 0, 0
    while True:
        if length == 0:
            while first < n and (finished[first] or sizes[first] == 0.0):
                first += 1
            if first == n:
                return True
            chain[0] = first
            length = 1
        x = chain[length - 1]
        row = distances[x]
        least = smallest(row)
        if abs(least - threshold) <= NEAR * threshold:
            return False
        if least > threshold:
            for i in range(length):
                finished[chain[i]] = True
            length = 0
            continue
        limit = least * (1.0 + NEAR)
        near, y = 0, -1
        for i in range(n):
            if row[i] <= limit:
                near += 1
                y = i
        if near > 1:
            return False
        if length > 1 and y == chain[length - 2]:
            length -= 2
            low, high = min(x, y), max(x, y)
            merge(distances, sizes, low, high)
            parents[low] = high
        else:
            chain[length] = y
            length += 1


@njit(cache=True, nogil=True, error_model="numpy")
def cut_tree(distances: Floats, threshold: float, parents: Ints) -> None:
    """The whole tree, merge by merge in SciPy's order, then cut: ties are settled as SciPy settles them.

    Parameters
    ----------
    distances, parents
        As for `cut_chains`.
    """
    n = len(distances)
    sizes = np.ones(n)
    chain = np.empty(n, np.int64)
    lows, highs, heights = np.empty(n - 1, np.int64), np.empty(n - 1, np.int64), np.empty(n - 1)
    length = 0
    for k in range(n - 1):
        if length == 0:
            first = 0
            while sizes[first] == 0.0:
                first += 1
            chain[0] = first
            length = 1
        while True:
            x = chain[length - 1]
            y, least = -1, np.inf
            if length > 1:
                y = chain[length - 2]
                least = distances[x, y]
            for i in range(n):
                if distances[x, i] < least:
                    least = distances[x, i]
                    y = i
            if length > 1 and y == chain[length - 2]:
                break
            chain[length] = y
            length += 1
        length -= 2
        lows[k], highs[k], heights[k] = min(x, y), max(x, y), least
        merge(distances, sizes, lows[k], highs[k])
    tree = np.arange(n)
    tops = np.zeros(n)  # highest merge within the tree of a root
    for k in np.argsort(heights, kind="mergesort"):
        low, high = int(lows[k]), int(highs[k])
        x, y = find(tree, low), find(tree, high)
        tree[x] = y
        tops[y] = max(heights[k], tops[x], tops[y])
        if tops[y] <= threshold:
            parents[find(parents, low)] = find(parents, high)


@njit(cache=True, nogil=True, error_model="numpy")
def number(parents: Ints, labels: NDArray[np.int32]) -> None:
    """Number the trees of a forest in the order of their first members."""
    n = len(parents)
    numbers = np.full(n, -1, np.int32)
    following = 0
    for i in range(n):
        root = find(parents, i)
        if numbers[root] < 0:
            numbers[root] = following
            following += 1
        labels[i] = numbers[root]


@njit(cache=True, nogil=True, error_model="numpy")
def link_users(
    vectors: Vectors,
    starts: Ints,
    codes: Ints,
    times: Floats,
    time_weights: Floats,
    items: Ints,
    model: Model,
    threshold: float,
    labels: NDArray[np.int32],
) -> None:
    """Fill the labels of the users whose rows begin at ``starts[:-1]``."""
    widest = 0
    for user in range(len(starts) - 1):
        widest = max(widest, starts[user + 1] - starts[user])
    padded = (widest + TILE - 1) // TILE * TILE
    block = np.empty((padded, vectors.shape[1]), np.float32)
    products = np.empty(padded * padded, np.float32)
    scratch = np.empty(widest * widest)
    for user in range(len(starts) - 1):
        begin, end = starts[user], starts[user + 1]
        n = end - begin
        if n < 2:
            labels[begin:end] = 0
            continue
        side = (n + TILE - 1) // TILE * TILE
        gather(vectors, codes[begin:end], block[:side])
        dots = products[: side * side].reshape(side, side)
        dot_products(block[:side], dots)
        distances = scratch[: n * n].reshape(n, n)
        parents = np.arange(n)
        for exact in (False, True):
            pair_distances(
                dots,
                times[begin:end],
                time_weights[begin:end],
                items[begin:end],
                model,
                distances,
            )
            parents = np.arange(n)
            if exact:
                cut_tree(distances, threshold, parents)
            elif cut_chains(distances, threshold, parents):
                break
        number(parents, labels[begin:end])
