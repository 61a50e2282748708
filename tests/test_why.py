"""Why a journey is listed: parts that make up its score, counts that are those of the log, words that say the same."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from conftest import Pipeline
from numpy.typing import NDArray

from journeys_dagster.cli import cli
from journeys_dagster.inference.ranking import rank_by_model
from journeys_dagster.inference.ranking_model import RankingModel, feature_matrix, feature_names
from journeys_dagster.resources.home import Home
from journeys_dagster.serving.contributions import model_contributions
from journeys_dagster.serving.evidence import Evidence, NoSuchJourneyError, read_evidence
from journeys_dagster.serving.service import Journeys
from journeys_dagster.serving.why import explain
from journeys_dagster.sources.parameters import action_names
from journeys_dagster.training.ranker import PARAMETERS


@pytest.fixture(scope="module")
def finished(finished_home: Path) -> Pipeline:
    """The finished world, put together once; only to be read."""
    return Pipeline(Home(finished_home))


def trained(features: pl.DataFrame, actions: list[str], *, rounds: int) -> RankingModel:
    """Trees that were fitted to chance."""
    import xgboost

    names = feature_names(features, actions)
    labels = np.random.default_rng(4).integers(0, 2, size=len(features))
    matrix = xgboost.DMatrix(feature_matrix(features), labels, feature_names=names)
    trees = xgboost.train({**PARAMETERS, "min_child_weight": 1, "nthread": 1}, matrix, rounds).save_raw("ubj")
    return RankingModel("chance", bytes(trees), tuple(names), ((0.0, 1.0), (0.0, 1.0)))


def errors(model: RankingModel, features: pl.DataFrame, actions: list[str]) -> NDArray[np.float64]:
    """How far the contributions are from making up each score."""
    added = model_contributions(model, features, actions).sum(axis=1)
    return np.abs(1 / (1 + np.exp(-added)) - model.scores(features, actions))


def explained(evidence: Evidence, pipeline: Pipeline, on: date, **changed: Any) -> dict[str, Any]:
    settings = pipeline.settings
    given = {"min_confidence": settings.output.min_confidence, "actions": action_names(settings), **changed}
    return explain(evidence, on=on, described={}, **given)


def test_the_contributions_of_a_model_make_up_its_scores(finished: Pipeline):
    features, actions = finished.table("journey_features"), action_names(finished.settings)
    assert errors(trained(features, actions, rounds=20), features, actions).max() < 1e-6


@pytest.mark.slow
def test_the_contributions_of_a_large_model_make_up_10_000_scores(
    finished: Pipeline, record_property: Callable[[str, object], None]
):
    features, actions = finished.table("journey_features"), action_names(finished.settings)
    many = pl.concat([features] * (10_000 // len(features) + 1)).sample(10_000, seed=1)
    shaken = many.with_columns(pl.col(pl.Float64) * pl.Series(np.random.default_rng(2).uniform(0.5, 2, len(many))))
    largest = float(errors(trained(features, actions, rounds=600), shaken, actions).max())
    record_property("largest_error", f"{largest:.1e}")
    assert largest < 1e-6


def test_the_heuristics_factors_make_up_the_score_of_each_listed_journey(finished: Pipeline):
    listed = finished.table("current_user_journeys").sort("user_id", "rank").head(20)
    with finished.warehouse.read() as connection:
        for row in listed.iter_rows(named=True):
            evidence = read_evidence(connection, row["user_id"], row["journey_id"])
            told = explained(evidence, finished, row["read_on"])
            place = told["place"]
            assert place["adds_up"], place
            assert np.prod([part["factor"] for part in place["parts"]]) == pytest.approx(row["score"], abs=1e-6)
            assert told["events"]["total"] == row["search_count"] + row["action_count"]
            assert told["events"]["by_source"].get("search", 0) == row["search_count"]
            assert told["stage"]["stage"] == row["stage"]
            assert [each["keyword"] for each in told["keywords"]] == [each["shown"] for each in row["keywords"]]
            assert told["history"]["names"][-1]["name"] == row["name"]
            assert told["history"]["since"] <= str(row["as_of"])
        row = listed.row(0, named=True)
        evidence = read_evidence(connection, row["user_id"], row["journey_id"])
    others = explained(evidence, finished, row["read_on"], min_confidence=1.0)
    assert not others["place"]["adds_up"]
    assert "settings have changed" in " ".join(others["words"])


def test_the_models_contributions_make_up_the_score_of_a_journey(finished: Pipeline):
    actions = action_names(finished.settings)
    user, journey = finished.table("current_user_journeys").row(0, named=True)["user_id"], None
    day = finished.table("current_user_journeys", f"user_id = '{user}'")["as_of"][0]
    of_user = f"as_of = date '{day}' and user_id = '{user}'"
    features = finished.table("journey_features", of_user).sort("journey_id")
    model = trained(finished.table("journey_features"), actions, rounds=20)
    engagement = finished.table("journey_engagement", of_user).sort("journey_id")
    confidence = finished.table("rankings", of_user).select("journey_id", "confidence")
    ranked = rank_by_model(
        engagement.join(confidence, on="journey_id", maintain_order="left"),
        features,
        model,
        as_of=day,
        actions=actions,
        sure_from=finished.settings.output.min_confidence,
    )
    journey = finished.table("current_user_journeys", f"user_id = '{user}'")["journey_id"][0]
    score = ranked.filter(journey_id=journey)["score"][0]
    with finished.warehouse.read() as connection:
        evidence = read_evidence(connection, user, journey)
    diversified = {**evidence.diversified, "score_before": score, "score": score * 0.95, "occurrence": 1}
    listed = {**evidence.listed, "ranker": "chance", "score": score * 0.95}
    told = explained(replace(evidence, model=model, listed=listed, diversified=diversified), finished, day)
    assert told["place"]["adds_up"]
    assert sum(part["log_odds"] for part in told["place"]["parts"]) == pytest.approx(told["place"]["log_odds"])
    assert told["diversifier"]["factor"] == pytest.approx(0.95)
    words = " ".join(told["words"])
    assert "The model chance gives it" in words
    assert "found 1 similar above" in words
    # What cannot be told is said, and not made up.
    gone = explained(replace(evidence, model=None, listed=listed), finished, day)
    assert gone["place"]["kind"] == "unknown"
    assert "no longer in the warehouse" in " ".join(gone["words"])


def test_an_earlier_name_and_a_sensitive_subject_are_told(finished: Pipeline):
    row = finished.table("current_user_journeys").row(0, named=True)
    with finished.warehouse.read() as connection:
        evidence = read_evidence(connection, row["user_id"], row["journey_id"])
    names = [{"name": "old", "first_day": date(2025, 1, 1), "last_day": date(2025, 1, 9)}, *evidence.names]
    safety = {"outcome": "quiet", "category": "health", "left_out": 2}
    words = " ".join(explained(replace(evidence, names=names, safety=safety), finished, row["read_on"])["words"])
    assert "it was called “old” (2025-01-01 to 2025-01-09)" in words
    assert "sensitive (health), so that it is listed and never notified; 2 of its keywords may not be shown." in words


def test_the_command_says_what_the_service_says(finished: Pipeline):
    row = finished.table("current_user_journeys").sort("user_id", "rank").row(0, named=True)
    environment = {"JOURNEYS_HOME": str(finished.home.path)}

    def journeys(*words: str) -> str:
        found = CliRunner().invoke(cli, ["why", row["user_id"], *words], env=environment)
        assert found.exit_code == 0, found.output
        return found.stdout

    service = Journeys(finished.home, finished.settings)
    expected = service.why(row["user_id"], row["journey_id"])
    assert json.loads(journeys(row["journey_id"], "--json")) == expected
    said = journeys("1")
    assert all(sentence in said for sentence in expected["words"])
    with pytest.raises(NoSuchJourneyError):
        service.why(row["user_id"], "none such")
    refused = CliRunner().invoke(cli, ["why", row["user_id"], "none such"], env=environment)
    assert refused.exit_code == 1
    assert "has no such journey listed" in refused.output
