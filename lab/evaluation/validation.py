"""Cross-validation of the cluster settings: fitted on some users, scored on the others."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from journeys_dagster.settings import ClusterSettings
from lab.evaluation.clusterers import Baselines, journeys
from lab.evaluation.corpora import Corpus
from lab.evaluation.metrics import MEASURES, agreement

FOLDS, REPEATS, ROUNDS = 5, 3, 2
# Not the shipped settings: those were chosen with a look at the corpus that is to be judged here.
START: dict[str, Any] = {
    "distance_threshold": 0.55,
    "lexical_weight": 0.3,
    "search_time_weight": 0.3,
    "shared_item_weight": 0.2,
    "sharpness": 5.0,
    "saturation": 0.75,
    "size_weight": 0.0,
    "background_weight": 0.0,
}
CANDIDATES: dict[str, Sequence[float]] = {
    "sharpness": (5.0, 8.0, 10.0, 12.0),
    "distance_threshold": (0.5, 0.53, 0.55, 0.57, 0.59, 0.61, 0.63, 0.66),
    "background_weight": (0.0, 0.5, 1.0, 1.5),
    "size_weight": (0.0, 0.05, 0.1, 0.15),
    "search_time_weight": (0.25, 0.3, 0.35, 0.4),
    "lexical_weight": (0.1, 0.2, 0.3),
    "shared_item_weight": (0.1, 0.2, 0.3),
}
_THRESHOLDS = {
    "character tf-idf, threshold fitted": np.arange(0.7, 0.97, 0.02),
    "embedding only, threshold fitted": np.arange(0.5, 0.82, 0.02),
}

Choice = tuple[tuple[str, float], ...]


def cross_validate(corpus: Corpus, *, seed: int = 0, progress: Callable[[float], None] | None = None) -> dict:
    """Fit the settings by coordinate search within each fold, and score the users left out.

    Returns
    -------
    dict of str to DataFrame
        For the journeys and the baselines: `agreement` of every user, from the folds in which it was left out; one
        row per user and repeat.
    """
    fitted = _FittedJourneys(corpus)
    baselines = Baselines(corpus)
    trees = dict(zip(_THRESHOLDS, (baselines.character_tfidf, baselines.embedding_only), strict=True))
    cuts = {
        name: {float(threshold): agreement(trees[name].cut(threshold)) for threshold in thresholds}
        for name, thresholds in _THRESHOLDS.items()
    }
    left_out: dict[str, list[pl.DataFrame]] = {"journeys, settings fitted": [], **{name: [] for name in cuts}}
    users = np.array(corpus.users)
    done = 0
    for repeat in range(REPEATS):
        shuffled = np.random.default_rng(seed + repeat).permutation(users)
        for fold in range(FOLDS):
            test = shuffled[fold::FOLDS].tolist()
            train = [user for user in shuffled.tolist() if user not in set(test)]
            if test and train:
                left_out["journeys, settings fitted"].append(_of(fitted.scores(fitted.fit(train)), test))
                for name, by_threshold in cuts.items():
                    best = max(by_threshold, key=lambda threshold: _value(_of(by_threshold[threshold], train)))
                    left_out[name].append(_of(by_threshold[best], test))
            done += 1
            if progress is not None:
                progress(done / (FOLDS * REPEATS))
    return {name: pl.concat(parts) for name, parts in left_out.items()}


class _FittedJourneys:
    """Scores of settings on all users, each computed once."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self._scores: dict[Choice, pl.DataFrame] = {}

    def scores(self, choice: Mapping[str, float]) -> pl.DataFrame:
        key = tuple(sorted(choice.items()))
        if key not in self._scores:
            self._scores[key] = agreement(journeys(self._corpus, _settings(choice)))
        return self._scores[key]

    def fit(self, users: Sequence[str]) -> dict[str, float]:
        """The best settings for some users: one setting after the other, until a round changes nothing."""
        best = dict(START)
        value = _value(_of(self.scores(best), users))
        for _ in range(ROUNDS):
            before = dict(best)
            for name, candidates in CANDIDATES.items():
                for candidate in candidates:
                    choice = best | {name: candidate}
                    found = _value(_of(self.scores(choice), users))
                    if found > value:
                        best, value = choice, found
            if best == before:
                break
        return best


def _settings(choice: Mapping[str, float]) -> ClusterSettings:
    parts: dict[str, Any] = dict(choice)
    shipped = ClusterSettings()  # type: ignore[call-arg]
    parts["time_weights"] = {**shipped.time_weights, "search": parts.pop("search_time_weight")}
    return ClusterSettings.model_validate(parts)


def _of(scores: pl.DataFrame, users: Sequence[str]) -> pl.DataFrame:
    return scores.filter(pl.col("user_id").is_in(list(users)))


def _value(scores: pl.DataFrame) -> float:
    """What is fitted for: the mean of both F measures."""
    means = scores.select(MEASURES[2:]).mean().row(0)
    return sum(means) / len(means)
