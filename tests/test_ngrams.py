"""Hashed character n-grams: the same as scikit-learn's."""

import unicodedata

import numpy as np
import polars as pl
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.utils import murmurhash3_32

from journeys_dagster.inference.ngrams import ngram_vectors
from journeys_dagster.inference.ngrams_kernel import murmur3


def composed(text: str) -> str:
    """A text in lower case, with the usual letters in place of wide and narrow ones."""
    return unicodedata.normalize("NFKC", text).lower()


texts = st.lists(st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), max_size=20), max_size=6)


@settings(deadline=None)  # the first call compiles
@given(texts)
@example(["", " ", "a", "ab abc", "ab  abc\n", "İstanbul ÉTÉ", "日本 旅行", "🎄 decorations 🎄", "part-no. 7/8"])
def test_vectors_are_those_of_scikit_learn(words: list[str]) -> None:
    found = ngram_vectors(pl.Series(words, dtype=pl.String), dimensions=64)
    if words:
        hashing = HashingVectorizer(preprocessor=composed, analyzer="char_wb", ngram_range=(2, 4), n_features=64)
        np.testing.assert_allclose(found, hashing.transform(words).toarray(), atol=1e-6)  # type: ignore[union-attr]
    assert found.shape == (len(words), 64)


@settings(deadline=None)
@given(st.binary(max_size=24), st.integers(0, 3))
def test_hashes_are_those_of_scikit_learn(content: bytes, begin: int) -> None:
    part = content[begin:]
    text = np.frombuffer(content, dtype=np.uint8)
    assert murmur3(text, min(begin, len(content)), len(content)) == murmurhash3_32(part, 0)
