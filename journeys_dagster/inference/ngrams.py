"""Spelling as vectors: hashed character n-grams of a text."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.inference.segments import over_segments

NGRAM_LENGTHS = (2, 4)


def ngram_vectors(texts: pl.Series, *, dimensions: int) -> NDArray[np.float32]:
    """Unit vectors of the character n-grams within each word, with the spaces around it.

    The same as scikit-learn's ``HashingVectorizer(analyzer="char_wb", ngram_range=(2, 4), n_features=dimensions)``,
    signed hashes and all (Weinberger et al. 2009), compiled, once wide and narrow letters are those usually written.

    Parameters
    ----------
    texts : Series of str

    Returns
    -------
    array of shape (len(texts), dimensions), float32
        Zero for a text without a word.
    """
    from journeys_dagster.inference.ngrams_kernel import count_ngrams

    words = texts.str.normalize("NFKC").str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars(" ")
    padded = pl.select(pl.lit(" ") + words + pl.lit(" ")).to_series()
    starts = np.concatenate([[0], padded.str.len_bytes().cast(pl.Int64).cum_sum().to_numpy()])
    text = np.frombuffer("".join(padded.to_list()).encode(), dtype=np.uint8)
    counts = np.zeros((len(texts), dimensions), dtype=np.float32)

    def count(chunk: slice) -> None:
        count_ngrams(text, starts[chunk.start : chunk.stop + 1], *NGRAM_LENGTHS, counts[chunk])

    over_segments(starts, count)
    return counts
