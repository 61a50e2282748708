"""What a text is about, in a policy's categories, by its embedding: a logistic regression on the policy's own phrases.

Fitted to the bundled policy and model it lies beside this file; for others it is fitted when it is first needed.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from journeys_dagster.inference.embedding import TextEmbedder
from journeys_dagster.inference.safety_policy import Policy

FILE = Path(__file__).with_suffix(".json")
_ORDINARY = Path(__file__).with_name("safety_ordinary.txt")
"""What people look for every day: the simulated platform's texts, of the half that is tuned on."""
HARMLESS = "harmless"
_INVERSE_REGULARISATION = 10.0
_HARMLESS_SHARE = 2.0
"""Weight of all that is harmless together, as of all categories together, at most: a short policy is not drowned."""
_SHORTEST_TERM = 5
"""Characters of a term from which it says enough by itself to be learnt from."""
_DECIMALS = 4
_FITTED: dict[tuple[str, str], "SafetyClassifier"] = {}
_ORDINARY_VECTORS: dict[str, NDArray[np.float32]] = {}


@dataclass(frozen=True)
class SafetyClassifier:
    """A fitted multinomial logistic regression.

    Attributes
    ----------
    policy_revision, model_revision : str
        The policy whose phrases it has learnt, and the embedding model.
    classes : tuple of str
        `HARMLESS` and the policy's categories, in the order of the columns.
    weights : array of shape (dimensions, classes), float64
    bias : array of shape (classes,), float64
    """

    policy_revision: str
    model_revision: str
    classes: tuple[str, ...]
    weights: NDArray[np.float64]
    bias: NDArray[np.float64]

    def probabilities(self, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
        """Probability of each class, shape (texts, classes), of unit vectors of shape (texts, dimensions)."""
        scores = vectors.astype(np.float64) @ self.weights + self.bias
        odds = np.exp(scores - scores.max(axis=1, keepdims=True, initial=-np.inf))
        return odds / odds.sum(axis=1, keepdims=True)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        content = {
            "policy": self.policy_revision,
            "model": self.model_revision,
            "classes": list(self.classes),
            "bias": self.bias.tolist(),
        }
        weights = ",\n".join(json.dumps(row.tolist()) for row in self.weights)
        path.write_text(f'{json.dumps(content)[:-1]}, "weights": [\n{weights}\n]}}\n', encoding="utf-8")


def learnt_phrases(policy: Policy) -> tuple[list[str], list[str]]:
    """What the classifier learns from: phrases of the policy, and the class of each.

    Terms that stand for many words are left out, and those too short to have a meaning of their own. Exceptions are
    harmless, and so is what people look for every day: without it one in twenty-five ordinary texts was blocked.
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
    """Learn from a policy's phrases; the same phrases and model give the same classifier."""
    from sklearn.linear_model import LogisticRegression

    phrases, classes = learnt_phrases(policy)
    is_harmless = np.array([name == HARMLESS for name in classes])
    heaviest = _HARMLESS_SHARE * (~is_harmless).sum() / max(is_harmless.sum(), 1)
    # The problem is convex: whatever the order, the same minimum.
    fitted = LogisticRegression(C=_INVERSE_REGULARISATION, max_iter=500, tol=1e-3).fit(
        _embedded(phrases, embedder), classes, sample_weight=np.where(is_harmless, min(1.0, heaviest), 1.0)
    )
    weights, bias = _symmetric(fitted.coef_.T, fitted.intercept_)
    return SafetyClassifier(
        policy.revision,
        embedder.revision,
        tuple(map(str, fitted.classes_)),
        weights.round(_DECIMALS),
        bias.round(_DECIMALS),
    )


@lru_cache(maxsize=1)
def _ordinary() -> tuple[str, ...]:
    return tuple(_ORDINARY.read_text(encoding="utf-8").splitlines())


def _embedded(phrases: list[str], embedder: TextEmbedder) -> NDArray[np.float32]:
    """Vectors of phrases; those of ordinary texts, which every policy shares, are made once per process."""
    if embedder.revision not in _ORDINARY_VECTORS:
        _ORDINARY_VECTORS[embedder.revision] = embedder.embed(list(_ordinary()))
    places = {text: place for place, text in enumerate(_ordinary())}
    new = [phrase for phrase in phrases if phrase not in places]
    places |= {phrase: len(places) + place for place, phrase in enumerate(new)}
    vectors = np.concatenate([_ORDINARY_VECTORS[embedder.revision], embedder.embed(new)])
    return vectors[[places[phrase] for phrase in phrases]]


def _symmetric(
    weights: NDArray[np.float64], bias: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of two classes scikit-learn gives the weights of the second against the first."""
    if weights.shape[1] > 1:
        return weights, bias
    return np.hstack([-weights / 2, weights / 2]), np.concatenate([-bias / 2, bias / 2])


def safety_classifier(policy: Policy, embedder: TextEmbedder) -> SafetyClassifier:
    """The classifier of a policy and a model: from its file, or fitted once per process."""
    stored = stored_classifier()
    key = policy.revision, embedder.revision
    if stored is not None and key == (stored.policy_revision, stored.model_revision):
        return stored
    if key not in _FITTED:
        _FITTED[key] = fit_classifier(policy, embedder)
    return _FITTED[key]


@lru_cache(maxsize=1)
def stored_classifier() -> SafetyClassifier | None:
    """The classifier that lies beside this file."""
    if not FILE.exists():
        return None
    content = json.loads(FILE.read_text(encoding="utf-8"))
    return SafetyClassifier(
        content["policy"],
        content["model"],
        tuple(content["classes"]),
        np.array(content["weights"], dtype=np.float64),
        np.array(content["bias"], dtype=np.float64),
    )
