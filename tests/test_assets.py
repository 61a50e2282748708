"""What each asset records when it is materialised."""

from datetime import date

import dagster as dg
import pytest
from conftest import Pipeline

from journeys_dagster.sql.models import load_models

VIEWS = {name for name, model in load_models().items() if model.table.kind == "view"}
PLOTTED = {"keywords", "clusters", "rankings", "diversified_journeys", "stages", "user_snapshots"}


@pytest.fixture(scope="module")
def materializations(
    tmp_path_factory: pytest.TempPathFactory, world_home, world_days: list[date]
) -> dict[str, dict[str, dg.MetadataValue]]:
    import shutil

    from journeys_dagster.resources.home import Home

    path = tmp_path_factory.mktemp("assets") / "home"
    shutil.copytree(world_home, path)
    result = Pipeline(Home(path)).materialize(days=(world_days[-2], world_days[-1]))
    assert result.success
    assert all(check.passed for check in result.get_asset_check_evaluations())
    return {
        event.asset_key.to_user_string(): dict(event.materialization.metadata)
        for event in result.get_asset_materialization_events()
        if event.asset_key
    }


def test_every_asset_reports_its_rows_and_a_sample(materializations: dict[str, dict]) -> None:
    assert len(materializations) > 20
    for name, metadata in materializations.items():
        assert ("dagster/row_count" in metadata) == (name not in VIEWS), name
        assert ("sample" in metadata) == (name != "keyword_centrality"), name


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
