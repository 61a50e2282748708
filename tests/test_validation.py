"""Leaving a corpus out: what is told of it was chosen without it."""

import numpy as np
import polars as pl

from journeys_dagster.settings import Settings
from lab.evaluation.clusterers import Trees
from lab.evaluation.corpora import Corpus
from lab.evaluation.validation import OURS, WITHOUT, Choice, leave_one_out, methods


def pair(together: bool) -> Corpus:
    """A user with two keywords, which truly belong together or not."""
    rows = {"user_id": ["u", "u"], "keyword": ["a", "b"], "code": [0, 1], "truth": ["x", "x" if together else "y"]}
    return Corpus(pl.DataFrame(rows), np.eye(2, dtype=np.float32))


def merged_at_half(corpus: Corpus) -> Trees:
    return Trees(corpus, [np.array([[0.0, 1.0, 0.5, 2.0]])])


FINE, COARSE = (Choice("", merged_at_half, threshold) for threshold in (0.4, 0.6))


def test_the_one_that_differs_gets_what_the_others_want():
    corpora = {"one": pair(True), "two": pair(True), "odd": pair(False)}
    found = leave_one_out(corpora, {}, [FINE, COARSE])
    assert found.chosen["odd"] == COARSE
    assert found.scores["odd"]["b3_precision"].to_list() == [0.5]
    assert found.overall == COARSE
    assert found.scores["one"]["user_id"].to_list() == ["u"]


def test_what_is_told_takes_no_part_in_choosing():
    corpora = {"one": pair(True), "world": pair(True)}
    found = leave_one_out(corpora, {"world": pair(False)}, [FINE, COARSE])
    assert found.chosen == {"one": COARSE, "world": COARSE}
    assert found.scores["world"]["pair_f"].to_list() == [0.0]
    assert found.scores["one"]["pair_f"].to_list() == [1.0]


def test_every_method_can_be_cut_finely_and_coarsely():
    for choices in methods(Settings().clusters).values():
        thresholds = [choice.threshold for choice in choices]
        assert min(thresholds) <= 0.6
        assert max(thresholds) >= 0.78
    assert set(WITHOUT) < set(methods(Settings().clusters))


def test_the_shipped_threshold_is_among_those_to_choose_from():
    chosen = Settings().clusters
    assert chosen.distance_threshold in [choice.threshold for choice in methods(chosen)[OURS]]
