"""What the code location declares."""

import subprocess
import sys

import dagster as dg
import pytest
from conftest import Pipeline

from journeys_dagster import definitions
from journeys_dagster.resources.home import Home
from journeys_dagster.settings import Settings
from journeys_dagster.sql.models import ModelError

HEAVY = (
    "torch",
    "sentence_transformers",
    "transformers",
    "sklearn",
    "scipy",
    "xgboost",
    "numba",
    "matplotlib",
    "pandas",
    "openai",
)


@pytest.fixture
def specs(empty_pipeline: Pipeline) -> list[dg.AssetSpec]:
    return list(empty_pipeline.defs.resolve_all_asset_specs())


def test_every_asset_says_what_it_is(specs: list[dg.AssetSpec]) -> None:
    assert len(specs) > 20
    for spec in specs:
        name = spec.key.to_user_string()
        assert spec.description, name
        assert spec.group_name in GROUPS, name
        assert spec.kinds, name
        assert spec.owners, name
        assert spec.code_version, name
        if name not in WITHOUT_TABLE:
            columns = spec.metadata["dagster/column_schema"].columns
            assert columns, name
            assert all(column.description and column.type for column in columns), name
        # Models are trained once for all days to come.
        if name not in UNPARTITIONED:
            assert isinstance(spec.partitions_def, dg.DailyPartitionsDefinition), name


GROUPS = {"sources", "staging", "intermediate", "training", "inference", "marts", "quality", "operations"}
WITHOUT_TABLE = {"retention", "published_journeys"}
UNPARTITIONED = {
    "ranking_labels",
    "ranking_model",
    "stage_model",
    "naming_model",
    "diversification_trade_off",
    "retention",
}


def test_every_step_of_the_article_is_an_asset(specs: list[dg.AssetSpec]) -> None:
    assert {spec.key.to_user_string() for spec in specs} >= {
        "keywords",
        "keyword_embeddings",
        "clusters",
        "rankings",
        "diversified_journeys",
        "stages",
        "names",
        "user_journeys",
        "current_user_journeys",
    }


def test_every_dependency_is_an_asset(specs: list[dg.AssetSpec]) -> None:
    keys = {spec.key for spec in specs}
    assert {dep.asset_key for spec in specs for dep in spec.deps} <= keys


def test_the_jobs_share_assets_and_partitions(empty_pipeline: Pipeline) -> None:
    incremental = empty_pipeline.defs.resolve_job_def("daily_incremental")
    full = empty_pipeline.defs.resolve_job_def("full_inference")
    assert incremental.asset_layer.selected_asset_keys == full.asset_layer.selected_asset_keys
    assert incremental.partitions_def == full.partitions_def


def test_loading_the_code_location_imports_nothing_heavy() -> None:
    code = (
        "import sys, journeys_dagster.definitions; "
        f"print(sorted(set({HEAVY!r}) & {{name.partition('.')[0] for name in sys.modules}}))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert loaded.stdout.strip() == "[]"


def test_an_audit_of_what_is_no_table_is_named(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(definitions, "load_audits", lambda: {"carpets": []})
    with pytest.raises(ModelError, match="audits of carpets, which is no table"):
        definitions.build_defs(settings=Settings(), home=home)
