"""The fingerprint: it changes with every part that decides results, and with nothing else."""

import re

import pytest

from journeys_dagster.inference import algorithm
from journeys_dagster.inference.algorithm import STEP_CODE_VERSIONS, algorithm_version

SETTINGS = {"clusters": {"distance_threshold": 0.6, "max": 400}, "ranking": {"decay": 30.0}}
SQL = {"keywords": "aaa", "items": "bbb"}


def version(settings=SETTINGS, model="model@1", policy="policy@1", sql=SQL) -> str:
    return algorithm_version(settings=settings, model_revision=model, policy_revision=policy, sql_code_versions=sql)


def test_the_version_is_twelve_hexadecimal_digits_that_stay():
    assert re.fullmatch(r"[0-9a-f]{12}", version())
    assert version() == version()


def test_the_order_of_settings_and_models_plays_no_part():
    settings = {"ranking": {"decay": 30.0}, "clusters": {"max": 400, "distance_threshold": 0.6}}
    assert version(settings=settings, sql=dict(reversed(SQL.items()))) == version()


def test_every_part_changes_the_version():
    versions = [
        version(),
        version(settings={**SETTINGS, "ranking": {"decay": 31.0}}),
        version(settings={**SETTINGS, "clusters": {"distance_threshold": 0.6}}),
        version(settings={**SETTINGS, "extra": {}}),
        version(model="model@2"),
        version(policy="policy@2"),
        version(sql={**SQL, "items": "ccc"}),
        version(sql={"keywords": "aaa"}),
        version(sql={"keywords": "bbb", "items": "aaa"}),
    ]
    assert len(set(versions)) == len(versions)


@pytest.mark.parametrize("step", STEP_CODE_VERSIONS)
def test_raising_a_steps_code_version_changes_the_version(monkeypatch: pytest.MonkeyPatch, step: str):
    before = version()
    monkeypatch.setattr(algorithm, "STEP_CODE_VERSIONS", {**STEP_CODE_VERSIONS, step: "next"})
    assert version() != before
