"""What a text is about, in a policy's categories, by its embedding: a small network that learnt from its phrases.

Fitted to the bundled policy and model it lies beside this file; for others it is fitted when it is first needed.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from journeys_dagster.inference.embedding import TextEmbedder
from journeys_dagster.inference.safety_policy import Policy

FILE = Path(__file__).with_suffix(".safetensors")
_ORDINARY = Path(__file__).with_name("safety_ordinary.txt")
"""What people look for every day: the simulated platform's texts, of the half that is tuned on."""
THINGS = Path(__file__).with_name("safety_things.txt")
"""What can be bought, eaten, grown, played and travelled to: nouns of WordNet, and whose they are."""
HARMLESS = "harmless"
_HARMLESS_SHARE = 2.0
"""Weight of all that is harmless together, as of all categories together, at most: a short policy is not drowned."""
_SHORTEST_TERM = 5
"""Characters of a term from which it is used for training by itself."""
_NETWORKS = 3
"""Their scores are averaged, which is one network of all their units: one alone is sure of things by chance."""
_HIDDEN_UNITS = 512
_DROPOUT = 0.6
_LABEL_SMOOTHING = 0.05
_INPUT_SCALE = 10.0
"""Makes the numbers of a unit vector of hundreds of dimensions about as large as a network expects."""
_EPOCHS = 25
_BATCH_SIZE = 256
_LEARNING_RATE = 2e-3
_FITTED: dict[tuple[str, str], "SafetyClassifier"] = {}
_ORDINARY_VECTORS: dict[str, NDArray[np.float32]] = {}


@dataclass(frozen=True)
class SafetyClassifier:
    """A fitted network of one hidden layer of rectified units.

    Attributes
    ----------
    policy_revision, model : str
        The policy whose phrases it has learnt, and the embedding model, see `embedding.model_identity`.
    classes : tuple of str
        `HARMLESS` and the policy's categories, in the order of the columns.
    hidden_weights : array of shape (dimensions, units), float32
    hidden_bias : array of shape (units,), float32
    weights : array of shape (units, classes), float32
    bias : array of shape (classes,), float32
    """

    policy_revision: str
    model: str
    classes: tuple[str, ...]
    hidden_weights: NDArray[np.float32]
    hidden_bias: NDArray[np.float32]
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]

    @property
    def dimensions(self) -> int:
        """Of the vectors that it takes."""
        return len(self.hidden_weights)

    def probabilities(self, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
        """Probability of each class, shape (texts, classes), of unit vectors of shape (texts, dimensions)."""
        hidden = np.maximum(vectors @ self.hidden_weights + self.hidden_bias, np.float32(0.0))
        scores = (hidden @ self.weights + self.bias).astype(np.float64)
        odds = np.exp(scores - scores.max(axis=1, keepdims=True, initial=-np.inf))
        return odds / odds.sum(axis=1, keepdims=True)

    def save(self, path: Path) -> None:
        """Write it as safetensors, in half precision, which it has been rounded to."""
        from safetensors.numpy import save_file

        arrays = {name: getattr(self, name).astype(np.float16) for name in _ARRAYS}
        about = {"policy": self.policy_revision, "model": self.model, "classes": json.dumps(self.classes)}
        save_file(arrays, path, metadata=about)


_ARRAYS = ("hidden_weights", "hidden_bias", "weights", "bias")


def learnt_phrases(policy: Policy) -> tuple[list[str], list[str]]:
    """What the classifier learns from: phrases of the policy, and the class of each.

    Terms that stand for many words are left out, and those too short to have a meaning of their own. Exceptions are
    harmless, and so is what people look for every day and what there is in the world: what it has seen nothing like, it
    takes for one of the policy's subjects.
    """
    phrases: dict[str, str] = dict.fromkeys(_ordinary(), HARMLESS)
    for category in policy.categories:
        terms = (term for term in category.terms if "*" not in term and len(term) >= _SHORTEST_TERM)
        phrases |= dict.fromkeys((*category.descriptions, *terms), category.name)
    for category in policy.categories:
        phrases |= dict.fromkeys((wording.replace("*", "") for wording in category.exceptions), HARMLESS)
    phrases |= dict.fromkeys(policy.harmless, HARMLESS)
    return list(phrases), list(phrases.values())


def fit_classifier(policy: Policy, embedder: TextEmbedder) -> SafetyClassifier:
    """Learn from a policy's phrases; the same phrases and model give the same classifier on one machine."""
    phrases, classes = learnt_phrases(policy)
    is_harmless = np.array([name == HARMLESS for name in classes])
    heaviest = _HARMLESS_SHARE * (~is_harmless).sum() / max(is_harmless.sum(), 1)
    names = sorted(set(classes))
    inputs = _embedded(phrases, embedder) * np.float32(_INPUT_SCALE)
    targets = np.array([names.index(name) for name in classes])
    weights = np.where(is_harmless, min(1.0, heaviest), 1.0).astype(np.float32)
    networks = [_fit_network(inputs, targets, weights, seed=seed) for seed in range(_NETWORKS)]
    layers = {
        "hidden_weights": np.hstack([first.weight.T for first, _ in networks]) * _INPUT_SCALE,
        "hidden_bias": np.hstack([first.bias for first, _ in networks]),
        "weights": np.vstack([last.weight.T for _, last in networks]) / _NETWORKS,
        "bias": np.mean([last.bias for _, last in networks], axis=0),
    }
    # In order, since safetensors writes an array's memory as it lies.
    rounded = {name: np.ascontiguousarray(array, np.float16).astype(np.float32) for name, array in layers.items()}
    return SafetyClassifier(policy.revision, embedder.identity, tuple(names), **rounded)


class _Layer(NamedTuple):
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]


def _fit_network(
    inputs: NDArray[np.float32], targets: NDArray[np.int64], weights: NDArray[np.float32], *, seed: int
) -> tuple[_Layer, _Layer]:
    """The two layers of one network, weights of shape (to, from)."""
    import torch
    from torch.nn import Dropout, Linear, ReLU, Sequential
    from torch.nn.functional import cross_entropy

    x, y, w = (torch.from_numpy(array) for array in (inputs, targets, weights))
    with torch.random.fork_rng(devices=[]), _one_thread():
        torch.manual_seed(seed)
        first, last = Linear(x.shape[1], _HIDDEN_UNITS), Linear(_HIDDEN_UNITS, int(y.max()) + 1)
        # Dropped units keep phrases from being learnt by heart; smoothed labels keep it from being too sure.
        network = Sequential(first, ReLU(), Dropout(_DROPOUT), last)
        optimizer = torch.optim.AdamW(network.parameters(), lr=_LEARNING_RATE)
        batches = -(-len(x) // _BATCH_SIZE)
        rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=_EPOCHS * batches + 1)
        for _ in range(_EPOCHS):
            for rows in torch.randperm(len(x)).split(_BATCH_SIZE):
                losses = cross_entropy(network(x[rows]), y[rows], reduction="none", label_smoothing=_LABEL_SMOOTHING)
                optimizer.zero_grad()
                (losses * w[rows]).mean().backward()
                optimizer.step()
                rate.step()
    of_first, of_last = (_Layer(layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in (first, last))
    return of_first, of_last


@contextmanager
def _one_thread() -> Iterator[None]:
    """Threads that wait for each other at every small step take ten times as long on a busy machine."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@lru_cache(maxsize=1)
def _ordinary() -> tuple[str, ...]:
    lines = [line for path in (_ORDINARY, THINGS) for line in path.read_text(encoding="utf-8").splitlines()]
    return tuple(dict.fromkeys(line for line in lines if not line.startswith("#")))


def _embedded(phrases: list[str], embedder: TextEmbedder) -> NDArray[np.float32]:
    """Vectors of phrases; those of ordinary texts, which every policy shares, are made once per process."""
    if embedder.identity not in _ORDINARY_VECTORS:
        _ORDINARY_VECTORS[embedder.identity] = embedder.embed(list(_ordinary()))
    places = {text: place for place, text in enumerate(_ordinary())}
    new = [phrase for phrase in phrases if phrase not in places]
    places |= {phrase: len(places) + place for place, phrase in enumerate(new)}
    vectors = np.concatenate([_ORDINARY_VECTORS[embedder.identity], embedder.embed(new)])
    return vectors[[places[phrase] for phrase in phrases]]


def safety_classifier(policy: Policy, embedder: TextEmbedder) -> SafetyClassifier:
    """The classifier of a policy and a model: from its file, or fitted once per process."""
    stored = stored_classifier()
    key = policy.revision, embedder.identity
    if stored is not None and key == (stored.policy_revision, stored.model):
        return stored
    if key not in _FITTED:
        _FITTED[key] = fit_classifier(policy, embedder)
    return _FITTED[key]


@lru_cache(maxsize=1)
def stored_classifier() -> SafetyClassifier | None:
    """The classifier that lies beside this file."""
    if not FILE.exists():
        return None
    from safetensors import safe_open

    with safe_open(FILE, framework="numpy") as file:
        about = file.metadata()
        arrays = {name: file.get_tensor(name).astype(np.float32) for name in _ARRAYS}
    return SafetyClassifier(about["policy"], about["model"], tuple(json.loads(about["classes"])), **arrays)
