"""The compiled part of `ngrams`: hashes of every text's character n-grams. Import this module late: it needs numba."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Int = int | np.int64

_WORD = 0xFFFFFFFF
_SPACE = 32


@njit(cache=True, nogil=True, error_model="numpy")
def rotate(value: Int, bits: int) -> Int:
    """Rotate 32 bits to the left."""
    return ((value << bits) | (value >> (32 - bits))) & _WORD


@njit(cache=True, nogil=True, error_model="numpy")
def scramble(value: Int) -> Int:
    """Mix four bytes, by the constants of MurmurHash3."""
    return (rotate((value * 0xCC9E2D51) & _WORD, 15) * 0x1B873593) & _WORD


@njit(cache=True, nogil=True, error_model="numpy")
def murmur3(text: Bytes, begin: int, end: int) -> Int:
    """32 bits of MurmurHash3 (Appleby 2011, public domain) with seed 0, of some bytes of a text, as a signed number."""
    hashed = 0
    full = begin + (end - begin) // 4 * 4
    for i in range(begin, full, 4):
        four = (
            np.int64(text[i]) | np.int64(text[i + 1]) << 8 | np.int64(text[i + 2]) << 16 | np.int64(text[i + 3]) << 24
        )
        hashed = (rotate(hashed ^ scramble(four), 13) * 5 + 0xE6546B64) & _WORD
    rest = np.int64(0)
    for i in range(full, end):
        rest |= np.int64(text[i]) << 8 * (i - full)
    hashed ^= scramble(rest) ^ (end - begin)
    hashed = ((hashed ^ hashed >> 16) * 0x85EBCA6B) & _WORD
    hashed = ((hashed ^ hashed >> 13) * 0xC2B2AE35) & _WORD
    hashed ^= hashed >> 16
    return hashed - (hashed >> 31 << 32)


@njit(cache=True, nogil=True, error_model="numpy")
def add_ngrams(text: Bytes, begin: int, end: int, shortest: int, longest: int, counts: NDArray[np.float32]) -> None:
    """Count the n-grams of one word, which stands between two spaces, at their hashes' places and signs."""
    places = np.empty(end - begin + 1, np.int64)
    characters = 0
    for i in range(begin, end):
        if text[i] & 0xC0 != 0x80:  # the first byte of a character in UTF-8
            places[characters] = i
            characters += 1
    places[characters] = end
    for n in range(shortest, longest + 1):
        for first in range(max(characters - n + 1, 1)):
            hashed = murmur3(text, places[first], places[min(first + n, characters)])
            # The smallest number has no positive counterpart in 32 bits.
            place = abs(hashed) if hashed != -(2**31) else 2**31 - len(counts)
            counts[place % len(counts)] += np.float32(1.0 if hashed >= 0 else -1.0)
        if characters <= n:
            return


@njit(cache=True, nogil=True, error_model="numpy")
def count_ngrams(text: Bytes, starts: Ints, shortest: int, longest: int, counts: NDArray[np.float32]) -> None:
    """Fill one row per text with its counts at unit length; of no word, zeros.

    Parameters
    ----------
    text : array of shape (bytes,), uint8
        All texts, in UTF-8, each with one space before each word and one behind the last.
    starts : array of shape (texts + 1,), int64
    counts : array of shape (texts, dimensions), float32
        Zeros.
    """
    for row in range(len(starts) - 1):
        word = starts[row]
        for i in range(starts[row] + 1, starts[row + 1]):
            if text[i] == _SPACE:
                if i > word + 1:
                    add_ngrams(text, word, i + 1, shortest, longest, counts[row])
                word = i
        length = np.sqrt((counts[row] ** 2).sum())
        if length > 0:
            counts[row] /= length
