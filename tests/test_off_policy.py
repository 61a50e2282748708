"""What another policy is worth: by hand, on average, and by logs of which the truth is known."""

import numpy as np
import pytest

from journeys_dagster.notification.off_policy import doubly_robust, inverse_propensity, self_normalised

REWARDS = np.array([1.0, 0.0, 1.0, 0.0])
LOGGED = np.array([0.5, 0.5, 0.25, 0.25])
POLICY = np.array([1.0, 0.0, 0.5, 0.5])
USERS = np.array([0, 1, 2, 3])
SEEN = (REWARDS, LOGGED, POLICY, USERS)


def test_a_log_by_hand() -> None:
    # Weights are 2, 0, 2, 2.
    found = inverse_propensity(*SEEN)
    assert found.value == pytest.approx((2 + 2) / 4)
    assert (found.effective, found.mean_weight) == pytest.approx((36 / 12, 1.5))
    assert found.error == pytest.approx(np.array([2, 0, 2, 0.0]).std(ddof=1) / 2)
    assert self_normalised(*SEEN).value == pytest.approx(4 / 6)
    guess = {"predicted": np.full(4, 0.5), "predicted_of_policy": np.full(4, 0.25)}
    assert doubly_robust(*SEEN, **guess).value == pytest.approx(0.25 + (2 * 0.5 + 2 * 0.5 - 2 * 0.5) / 4)


def test_the_policy_of_the_log_is_worth_what_came_of_it() -> None:
    same = (REWARDS, LOGGED, LOGGED, USERS)
    for found in (inverse_propensity(*same), self_normalised(*same)):
        assert (found.value, found.effective) == pytest.approx((0.5, 4))
        low, high = found.interval
        assert low < found.value < high


def test_decisions_of_one_user_do_not_count_as_those_of_several() -> None:
    rewards, logged, policy, users = (np.repeat(of, 50) for of in SEEN)
    error = inverse_propensity(rewards, logged, policy, users).error
    assert error == pytest.approx(inverse_propensity(*SEEN).error)
    assert inverse_propensity(rewards, logged, policy, np.arange(200)).error < error / 5


def test_impossible_logs_are_refused() -> None:
    with pytest.raises(ValueError, match="logged propensities lie above 0"):
        inverse_propensity(REWARDS, np.array([0.5, 0.0, 0.5, 0.5]), POLICY, USERS)
    with pytest.raises(ValueError, match="at least two users are needed"):
        self_normalised(REWARDS, LOGGED, POLICY, np.zeros(4, dtype=np.int64))
    assert np.isnan(self_normalised(REWARDS, LOGGED, np.zeros(4), USERS).value)


def test_estimates_are_right_on_average_and_a_good_model_makes_them_steadier() -> None:
    draw = np.random.default_rng(1)
    clicks = draw.random((600, 4)) * 0.6
    logged = draw.dirichlet(np.full(4, 2.0), size=600) * 0.8 + 0.05
    policy = draw.dirichlet(np.ones(4), size=600)
    truth, rows, found = (policy * clicks).sum(axis=1).mean(), np.arange(600), []
    for _ in range(300):
        taken = (logged.cumsum(axis=1) < draw.random((600, 1))).sum(axis=1)
        seen = (
            (draw.random(600) < clicks[rows, taken]).astype(float),
            logged[rows, taken],
            policy[rows, taken],
            rows,
        )
        model = {"predicted": clicks[rows, taken], "predicted_of_policy": (policy * clicks).sum(axis=1)}
        values = (inverse_propensity(*seen), self_normalised(*seen), doubly_robust(*seen, **model))
        found.append([(one.value - truth, abs(one.value - truth) < 2 * one.error) for one in values])
    off, within = np.moveaxis(np.array(found), 2, 0)
    assert (np.abs(off.mean(axis=0)) < 4 * off.std(axis=0) / np.sqrt(300)).all()
    # 95.4 % is what two standard errors promise; 300 trials tell it to 1.2 points.
    assert (within.mean(axis=0) > 0.92).all()
    assert off[:, 2].std() < off[:, 0].std()
