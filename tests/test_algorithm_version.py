"""The fingerprint: it changes with every part that decides results, and with nothing else."""

import json
import re

from journeys_dagster.inference.algorithm import Algorithm, current_algorithm

SETTINGS = {"clusters": {"distance_threshold": 0.6, "max": 400}, "ranking": {"decay": 30.0}}
SQL = {"keywords": "aaa", "items": "bbb"}
STEPS = {"clusters": "ccc", "names": "ddd"}


def algorithm(settings=SETTINGS, model="model@1", policy="policy@1", steps=STEPS, sql=SQL) -> Algorithm:
    return current_algorithm(
        settings=settings,
        model_revision=model,
        policy_revision=policy,
        step_code_versions=steps,
        sql_code_versions=sql,
    )


def test_the_version_is_twelve_hexadecimal_digits_that_stay():
    assert re.fullmatch(r"[0-9a-f]{12}", algorithm().version)
    assert algorithm() == algorithm()


def test_the_order_of_settings_and_models_plays_no_part():
    settings = {"ranking": {"decay": 30.0}, "clusters": {"max": 400, "distance_threshold": 0.6}}
    reordered = algorithm(settings=settings, steps=dict(reversed(STEPS.items())), sql=dict(reversed(SQL.items())))
    assert reordered == algorithm()


def test_every_part_changes_the_version():
    versions = [
        algorithm().version,
        algorithm(settings={**SETTINGS, "ranking": {"decay": 31.0}}).version,
        algorithm(settings={**SETTINGS, "clusters": {"distance_threshold": 0.6}}).version,
        algorithm(settings={**SETTINGS, "extra": 0}).version,
        algorithm(model="model@2").version,
        algorithm(policy="policy@2").version,
        algorithm(steps={**STEPS, "names": "eee"}).version,
        algorithm(steps={"names": "ddd"}).version,
        algorithm(sql={**SQL, "items": "ccc"}).version,
        algorithm(sql={"keywords": "aaa"}).version,
        algorithm(sql={"keywords": "bbb", "items": "aaa"}).version,
    ]
    assert len(set(versions)) == len(versions)


def test_parts_say_what_changed():
    before, after = algorithm().parts, algorithm(steps={**STEPS, "names": "eee"}, sql={**SQL, "items": "ccc"}).parts
    assert {name for name in before if before[name] != after[name]} == {"step names", "model items"}
    assert json.loads(before["clusters.distance_threshold"]) == 0.6
