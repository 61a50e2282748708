"""The graph as a component of other people's Dagster projects."""

import dataclasses
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from datetime import date, datetime
from importlib import import_module
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from conftest import WORLD_LAST_DAY, Pipeline
from dagster.components.core.component_tree import ComponentTree
from dagster.components.core.package_entry import discover_package_objects

from journeys_dagster.component import JourneysComponent
from journeys_dagster.environment import PROJECT_ROOT
from journeys_dagster.errors import ExpectedError
from journeys_dagster.orchestration.jobs import scope_config
from journeys_dagster.resources.home import Home
from journeys_dagster.settings import Settings
from lab.simulation import simulate

# Dagster's own, where it reads a `defs.yaml`.
pytestmark = pytest.mark.filterwarnings("ignore:`parse_obj_as` is deprecated")
DEFS_YAML = """\
type: journeys_dagster.component.JourneysComponent
attributes:
  home: state
  landing: logs/landed
  key_prefix: acme/journeys
  group_names: {sources: raw, marts: journeys}
  settings:
    landing: {first_day: 2025-06-01}
    output: {max_journeys_per_user: 7}
"""
PREFIX = ["acme", "journeys"]
DAY = date(2025, 6, 2)


def component(project: Path, **attributes: object) -> dg.Definitions:
    """What a component of these attributes puts into a project."""
    context = dataclasses.replace(ComponentTree.for_test().load_context, project_root=project)
    return JourneysComponent.resolve_from_yaml(json.dumps(attributes)).build_defs(context)


@pytest.fixture
def ours(tmp_path: Path) -> dg.Definitions:
    text = DEFS_YAML.split("attributes:\n")[1]
    context = dataclasses.replace(ComponentTree.for_test().load_context, project_root=tmp_path)
    return JourneysComponent.resolve_from_yaml("\n".join(line[2:] for line in text.splitlines())).build_defs(context)


@pytest.fixture
def merged(ours: dg.Definitions) -> dg.Definitions:
    """With a project that has an asset and a group of the same name, and an executor of its own."""

    @dg.asset(group_name="sources")
    def keywords() -> None: ...

    others = dg.Definitions(
        assets=[keywords], executor=dg.multiprocess_executor, jobs=[dg.define_asset_job("theirs", [keywords])]
    )
    return dg.Definitions.merge(others, ours)


def test_everything_has_the_prefix_and_nothing_of_others_is_touched(merged: dg.Definitions, tmp_path: Path) -> None:
    dg.Definitions.validate_loadable(merged)
    plain = component(tmp_path, home="plain")
    graph = merged.resolve_asset_graph()
    names = {key.to_user_string() for key in plain.resolve_all_asset_keys()}
    keys = {dg.AssetKey([*PREFIX, name]) for name in names}
    assert {*graph.get_all_asset_keys()} == keys | {dg.AssetKey("keywords")}
    assert {dep for key in keys for dep in graph.get(key).parent_keys} <= keys
    assert {check.asset_key for check in graph.asset_check_keys} <= keys
    assert len(graph.asset_check_keys) == len(plain.resolve_asset_graph().asset_check_keys)
    groups = {graph.get(key).group_name for key in keys}
    assert {"raw", "journeys", "inference"} <= groups
    assert not groups & {"sources", "marts"}
    for job in plain.jobs or ():
        there = merged.resolve_job_def(job.name)
        assert {key.path[-1] for key in there.asset_layer.selected_asset_keys} == {
            key.path[-1] for key in plain.resolve_job_def(job.name).asset_layer.selected_asset_keys
        }
        assert dg.AssetKey("keywords") not in there.asset_layer.selected_asset_keys
        assert there.executor_def is dg.in_process_executor
    assert merged.resolve_job_def("theirs").executor_def is dg.multiprocess_executor
    for sensor in ("training_sensor", "retention_sensor"):
        selection = merged.get_unresolved_sensor_def(sensor).asset_selection
        assert selection is not None
        selected = selection.resolve(graph)
        assert selected
        assert selected <= keys


def test_paths_and_settings_are_those_of_the_project(ours: dg.Definitions, tmp_path: Path) -> None:
    resources = ours.resources or {}
    assert resources["warehouse"].path == tmp_path / "state" / "warehouse.duckdb"
    assert resources["landing_zone"].path == str(tmp_path / "logs" / "landed")
    assert resources["settings"].output.max_journeys_per_user == 7
    assert resources["settings"].landing.first_day == date(2025, 6, 1)
    (tmp_path / "mine.toml").write_text("[output]\nmax_journeys_per_user = 3\n")
    of_file = component(tmp_path, home=str(tmp_path / "elsewhere"), settings="mine.toml").resources or {}
    assert of_file["settings"].output.max_journeys_per_user == 3
    assert of_file["landing_zone"].path == str(tmp_path / "elsewhere" / "landing")


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"settings": {"output": {"most": 3}}}, r"settings of the component at .*: unknown setting 'output.most'"),
        ({"settings": "none.toml"}, "none.toml does not exist"),
        ({"group_names": {"carpets": "rugs"}}, "no group 'carpets'; groups are inference, "),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, attributes: dict[str, object], message: str) -> None:
    with pytest.raises(ExpectedError, match=message):
        component(tmp_path, home="state", **attributes)


def test_experiments_are_looked_for_in_the_home_of_the_component(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "experiments.toml").write_text("oops = 1\n")
    with pytest.raises(ExpectedError, match=r"state/experiments\.toml: experiment 'oops' is no table"):
        component(tmp_path, home="state")


def test_the_component_is_registered(tmp_path: Path) -> None:
    project = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (module,) = project["entry-points"]["dagster_dg_cli.registry_modules"].values()
    found = discover_package_objects([module])
    assert [(key.to_typename(), each) for key, each in found.items()] == [
        ("journeys_dagster.component.JourneysComponent", JourneysComponent)
    ]
    assert import_module(module).__doc__
    assert len(DEFS_YAML.splitlines()) <= 15


def test_rows_that_land_are_taken_in_under_the_prefix(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "landing" / "searches" / f"date={DAY}"
    folder.mkdir(parents=True)
    pl.DataFrame({"user_id": ["u1"], "query": ["oak bench"], "occurred_at": [datetime(2025, 6, 2, 9)]}).write_csv(
        folder / "rows.csv"
    )
    (folder / "_SUCCESS").touch()
    defs = component(tmp_path, home="state", key_prefix="acme")
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as instance:
        key = dg.AssetKey(["acme", "searches"])
        result = defs.resolve_job_def("ingest_landing").execute_in_process(
            instance=instance, partition_key=DAY.isoformat(), asset_selection=[key]
        )
        assert result.success
        assert [event.asset_key for event in result.get_asset_materialization_events()] == [key]
        assert {check.asset_key for check in result.get_asset_check_evaluations()} == {key}
    rows = Home(tmp_path / "state").warehouse(Settings()).query("select user_id, query from searches")
    assert rows.rows() == [("u1", "oak bench")]


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., str]:
    """Runs commands in a project as `create-dagster` lays one out, with the component in it."""
    package = tmp_path / "shop" / "src" / "shop"
    (package / "defs" / "journeys").mkdir(parents=True)
    for module in (package, package / "defs"):
        (module / "__init__.py").touch()
    (package / "definitions.py").write_text(
        "from pathlib import Path\nfrom dagster import definitions, load_from_defs_folder\n\n\n"
        "@definitions\ndef defs():\n    return load_from_defs_folder(path_within_project=Path(__file__).parent)\n"
    )
    (tmp_path / "shop" / "pyproject.toml").write_text(
        '[project]\nname = "shop"\nversion = "0.1.0"\n\n'
        '[tool.dg]\ndirectory_type = "project"\n\n[tool.dg.project]\nroot_module = "shop"\n'
    )
    dagster_home = tmp_path / "dagster"
    dagster_home.mkdir()
    (dagster_home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("JOURNEYS", "DAGSTER"))}
    environment |= {
        "DAGSTER_HOME": str(dagster_home),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{package.parent}{os.pathsep}{PROJECT_ROOT}",
        "COLUMNS": "200",
    }

    def run(*command: str, defs_yaml: str | None = None) -> str:
        if defs_yaml is not None:
            (package / "defs" / "journeys" / "defs.yaml").write_text(defs_yaml)
        done = subprocess.run(
            command, cwd=tmp_path / "shop", env=environment, capture_output=True, text=True, check=False, timeout=900
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


@pytest.mark.slow
def test_a_project_with_the_component_infers_what_the_project_itself_does(
    project: Callable[..., str], tmp_path: Path
) -> None:
    simulate(tmp_path / "shop" / "logs" / "landed", users=20, days=10, seed=11, last_day=WORLD_LAST_DAY)
    assert "JourneysComponent" in project("dg", "list", "components", defs_yaml=DEFS_YAML)
    assert "All definitions loaded successfully" in project("dg", "check", "defs")
    project("dg", "launch", "--job", "ingest_landing", "--partition-range", f"2025-06-20...{WORLD_LAST_DAY}")
    # On the command line Dagster leaves out what a job with partitions is configured by.
    everyone = scope_config("all_users", lambda name: "__".join([*PREFIX, name])).to_config_dict()
    infer = ("dg", "launch", "--job", "full_inference", "--partition", WORLD_LAST_DAY.isoformat())
    project(*infer, "--config-json", json.dumps(everyone))
    # By the project's executor, which gives each step a process.
    project("dg", "launch", "--assets", "key:acme/journeys/names", "--partition", WORLD_LAST_DAY.isoformat())

    settings = Settings.model_validate(
        {"landing": {"first_day": date(2025, 6, 1)}, "output": {"max_journeys_per_user": 7}}
    )
    home = Home(tmp_path / "own")
    home.path.mkdir()
    (home.path / "landing").symlink_to(tmp_path / "shop" / "logs" / "landed")
    own = Pipeline(home, settings)
    own.run(WORLD_LAST_DAY, "all_users")
    theirs = Home(tmp_path / "shop" / "state").warehouse(settings)
    for table in ("user_journeys", "names", "rankings"):
        expected = own.table(table)
        assert not expected.is_empty()
        assert theirs.query(f"from {table} order by all").equals(expected), table
