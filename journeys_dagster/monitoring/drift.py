"""How far a distribution has moved from the one it is compared with."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Added to every bin of both, so that an empty one is rare and not impossible (Jeffreys' prior).
_PSEUDO_COUNT = 0.5


def population_stability_index(counts: ArrayLike, reference: ArrayLike) -> float:
    """Population stability index (PSI): ``sum((p - q) * ln(p / q))`` over the bins, with smoothed shares.

    It is the sum of both Kullback-Leibler divergences. By custom below 0.1 is steady and above 0.25 a shift, for
    samples of many thousands; samples of n and m rows of one distribution with B bins have one of about
    ``(B - 1) * (1 / n + 1 / m)``.

    Parameters
    ----------
    counts, reference : array-like, shape (bins,)
        Counts of two samples, not negative.

    Raises
    ------
    ValueError
        The two have different numbers of bins, or none.
    """
    p, q = _shares(counts), _shares(reference)
    if p.shape != q.shape or not p.size:
        raise ValueError(f"counts have {p.size} bins and the reference {q.size}: both need the same, at least one")
    return float(np.sum((p - q) * np.log(p / q)))


def silent_share(counts: ArrayLike, reference: ArrayLike) -> float:
    """Share of the reference that lies in bins where the sample has nothing."""
    sample, usual = np.asarray(counts), np.asarray(reference, dtype=np.float64)
    return float(usual[sample == 0].sum() / max(usual.sum(), 1.0))


def surprise(counts: ArrayLike, reference: ArrayLike) -> float:
    """Bits per step that a model of the reference's pairs needs for the sample's pairs (cross-entropy).

    Parameters
    ----------
    counts, reference : array-like, shape (symbols, symbols)
        How often a symbol (row) was followed by another one (column); the sample has at least one pair.
    """
    pairs, model = np.asarray(counts, dtype=np.float64), np.asarray(reference, dtype=np.float64) + _PSEUDO_COUNT
    bits = -np.log2(model / model.sum(axis=1, keepdims=True))
    return float((pairs * bits).sum() / pairs.sum())


def best_shift(counts: ArrayLike, reference: ArrayLike) -> int:
    """Turn of a circular profile, such as hours of a day, under which a sample is most likely.

    Parameters
    ----------
    counts, reference : array-like, shape (bins,)
        Counts of the sample and of what is usual.

    Returns
    -------
    int
        Bins by which the sample lies later (positive) or earlier than the reference, at most half a turn; of equally
        likely ones the smallest.
    """
    likelihoods = np.log(_shares(reference))
    sample = np.asarray(counts, dtype=np.float64)
    bins = len(sample)
    turns = sorted(range(-((bins - 1) // 2), bins // 2 + 1), key=lambda turn: (abs(turn), turn))
    scores = [float(np.roll(sample, -turn) @ likelihoods) for turn in turns]
    return turns[int(np.argmax(scores))]


def _shares(counts: ArrayLike) -> NDArray[np.float64]:
    smoothed = np.asarray(counts, dtype=np.float64) + _PSEUDO_COUNT
    return smoothed / smoothed.sum()
