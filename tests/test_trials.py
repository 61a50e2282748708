"""Benchmarks of experiments and policies: what they count is what the production code says."""

import numpy as np
import pytest

from journeys_dagster.settings import Settings
from lab.benchmark import Run
from lab.evaluation.experiments import Experiments
from lab.evaluation.policies import LOGGED, Choices, estimate

pytest.importorskip("tea_tasting", reason="the extra `experiments` is not installed")


@pytest.mark.slow
def test_daily_looks_are_those_of_the_readout_and_known_lifts_are_known() -> None:
    found = Experiments(experiments=3, users=1500).measure(Run(Settings()))
    assert float(found.notes[1].rsplit(" ", 1)[1]) < 1e-9
    known = {row["metric"]: row["true_lift"] for row in found.figures["known_lifts"].to_dicts()}
    assert known["opens_per_send"] == pytest.approx(0.05, abs=0.02)
    assert known["opt_outs"] < -0.2


def test_a_log_is_drawn_with_the_propensities_that_are_logged() -> None:
    choices = Choices(
        decision=np.array([0, 0, 1, 1, 1]),
        user=np.array([0, 1]),
        clicks=np.array([1.0, 0.0, 1.0, 0.0, 0.0]),
        scores={name: np.array([3.0, 1.0, 1.0, 2.0, 0.0]) for name in (LOGGED, "other", "random")},
    )
    assert choices.probabilities(LOGGED, 0.3) == pytest.approx([0.85, 0.15, 0.1, 0.8, 0.1])
    assert choices.probabilities("other", 0.0).tolist() == [1, 0, 0, 1, 0]
    policies = {name: choices.probabilities(name, 0.3) for name in choices.scores}
    rows = [estimate(choices, policies, np.random.default_rng(seed))[0] for seed in range(400)]
    assert rows[0]["truth"] == pytest.approx((0.85 + 0.1) / 2)
    assert np.mean([row["value"] for row in rows]) == pytest.approx(rows[0]["truth"], abs=0.06)
