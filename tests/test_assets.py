"""What each asset records when it is materialised."""

import shutil
from datetime import date
from pathlib import Path

import dagster as dg
import pytest
from conftest import Pipeline
from test_pipeline import SNAPSHOTS, rows

from journeys_dagster.resources.home import Home
from journeys_dagster.sql.models import load_models

VIEWS = {name for name, model in load_models().items() if model.table.kind == "view"}
PLOTTED = {"keywords", "clusters", "rankings", "diversified_journeys", "stages", "user_snapshots"}


@pytest.fixture(scope="module")
def again(
    tmp_path_factory: pytest.TempPathFactory, world_home: Path, world_days: list[date]
) -> tuple[Pipeline, dg.ExecuteInProcessResult]:
    """The world's last two days in one run, of which the first was inferred before."""
    home = Home(Path(shutil.copytree(world_home, tmp_path_factory.mktemp("assets") / "home")))
    pipeline = Pipeline(home)
    result = pipeline.materialize(days=(world_days[-2], world_days[-1]))
    assert result.success
    assert all(check.passed for check in result.get_asset_check_evaluations())
    return pipeline, result


@pytest.fixture(scope="module")
def materializations(again: tuple[Pipeline, dg.ExecuteInProcessResult]) -> dict[str, dict[str, dg.MetadataValue]]:
    return {
        event.asset_key.to_user_string(): dict(event.materialization.metadata)
        for event in again[1].get_asset_materialization_events()
        if event.asset_key
    }


def test_a_day_again_and_two_days_in_one_run_change_nothing(
    again: tuple[Pipeline, dg.ExecuteInProcessResult], finished: Pipeline
) -> None:
    for table in (*SNAPSHOTS, "users_in_scope", "user_snapshots", "keyword_embeddings", "landed_days", "searches"):
        assert rows(again[0].table(table)) == rows(finished.table(table)), table


def test_every_asset_reports_its_rows_and_a_sample(materializations: dict[str, dict]) -> None:
    assert len(materializations) > 20
    for name, metadata in materializations.items():
        # What is published lies in no table.
        assert ("dagster/row_count" in metadata) == (name not in {*VIEWS, "published_journeys"}), name
        assert ("sample" in metadata) == (name not in {"keyword_centrality", "published_journeys"}), name


def test_user_tables_count_their_users(materializations: dict[str, dict]) -> None:
    for name in ("searches", "keywords", "clusters", "names", "user_journeys"):
        assert materializations[name]["users"].value > 0, name


def test_plots_are_pictures(materializations: dict[str, dict]) -> None:
    for name in PLOTTED | {"searches", "engagements", "items"}:
        assert "data:image/png;base64," in materializations[name]["plot"].value, name


def test_sources_report_what_they_took_in(materializations: dict[str, dict]) -> None:
    metadata = materializations["searches"]
    assert metadata["rows_read"].value == metadata["rows_accepted"].value + metadata["rows_duplicate"].value
    assert "note" in materializations["human_labels"]


def test_sql_models_record_column_lineage(materializations: dict[str, dict]) -> None:
    lineage = materializations["journey_engagement"]["dagster/column_lineage"].value.deps_by_column
    assert ("clusters", "weight") in {(dep.asset_key.to_user_string(), dep.column_name) for dep in lineage["weight"]}


def test_steps_add_their_own_figures(materializations: dict[str, dict]) -> None:
    assert materializations["journey_identities"]["continued"].value > 0
    assert materializations["clusters"]["keywords_left_out"].value == 0
    assert materializations["users_in_scope"]["scope"].value == "active_users"
