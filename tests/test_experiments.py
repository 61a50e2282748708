"""Experiments on users: what a file may say, who is in which arm, and that their arm's settings decide."""

import tomllib
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_notification import DAY, PLAIN, World, decided, world

from journeys_dagster.environment import DEFAULT_SETTINGS, HOME_VARIABLE
from journeys_dagster.notification.arms import CONTROL_ARM, arms_of, decide_by_arm
from journeys_dagster.settings import Experiment, ExperimentsError, NotificationSettings, Settings, load_settings
from journeys_dagster.settings.experiments import experiments_of

BASE = Settings().notifications
START = date(2026, 3, 1)
GOOD: Mapping[str, Any] = {
    "start": START,
    "control": "as now",
    "metrics": ["clicks_per_send"],
    "minimum_days": 14,
    "arms": {"as now": {"share": 0.5}, "other": {"share": 0.5, "notifications": {"cooldown_days": 14}}},
}
USERS = pl.Series([f"u{number:05}" for number in range(20_000)])


def experiment(name: str = "cooldown", **changed: Any) -> Experiment:
    (found,) = experiments_of({name: {**GOOD, **changed}}, BASE, place="here")
    return found


def told(users: list[str]) -> World:
    """Everyone has one journey, and was notified of it eight days ago."""
    return world(
        journeys=[(user, "j", "ongoing", True, 0.9, 0.9) for user in users],
        sent=[(user, "j", "push", DAY - timedelta(days=8)) for user in users],
    )


def other_arm(**keys: Any) -> dict[str, Any]:
    return {"arms": {"as now": {"share": 0.5}, "other": {"share": 0.5, **keys}}}


def test_the_example_that_is_shipped_can_be_had() -> None:
    text = (DEFAULT_SETTINGS.parent / "experiments.example.toml").read_text(encoding="utf-8")
    cooldown, silence = experiments_of(tomllib.loads(text), BASE, place="the example")
    # What it explains is all there is.
    written = {"name", *tomllib.loads(text)["cooldown"]}
    assert written == set(Experiment.model_fields)
    assert silence.arms["none"].sends is False
    assert cooldown.compared == ["two weeks", "two weeks, best push"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"colour": "red"}, "unknown key 'colour'"),
        ({"start": "soon"}, "'start': Input should be a valid date"),
        ({"control": "none"}, "control: there is no arm 'none'"),
        ({"metrics": ["money"]}, "'metrics.0': Input should be 'opens_per_send'"),
        ({"metrics": ["opt_outs"], "guardrails": {"opt_outs": 0.1}}, "guardrails: opt_outs is among the metrics too"),
        ({"end": START}, "end: 2026-03-01 is before the minimum run of 14 days is over"),
        ({"minimum_users": 10}, "'minimum_users': Input should be greater than or equal to 100"),
        ({"arms": {"as now": {"share": 0.6}, "other": {"share": 0.6}}}, "arms: their shares add up to 1.2"),
        ({"arms": {"as now": {"share": 1.0}, "other": {"share": 0}}}, "arms: nobody is in 'other': share is 0"),
        (other_arm(notifications={"cooldown": 3}), "unknown key 'arms.other.notifications.cooldown'"),
        (other_arm(notifications={"cooldown_days": 0}), "'arms.other.notifications.cooldown_days': Input should be"),
        (
            other_arm(notifications={"channels": {"push": {"min_scor": 0.1}}}),
            "unknown key 'arms.other.notifications.channels.push.min_scor'",
        ),
        (
            other_arm(notifications={"holdout_share": 0.1}),
            "'arms.other.notifications.holdout_share': it has to be the same for everyone",
        ),
        (
            other_arm(ranking={"return_days": 7}),
            "'arms.other.ranking': arms change [notifications] alone; journeys are",
        ),
    ],
)
def test_what_cannot_be_had_is_named_with_file_experiment_and_key(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ExperimentsError) as error:
        experiment(**changed)
    assert str(error.value).startswith("here: experiment 'cooldown': ")
    assert said in str(error.value)


def test_experiments_that_change_the_same_setting_do_not_run_at_once() -> None:
    def both(start: date) -> Any:
        return experiments_of(
            {"one": {**GOOD, "end": START + timedelta(days=20)}, "two": {**GOOD, "start": start}}, BASE, place="here"
        )

    with pytest.raises(ExperimentsError, match="'one' and 'two' run at once and both change cooldown_days"):
        both(START + timedelta(days=20))
    assert len(both(START + timedelta(days=21))) == 2


def test_a_home_may_have_a_file_of_experiments_and_settings_may_name_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    assert not load_settings(DEFAULT_SETTINGS).experiments.declared
    written = (
        "[cooldown]\nstart = 2026-03-01\ncontrol = 'a'\nmetrics = ['active_days']\nminimum_days = 7\n"
        "arms.a = { share = 0.5 }\narms.b = { share = 0.5, sends = false }\n"
    )
    (tmp_path / "experiments.toml").write_text(written)
    (found,) = load_settings(DEFAULT_SETTINGS).experiments.declared
    assert (found.name, found.compared, found.arms["b"].sends) == ("cooldown", ["b"], False)
    own = tmp_path / "journeys.toml"
    own.write_text('[experiments]\nfile = "elsewhere.toml"\n')
    with pytest.raises(ExperimentsError, match=r"experiments file elsewhere\.toml does not exist: see setting"):
        load_settings(own)
    (tmp_path / "experiments.toml").write_text("cooldown = 3\n")
    with pytest.raises(ExperimentsError, match="experiment 'cooldown' is no table"):
        load_settings(DEFAULT_SETTINGS)


@given(shares=st.lists(st.integers(1, 10), min_size=2, max_size=5), salt=st.text(max_size=5), left=st.integers(0, 5))
@settings(max_examples=15, deadline=None)
def test_arms_have_their_shares_and_stay_whatever_users_are_beside(shares: list[int], salt: str, left: int) -> None:
    total = sum(shares) + left
    arms = {f"a{place}": {"share": share / total} for place, share in enumerate(shares)}
    each = experiment(control="a0", arms=arms)
    users = USERS[:4_000]
    found = arms_of(users, each, salt)
    expected = np.array([*shares, left]) / total
    # Five standard errors: of 15 examples of up to six shares one in 20,000 runs would fail by chance.
    error = 5 * np.sqrt(expected * (1 - expected) / len(users))
    counts = np.bincount(np.where(found < 0, len(shares), found), minlength=len(shares) + 1)
    assert (np.abs(counts / len(users) - expected) <= error + 1e-12).all()
    places = np.random.default_rng(1).permutation(len(users))[:500]
    assert np.array_equal(arms_of(users.gather(places), each, salt), found[places])


def test_experiments_are_independent_of_one_another_and_of_the_holdout() -> None:
    from journeys_dagster.notification.draws import draws, user_seeds

    one, two = (arms_of(USERS, experiment(name), "salt") for name in ("one", "two"))
    held_out = draws(user_seeds(USERS, "salt"), 0) < 0.5
    for left, right in ((one, two), (one, held_out), (two, held_out)):
        agreed = (left == right).mean()
        assert abs(agreed - 0.5) < 4 * 0.5 / np.sqrt(len(USERS))
    assert not np.array_equal(arms_of(USERS, experiment("one"), "pepper"), one)


def test_each_user_is_decided_on_by_the_settings_of_their_arms() -> None:
    users = [f"u{number}" for number in range(300)]
    rows = told(users)
    cooldown = experiment("cooldown", start=DAY)
    silence = experiment("silence", start=DAY, **other_arm(sends=False))
    later = experiment("later", start=DAY + timedelta(days=1), **other_arm(notifications={"max_per_day": 0}))

    def decide_on(some: pl.Series, own: NotificationSettings) -> pl.DataFrame:
        return decided(some.to_list(), rows, own)

    found = decide_by_arm(pl.Series(users), decide_on, [cooldown, silence, later], day=DAY, settings=PLAIN)
    assert found["user_id"].to_list() == sorted(users)
    arms = {
        user: {one["experiment"]: one["arm"] for one in of} for user, of in found.select("user_id", "arms").iter_rows()
    }
    reasons = dict(found.select("user_id", "reason").iter_rows())
    expected = {
        ("as now", "as now"): "best",
        ("other", "as now"): "cool-down",
        ("as now", "other"): CONTROL_ARM,
        ("other", "other"): CONTROL_ARM,
    }
    said = {user: (of["cooldown"], of["silence"]) for user, of in arms.items()}
    assert {reasons[user] == expected[of] for user, of in said.items()} == {True}
    assert set(said.values()) == set(expected)
    assert all(of.keys() == {"cooldown", "silence"} for of in arms.values())
    names = list(cooldown.arms)
    placed = [names[place] for place in arms_of(pl.Series(users), cooldown, PLAIN.salt)]
    assert [arms[user]["cooldown"] for user in users] == placed


def test_without_an_experiment_users_are_in_no_arm() -> None:
    found = decide_by_arm(
        pl.Series(["u"]), lambda some, own: decided(some.to_list(), told(["u"]), own), [], day=DAY, settings=PLAIN
    )
    assert found["arms"].to_list() == [[]]
    assert found["reason"].to_list() == ["best"]
