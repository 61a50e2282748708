"""Titles that people give to journeys, by hand: what a journey may be called in words that are not its own.

Each title was written for some keywords. Where these lie, as the direction of their mean in `DIMENSIONS` dimensions, is
its key: a journey is near the titles whose keys are near its own keywords. `journeys evaluate naming --refit-to` makes
both files anew, from the pairs of `lab/teacher`.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.inference.embedding import BUNDLED_MODEL
from lab.naming.word_forms import tokens
from lab.naming.word_stems import stems

TITLES = Path(__file__).with_suffix(".txt")
VECTORS = Path(__file__).with_suffix(".safetensors")
GRID = 512
"""Vectors are whole numbers of 1 / GRID, so that sums of products are exact in float32, and the same in any order."""
DIMENSIONS = 128
_MAY_ADD = (
    "accessories arranging basics beginners building buying care choosing collecting collection cooking course crafts "
    "decorating decoration design display doing equipment essentials everyday fixing gear growing guide hobby holiday "
    "home homemade hosting ideas improvement inspiration keeping kit learning lessons maintenance makeover making "
    "outfits pieces planning plans playing practice preparation prep project projects redo refresh renovation repair "
    "repairs restoration routine session set setup shopping simple skills starting storage style styling supplies "
    "techniques things tips tools training travel trip upgrade using watching"
)
"""What a title may say that no keyword does: that somebody does, makes, learns or looks for what the keywords name."""


def on_grid(vectors: NDArray) -> NDArray[np.float32]:
    """Vectors of length 1 or less as whole numbers."""
    return np.rint(vectors * GRID).astype(np.float32)


@dataclass(frozen=True)
class TitleLibrary:
    """Titles, and where the keywords lay that they were written for.

    Attributes
    ----------
    titles : tuple of str
        As shown; sorted.
    vectors : array of shape (titles, embedding dimensions), float32
        On the grid.
    basis : array of shape (embedding dimensions, dimensions), float32
        On the grid; what the keys are compared in.
    keys : array of shape (pairs, dimensions), float32
        On the grid.
    title_of_key : array of shape (pairs,), int64
    """

    titles: tuple[str, ...]
    vectors: NDArray[np.float32]
    basis: NDArray[np.float32]
    keys: NDArray[np.float32]
    title_of_key: NDArray[np.int64]

    def directions(self, centres: NDArray[np.float32]) -> NDArray[np.float32]:
        """Unit vectors of an embedding as what the keys are compared with, on the grid."""
        projected = on_grid(centres) @ self.basis
        length = np.sqrt((projected.astype(np.float64) ** 2).sum(axis=1, keepdims=True))
        return on_grid(projected / np.maximum(length, 1.0))

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """The titles in lower case, as keywords are."""
        return tuple(title.lower() for title in self.titles)

    @cached_property
    def words(self) -> frozenset[str]:
        """All words of the titles, in lower case."""
        return frozenset(word for text in self.texts for word in tokens(text))

    @classmethod
    def of(cls, titles: Path, vectors: Path) -> "TitleLibrary":
        """Read a library from its files."""
        from safetensors.numpy import load_file

        stored = load_file(vectors)
        numbers = {name: stored[name].astype(np.float32) for name in ("vectors", "basis", "keys")}
        lines = tuple(titles.read_text(encoding="utf-8").splitlines())
        return cls(lines, title_of_key=stored["title_of_key"].astype(np.int64), **numbers)

    def save(self, titles: Path, vectors: Path) -> None:
        """Write the library to its files; a number beyond what is kept of a title's becomes the nearest that is."""
        from safetensors.numpy import save_file

        whole = {name: getattr(self, name).astype(np.int16) for name in ("basis", "keys", "title_of_key")}
        save_file({"vectors": np.clip(self.vectors, -127, 127).astype(np.int8), **whole}, vectors)
        titles.write_text("\n".join(self.titles) + "\n", encoding="utf-8")

    def with_vectors(self, vectors: NDArray[np.float32]) -> "TitleLibrary":
        """The library under another embedding model: of unit vectors of its titles, which are its keys too."""
        grid = on_grid(vectors)
        identity = on_grid(np.eye(vectors.shape[1], dtype=np.float32))
        return TitleLibrary(self.titles, grid, identity, grid, np.arange(len(self.titles)))


def make_library(
    titles: tuple[str, ...], vectors: NDArray[np.float32], centres: NDArray[np.float32], title_of_key: NDArray[np.int64]
) -> TitleLibrary:
    """A library of titles and of the unit vectors of the keywords that they were written for, one a key."""
    _, _, axes = np.linalg.svd(centres.astype(np.float64), full_matrices=False)
    basis = np.ascontiguousarray(on_grid(axes[:DIMENSIONS].T))
    empty = TitleLibrary(titles, on_grid(vectors), basis, np.zeros((0, basis.shape[1]), np.float32), title_of_key)
    return TitleLibrary(titles, empty.vectors, basis, empty.directions(centres), title_of_key)


@lru_cache(maxsize=1)
def bundled_library() -> TitleLibrary:
    """The library that lies beside this file."""
    return TitleLibrary.of(TITLES, VECTORS)


def library_of(embeddings: pl.DataFrame) -> TitleLibrary:
    """The bundled library, under another embedding model where the vectors of its titles are given.

    Parameters
    ----------
    embeddings : DataFrame
        Columns ``keyword``, a title in lower case, and ``embedding``; without rows for the bundled model.
    """
    library = bundled_library()
    if embeddings.is_empty():
        return library
    ordered = pl.DataFrame({"keyword": library.texts}).join(embeddings, on="keyword", how="left", maintain_order="left")
    return library.with_vectors(np.array(ordered["embedding"].to_list(), dtype=np.float32))


def texts_to_embed(model: str) -> list[str]:
    """Titles, in lower case, whose vectors are not bundled for an embedding model."""
    return [] if model == BUNDLED_MODEL else list(bundled_library().texts)


def may_add(title_stem: str) -> bool:
    """Whether a title may have a word of this stem though none of the keywords has it."""
    return title_stem in _free_stems()


def is_grounded(title: str, keywords: list[str]) -> bool:
    """Whether a title says no more than keywords do: a word of it is theirs, and the others are, or may be added."""
    known = frozenset[str]().union(*map(stems, keywords))
    own = stems(title)
    return bool(own & known) and all(map(may_add, own - known))


@lru_cache(maxsize=1)
def _free_stems() -> frozenset[str]:
    return stems(_MAY_ADD)
