"""Leave one corpus out: what is chosen for a corpus is chosen on the others, and told on it."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from journeys_dagster.settings import ClusterSettings
from lab.evaluation.clusterers import Baselines, Trees, journey_trees
from lab.evaluation.corpora import Corpus
from lab.evaluation.metrics import MEASURES, agreement

OURS, ALL_CHOSEN = "journeys", "journeys, weights chosen too"
STRAIGHT: dict[str, Any] = {"sharpness": 0.01}
"""So flat a curve that the linkage is the mean of the similarities themselves."""
WITHOUT: dict[str, dict[str, Any]] = {
    "without the curve": STRAIGHT,
    "without spelling": {"lexical_weight": 0.0},
    "without time": {"time_weight": 0.0},
    "without shared items": {"shared_item_weight": 0.0},
    "without kinds of items": {"other_kind_weight": 0.0},
}
WEIGHTS: dict[str, Sequence[float]] = {
    "sharpness": (8.0, 12.0),
    "lexical_weight": (0.1, 0.2),
    "time_weight": (0.25, 0.35),
    "shared_item_weight": (0.3, 0.5),
}

Grow = Callable[[Corpus], Trees]


@dataclass(frozen=True)
class Choice:
    """Trees and where they are cut.

    Attributes
    ----------
    text : str
        What differs from the shipped settings.
    grow : callable
    threshold : float
    """

    text: str
    grow: Grow
    threshold: float

    def __str__(self) -> str:
        return f"threshold {self.threshold:.2f}{self.text and f', {self.text}'}"


@dataclass(frozen=True)
class LeftOut:
    """One method, measured.

    Attributes
    ----------
    chosen : dict of str to Choice
        By corpus: the best on the others.
    scores : dict of str to DataFrame
        By corpus: `agreement` of its users.
    overall : Choice
        The best on all corpora.
    """

    chosen: dict[str, Choice]
    scores: dict[str, pl.DataFrame]
    overall: Choice


def methods(settings: ClusterSettings) -> dict[str, list[Choice]]:
    """The baselines, the journeys without each part, and the journeys; each with what there is to choose from."""

    def ours(**changed: float) -> Grow:
        changed_settings = settings.model_copy(update=changed)
        return lambda corpus: journey_trees(corpus, changed_settings)

    def cuts(text: str, grow: Grow, start: float = 0.3, stop: float = 0.8) -> list[Choice]:
        return [Choice(text, grow, round(float(at), 2)) for at in np.arange(start, stop, 0.02)]

    every = [dict(zip(WEIGHTS, values, strict=True)) for values in itertools.product(*WEIGHTS.values())]
    return {
        "character tf-idf": cuts("", lambda corpus: Baselines(corpus).character_tfidf, 0.6, 0.98),
        "embedding only": cuts("", lambda corpus: Baselines(corpus).embedding_only, 0.5, 0.9),
        **{name: cuts("", ours(**changed)) for name, changed in WITHOUT.items()},
        OURS: cuts("", ours()),
        ALL_CHOSEN: [
            choice
            for weights in every
            for choice in cuts(", ".join(f"{name} {value:g}" for name, value in weights.items()), ours(**weights))
        ],
    }


def leave_one_out(corpora: Mapping[str, Corpus], told: Mapping[str, Corpus], choices: Sequence[Choice]) -> LeftOut:
    """For each corpus the choice that is best on the others, by the mean of both F over users and corpora.

    Parameters
    ----------
    corpora : mapping of str to Corpus
        What is chosen on.
    told : mapping of str to Corpus
        In place of those of the same name, what is told of them.
    choices : sequence of Choice
    """
    scores = {name: _all_scores(corpus, choices) for name, corpus in corpora.items()}
    values = {name: np.array([_value(found) for found in of_choices]) for name, of_choices in scores.items()}

    def best(names: Sequence[str]) -> int:
        return int(np.argmax(np.mean([values[name] for name in names], axis=0)))

    chosen = {held: best([name for name in corpora if name != held]) for held in corpora}
    return LeftOut(
        chosen={name: choices[place] for name, place in chosen.items()},
        scores={
            name: _all_scores(told[name], [choices[place]])[0] if name in told else scores[name][place]
            for name, place in chosen.items()
        },
        overall=choices[best(list(corpora))],
    )


def _all_scores(corpus: Corpus, choices: Sequence[Choice]) -> list[pl.DataFrame]:
    """Scores by choice; choices that grow the same trees lie side by side."""
    found = []
    for grow, at in itertools.groupby(choices, key=lambda choice: choice.grow):
        trees = grow(corpus)
        found += [agreement(trees.cut(choice.threshold)) for choice in at]
    return found


def _value(scores: pl.DataFrame) -> float:
    return float(np.mean(scores.select(MEASURES[2:]).mean().row(0)))
