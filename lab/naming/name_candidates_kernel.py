"""The compiled part of `name_candidates`. Import this module late: it needs numba.

A journey's numbers are computed from its own rows in a fixed order: they do not depend on the journeys beside it.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from journeys_dagster.inference.segments_kernel import dot

Floats = NDArray[np.float64]
Vectors = NDArray[np.float32]
Ints = NDArray[np.int64]


@njit(cache=True, nogil=True, error_model="numpy")
def _sink(values: Vectors, heap: Ints, place: int, size: int) -> None:
    """Bring an entry to its place; the first of a heap is the smallest value, of equal ones the last column."""
    while True:
        below = 2 * place + 1
        if below >= size:
            return
        one, other = heap[below], heap[min(below + 1, size - 1)]
        if values[other] < values[one] or (values[other] == values[one] and other > one):
            below += 1
            one = other
        here = heap[place]
        if values[here] < values[one] or (values[here] == values[one] and here > one):
            return
        heap[place], heap[below] = one, here
        place = below


@njit(cache=True, nogil=True, error_model="numpy")
def fill_nearest(similarity: Vectors, nearest: Ints) -> None:
    """The columns with the largest values of each row, largest first; of equal ones the first."""
    count = nearest.shape[1]
    for row in range(len(similarity)):
        values, heap = similarity[row], nearest[row]
        for place in range(count):
            heap[place] = place
        for place in range(count // 2, -1, -1):
            _sink(values, heap, place, count)
        for column in range(count, len(values)):
            if values[column] > values[heap[0]]:
                heap[0] = column
                _sink(values, heap, 0, count)
        for size in range(count - 1, 0, -1):
            heap[0], heap[size] = heap[size], heap[0]
            _sink(values, heap, 0, size)


@njit(cache=True, nogil=True, error_model="numpy")
def fill_expected(
    nearest: Ints, similarity: Floats, titles: Vectors, title_of: Ints, sharpness: float, expected: Floats
) -> None:
    """Mean vector of the nearest titles, the nearer the more it weighs."""
    for row in range(len(nearest)):
        expected[row] = 0.0
        total = 0.0
        for place in range(similarity.shape[1]):
            weight = np.exp((similarity[row, place] - similarity[row, 0]) * sharpness)
            total += weight
            title = titles[title_of[nearest[row, place]]]
            for k in range(len(title)):
                expected[row, k] += weight * np.float64(title[k])
        expected[row] /= total


@njit(cache=True, nogil=True, error_model="numpy")
def grounded_titles(
    starts: Ints,
    word: Ints,
    stem_starts: Ints,
    stems: Ints,
    text_of_title: Ints,
    may_add: NDArray[np.bool_],
    nearest: Ints,
    title_of: Ints,
    taken_starts: Ints,
    taken: Ints,
    limit: int,
    texts: int,
) -> tuple[Ints, Ints]:
    """Titles of the nearest keys that say no more than a journey's keywords, at most `limit` a journey.

    Of a title's stems one is among the keywords', and the others are, or may be added. `taken` are the texts that are
    candidates of the journey already.
    """
    journeys = len(starts) - 1
    journey, title = np.empty(journeys * limit, dtype=np.int64), np.empty(journeys * limit, dtype=np.int64)
    has_stem, has_text = np.full(len(may_add), -1), np.full(texts, -1)
    count = 0
    for row in range(journeys):
        for member in range(starts[row], starts[row + 1]):
            text = word[member]
            has_text[text] = row
            for place in range(stem_starts[text], stem_starts[text + 1]):
                has_stem[stems[place]] = row
        for place in range(taken_starts[row], taken_starts[row + 1]):
            has_text[taken[place]] = row
        found = 0
        for place in range(nearest.shape[1]):
            candidate = title_of[nearest[row, place]]
            text = text_of_title[candidate]
            if has_text[text] == row:
                continue
            has_text[text] = row
            grounded, may = 0, True
            for part in range(stem_starts[text], stem_starts[text + 1]):
                if has_stem[stems[part]] == row:
                    grounded += 1
                elif not may_add[stems[part]]:
                    may = False
            if may and grounded:
                journey[count], title[count] = row, candidate
                count += 1
                found += 1
                if found == limit:
                    break
    return journey[:count], title[:count]


@njit(cache=True, nogil=True, error_model="numpy")
def fill_likeness(
    vectors: Vectors,
    codes: Ints,
    unit: float,
    journey: Ints,
    centres: Vectors,
    expected: Floats,
    middles: Vectors,
    likeness: Floats,
) -> None:
    """Cosine of each candidate's vector to its journey's centre, its expected title, and its middle."""
    one = np.empty(vectors.shape[1])
    for row in range(len(codes)):
        of = journey[row]
        for k in range(len(one)):
            one[k] = np.float64(vectors[codes[row], k]) * unit
        likeness[row, 0] = dot(one, centres[of])
        likeness[row, 1] = dot(one, expected[of])
        likeness[row, 2] = dot(one, middles[of])


@njit(cache=True, nogil=True, error_model="numpy")
def fill_shared_words(
    starts: Ints,
    word: Ints,
    weight: Floats,
    stem_starts: Ints,
    stems: Ints,
    of_starts: Ints,
    text: Ints,
    shares: Floats,
    kinds: int,
) -> None:
    """Of each candidate, the share of its journey's keywords that have a stem of it, by weight and by number, and all
    of its stems; and of its own stems the share that the keywords have.
    """
    mark, known = np.full(kinds, -1), np.full(kinds, -1)
    for row in range(len(starts) - 1):
        first, last = starts[row], starts[row + 1]
        total = 0.0
        for member in range(first, last):
            total += weight[member]
            for place in range(stem_starts[word[member]], stem_starts[word[member] + 1]):
                known[stems[place]] = row
        for candidate in range(of_starts[row], of_starts[row + 1]):
            own = text[candidate]
            size = stem_starts[own + 1] - stem_starts[own]
            grounded = 0
            for place in range(stem_starts[own], stem_starts[own + 1]):
                mark[stems[place]] = candidate
                grounded += known[stems[place]] == row
            heavy, some, whole = 0.0, 0, 0
            for member in range(first, last):
                shared = 0
                for place in range(stem_starts[word[member]], stem_starts[word[member] + 1]):
                    shared += mark[stems[place]] == candidate
                if shared:
                    heavy += weight[member]
                    some += 1
                    whole += shared == size
            shares[candidate, 0] = heavy / total
            shares[candidate, 1] = some / (last - first)
            shares[candidate, 2] = whole / (last - first)
            shares[candidate, 3] = grounded / size if size else 0.0
