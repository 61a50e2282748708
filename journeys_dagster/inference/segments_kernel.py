"""The compiled part of `segments`. Import this module late: it needs numba.

Sums run row by row in 64 bits, so that a segment's result depends on nothing but its own rows.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Vectors = NDArray[np.float32]
Ints = NDArray[np.int64]


@njit(cache=True, nogil=True, error_model="numpy")
def sum_of_rows(vectors: Vectors, codes: Ints, weights: Floats, total: Floats) -> None:
    """Weighted sum of some rows of the vectors."""
    total[:] = 0.0
    for row in range(len(codes)):
        vector, weight = vectors[codes[row]], weights[row]
        for k in range(len(total)):
            total[k] += weight * np.float64(vector[k])


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def dot(total: Floats, vector: NDArray) -> float:
    """Dot product in 64 bits."""
    product = 0.0
    for k in range(len(total)):
        product += total[k] * np.float64(vector[k])
    return product


@njit(cache=True, nogil=True, error_model="numpy")
def fill_centroids(vectors: Vectors, codes: Ints, weights: Floats, starts: Ints, means: Vectors) -> None:
    """Weighted mean vector of each segment at unit length; zero where it is zero. Starts are those of `means` alone."""
    total = np.empty(vectors.shape[1])
    for segment in range(len(starts) - 1):
        rows = slice(starts[segment], starts[segment + 1])
        sum_of_rows(vectors, codes[rows], weights[rows], total)
        length = np.sqrt(dot(total, total))
        for k in range(len(total)):
            means[segment, k] = total[k] / length if length > 0.0 else 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def fill_centroid_similarity(vectors: Vectors, codes: Ints, weights: Floats, starts: Ints, similarity: Floats) -> None:
    """Cosine of each row's vector, of unit length or zero, to its segment's weighted mean; 0 where either is zero."""
    total = np.empty(vectors.shape[1])
    for segment in range(len(starts) - 1):
        rows = slice(starts[segment], starts[segment + 1])
        sum_of_rows(vectors, codes[rows], weights[rows], total)
        length = np.sqrt(dot(total, total))
        for row in range(starts[segment], starts[segment + 1]):
            cosine = dot(total, vectors[codes[row]]) / length if length > 0.0 else 0.0
            # Unit vectors in float32 may be longer than 1 by a rounding error.
            similarity[row] = min(max(cosine, -1.0), 1.0)


@njit(cache=True, nogil=True, error_model="numpy")
def fill_neighbour_similarity(units: Vectors, groups: Ints, similarity: Floats) -> None:
    """Cosine of each row, of unit length or zero, to the nearest other row of its group; 0 where there is none."""
    total = np.empty(units.shape[1])
    for group in range(len(groups) - 1):
        first, last = groups[group], groups[group + 1]
        similarity[first:last] = -1.0 if last - first > 1 else 0.0
        for row in range(first, last):
            for k in range(len(total)):
                total[k] = np.float64(units[row, k])
            for other in range(row + 1, last):
                cosine = min(max(dot(total, units[other]), -1.0), 1.0)
                similarity[row] = max(similarity[row], cosine)
                similarity[other] = max(similarity[other], cosine)


@njit(cache=True, nogil=True, error_model="numpy")
def fill_pair_similarity(vectors: Vectors, firsts: Ints, seconds: Ints, similarity: Floats) -> None:
    """Dot product of each pair of rows of the vectors."""
    total = np.empty(vectors.shape[1])
    for pair in range(len(firsts)):
        for k in range(len(total)):
            total[k] = np.float64(vectors[firsts[pair], k])
        similarity[pair] = dot(total, vectors[seconds[pair]])
