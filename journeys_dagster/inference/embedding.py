"""Text embeddings that depend on the text alone, never on the texts beside it.

What a model cannot read has no meaning: the squared length of a vector is the share of its text that was read, 1 for
all of it, and 0 for nothing, so that the cosine with any other text is 0.
"""

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.inference import e5
from journeys_dagster.inference.encoders import (
    BUNDLED_SHA256,
    LONGEST_INPUT,
    BundledEncoder,
    SentenceTransformersEncoder,
    TextEncoder,
    bundled_model_path,
)
from journeys_dagster.inference.fingerprint import code_version

BUNDLED_MODEL = "bundled:all-MiniLM-L6-v2"
MULTILINGUAL_MODEL = "bundled:multilingual-e5-small"
UNREADABLE = 0.5
"""Share of a text that a model can read, below which it counts as one that the model does not read."""

_SHA256 = {BUNDLED_MODEL: BUNDLED_SHA256, MULTILINGUAL_MODEL: e5.SHA256}
_LENGTH_STEPS = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, LONGEST_INPUT)
_FULL_BATCH_LENGTH = 16


def model_identity(model: str, revision: str) -> str:
    """Which model it is.

    Parameters
    ----------
    model : str
        `BUNDLED_MODEL`, `MULTILINGUAL_MODEL`, or a sentence-transformers name or folder.
    revision : str
        Revision of a model that is not bundled.
    """
    if model in _SHA256:
        return f"{model.removeprefix('bundled:')}@{_SHA256[model][:12]}"
    return f"{model}@{revision}"


def model_revision(model: str, revision: str) -> str:
    """Name under which a model's embeddings are kept: same name, same numbers.

    It is the model's, see `model_identity`, with the version of the code that computes vectors.
    """
    return f"{model_identity(model, revision)}/{code_version(TextEmbedder)}"


class TextEmbedder:
    """An embedding model on the CPU or GPU, loaded on first use.

    Parameters
    ----------
    model : str
        `BUNDLED_MODEL`, `MULTILINGUAL_MODEL`, or a sentence-transformers name or folder.
    revision : str
        Revision of a model that comes from a hub.
    batch_size : int
        Texts in one forward pass; of texts over 16 tokens fewer, so that every pass costs about the same.
    """

    def __init__(self, *, model: str, revision: str = "main", batch_size: int = 64) -> None:
        self.identity = model_identity(model, revision)
        self.revision = model_revision(model, revision)
        self._model_name = model
        self._hub_revision = revision
        self._batch_size = batch_size
        self._encoder: TextEncoder | e5.E5Encoder | None = None

    def __reduce__(self) -> tuple[Callable[..., "TextEmbedder"], tuple[str, str, int]]:
        """How another process gets it: by its parameters."""
        return embedder_of_process, (self._model_name, self._hub_revision, self._batch_size)

    def embed(self, texts: Sequence[str], *, progress: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        """Vectors of texts, of unit length but for what the model cannot read.

        Parameters
        ----------
        texts : sequence of str
        progress : callable, optional
            Called with the number of texts done so far.

        Returns
        -------
        array of shape (len(texts), dimensions), float32
        """
        encoder = self._loaded()
        parts, shares = self._readable(encoder, texts)
        rows = np.flatnonzero(shares).tolist()
        readable = [parts[row] for row in rows]

        def count(done: int) -> None:
            if progress is not None:
                progress(len(texts) - len(rows) + done)

        vectors = np.zeros((len(texts), encoder.dimensions), dtype=np.float32)
        if isinstance(encoder, e5.E5Encoder):
            vectors[rows] = encoder.vectors(readable, progress=count)
        else:
            vectors[rows] = _in_fixed_shapes(encoder, readable, self._batch_size, count)
        return vectors * np.sqrt(shares)[:, None]

    def unreadable_share(self, texts: Sequence[str]) -> float:
        """Share of texts that the model cannot read, or less than half of them; 0 of no texts."""
        _, shares = self._readable(self._loaded(), texts)
        return float((shares < UNREADABLE).mean()) if len(texts) else 0.0

    @staticmethod
    def _readable(
        encoder: TextEncoder | e5.E5Encoder, texts: Sequence[str]
    ) -> tuple[Sequence[str], NDArray[np.float32]]:
        if encoder.vocabulary is None:
            return texts, np.ones(len(texts), dtype=np.float32)
        return encoder.vocabulary.readable(texts)

    def _loaded(self) -> TextEncoder | e5.E5Encoder:
        if self._encoder is None:
            if self._model_name == BUNDLED_MODEL:
                self._encoder = BundledEncoder(bundled_model_path())
            elif self._model_name == MULTILINGUAL_MODEL:
                self._encoder = e5.E5Encoder()
            else:
                self._encoder = SentenceTransformersEncoder(self._model_name, self._hub_revision)
        return self._encoder


def english_embedder(embedder: TextEmbedder) -> TextEmbedder:
    """The embedder if it is of `BUNDLED_MODEL`, else one that is."""
    english = embedder_of_process(BUNDLED_MODEL)
    return embedder if embedder.identity == english.identity else english


@functools.cache
def embedder_of_process(model: str, revision: str = "main", batch_size: int = 64) -> TextEmbedder:
    """An embedder that all of a process share, so that the model is loaded once."""
    return TextEmbedder(model=model, revision=revision, batch_size=batch_size)


def embed_frame(frames: Mapping[str, pl.DataFrame], *, embedder: TextEmbedder) -> pl.DataFrame:
    """Embed ``keywords``.

    Returns
    -------
    DataFrame
        Columns ``keyword`` and ``embedding`` (list of float32, as from `TextEmbedder.embed`), in the same order.
    """
    keywords = frames["keywords"]["keyword"]
    vectors = embedder.embed(keywords.to_list())
    embedding = pl.Series(vectors, dtype=pl.Array(pl.Float32, vectors.shape[1])).arr.to_list()
    return pl.DataFrame({"keyword": keywords, "embedding": embedding})


def _in_fixed_shapes(
    encoder: TextEncoder, texts: Sequence[str], batch_size: int, progress: Callable[[int], None]
) -> NDArray[np.float32]:
    """Unit vectors of texts.

    Every forward pass has one of a few fixed shapes: texts are padded to the next length step and a short last batch is
    filled up. So the same text gives the same bits whatever it is embedded with; otherwise a keyword embedded on
    another day could fall on the other side of the clustering threshold.
    """
    import torch

    token_ids = encoder.token_ids(texts) if texts else []
    vectors = np.zeros((len(texts), encoder.dimensions), dtype=np.float32)
    done = 0
    with torch.inference_mode():
        for length, rows in _by_length(token_ids).items():
            height = max(1, batch_size * _FULL_BATCH_LENGTH // max(length, _FULL_BATCH_LENGTH))
            for start in range(0, len(rows), height):
                batch = rows[start : start + height]
                ids, mask = _padded([token_ids[row] for row in batch], height, length, encoder.padding_id)
                output = encoder.encode(torch.from_numpy(ids), torch.from_numpy(mask))
                unit = torch.nn.functional.normalize(output.float(), dim=1).cpu().numpy()
                vectors[batch] = unit[: len(batch)]
                done += len(batch)
                progress(done)
    return vectors


def _by_length(token_ids: Sequence[Sequence[int]]) -> dict[int, list[int]]:
    """Row numbers by the length step that their tokens are padded to."""
    steps: dict[int, list[int]] = {}
    for row, ids in enumerate(token_ids):
        step = next(step for step in _LENGTH_STEPS if len(ids) <= step)
        steps.setdefault(step, []).append(row)
    return dict(sorted(steps.items()))


def _padded(
    token_ids: Sequence[Sequence[int]], height: int, width: int, padding: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    ids = np.full((height, width), padding, dtype=np.int64)
    mask = np.zeros((height, width), dtype=np.int64)
    mask[:, 0] = 1  # a row of nothing but padding would divide by zero
    for row, row_ids in enumerate(token_ids):
        ids[row, : len(row_ids)] = row_ids
        mask[row, : len(row_ids)] = 1
    return ids, mask
