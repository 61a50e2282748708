"""The Ray engine: the same tables as in one process, also where a worker is lost, and nothing left behind."""

import importlib.util
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from conftest import Pipeline

from assets.clusters import clusters
from journeys_dagster.definitions import algorithm_in_use, declared_assets
from journeys_dagster.inference.frames import Frames
from journeys_dagster.inference.shards import ShardError, ShardFolder, compute_shard, decisive_versions, write_shard
from journeys_dagster.orchestration.snapshot_asset import SnapshotAsset, open_snapshot, replace_step
from journeys_dagster.resources.engine import LocalEngine, engine_in_use
from journeys_dagster.resources.ray_engine import RayEngine, RayEngineError
from journeys_dagster.settings import Settings

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

IS_INSTALLED = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not IS_INSTALLED, reason="the extra [ray] is not installed")
STEPS = [
    asset for asset in declared_assets(Settings()) if isinstance(asset, SnapshotAsset) and asset.is_in_use(Settings())
]
TABLES = (*(step.name for step in STEPS), "user_journeys")
_NODE = {"num_cpus": 1, "object_store_memory": 80 * 1024 * 1024, "include_dashboard": False}
_PATIENCE_SECONDS = 120.0


@pytest.fixture(scope="module")
def cluster() -> Iterator["Cluster"]:
    """Two nodes with a CPU each on this machine, all on the loopback address."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": "0123456789abcdef" * 4,
        }.items():
            environment.setenv(name, value)
        import ray
        from ray import cloudpickle
        from ray.cluster_utils import Cluster

        # Workers do not find this module; they get its functions by value.
        cloudpickle.register_pickle_by_value(sys.modules[__name__])
        logging.getLogger("ray").setLevel(logging.WARNING)
        # A node that was killed is given up on after two seconds, not fifteen.
        quick = {"health_check_period_ms": 500, "health_check_failure_threshold": 4}
        cluster = Cluster(initialize_head=True, head_node_args={**_NODE, "_system_config": quick})
        try:
            cluster.add_node(**_NODE)
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()


def on_ray(address: str | None, **run: int) -> Settings:
    """Settings of small shards on a cluster."""
    return Settings.model_validate(
        {"run": {"engine": "ray", "users_per_batch": 8, "keywords_per_batch": 400, **run}, "ray": {"address": address}}
    )


@pytest.mark.slow
@needs_ray
def test_ray_and_local_give_identical_tables(
    cluster: "Cluster", finished: Pipeline, copy_of_world: Callable[[str], Pipeline], world_days: list[date]
) -> None:
    day, settings = world_days[-1], on_ray(cluster.address)
    on_cluster = Pipeline(copy_of_world("ray").home, settings)
    with on_cluster.warehouse.write() as connection:
        connection.execute("delete from keyword_embeddings")  # those of the day's users are computed again
    on_cluster.run(day)
    assert on_cluster.table("users_in_scope", f"as_of = '{day}'")["batch"].n_unique() > 2
    for table in TABLES:
        assert on_cluster.table(table).equals(finished.table(table)), table
    embedded = on_cluster.table("keyword_embeddings")
    assert len(embedded) > on_cluster.settings.run.keywords_per_batch
    assert embedded.equals(finished.table("keyword_embeddings").join(embedded, on="keyword", how="semi"))
    assert list((on_cluster.home.path / "shards").iterdir()) == []


@needs_ray
def test_a_worker_is_killed_in_the_middle_and_the_tables_are_the_same(
    cluster: "Cluster",
    copy_of_world: Callable[[str], Pipeline],
    world_days: list[date],
    figures: Callable[..., None],
) -> None:
    pipeline, day = copy_of_world("killed"), world_days[0]
    before = pipeline.table("clusters")
    with pipeline.warehouse.write() as connection:
        connection.execute("delete from clusters where as_of = $day", {"day": day})
        connection.execute("update users_in_scope set batch = hash(user_id) % 6 where as_of = $day", {"day": day})
    settings = on_ray(cluster.address)
    (doomed,) = cluster.worker_nodes
    marks = pipeline.home.path / "marks"
    marks.mkdir()
    slow = replace(clusters, compute=partial(cluster_slowly, marks=str(marks), doomed=doomed.node_id))

    def kill_when_running() -> None:
        storage = pipeline.home.path / "shards"
        wait_until(lambda: running_on(marks, doomed.node_id) != set() and any(storage.rglob("rows-*.parquet")))
        cluster.remove_node(doomed, allow_graceful=False)

    killer = threading.Thread(target=kill_when_running)
    killer.start()
    replace_step(slow, open_snapshot(pipeline.warehouse, settings, day))
    killer.join()

    lost = running_on(marks, doomed.node_id)
    assert lost != set()
    (survivor,) = {mark.name.split("-")[0] for mark in marks.iterdir()} - {doomed.node_id}
    assert lost <= running_on(marks, survivor)  # what was lost was computed again elsewhere
    assert pipeline.table("clusters").equals(before)
    assert list((pipeline.home.path / "shards").iterdir()) == []
    figures(shards=len(running_on(marks, survivor)), shards_lost_and_computed_again=len(lost))
    cluster.add_node(**_NODE)


def cluster_slowly(frames: Frames, as_of: date, settings: Settings, *, marks: str, doomed: str) -> pl.DataFrame:
    """The step, marked when it starts; on the node that is to be killed it never ends."""
    import ray

    node = ray.get_runtime_context().get_node_id()
    Path(marks, f"{node}-{frames['keywords']['user_id'].min()}").touch()
    if node == doomed:
        time.sleep(_PATIENCE_SECONDS)
    return clusters.compute(frames, as_of, settings)


def running_on(marks: Path, node: str) -> set[str]:
    """First users of the shards that were started on a node."""
    return {mark.name.split("-", 1)[1] for mark in marks.iterdir() if mark.name.startswith(node)}


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


RUN_TO_BE_KILLED = """
import sys, time
from dataclasses import replace
from datetime import date
from pathlib import Path
from assets.clusters import clusters
from journeys_dagster.orchestration.snapshot_asset import open_snapshot, replace_step
from journeys_dagster.inference.frames import Frames
from journeys_dagster.resources.home import Home
from journeys_dagster.settings import Settings

def cluster_slowly(frames, as_of, settings):
    time.sleep(1)
    return clusters.compute(frames, as_of, settings)

home, day, settings = Path(sys.argv[1]), date.fromisoformat(sys.argv[2]), Settings.model_validate_json(sys.argv[3])
snapshot = open_snapshot(Home(home).warehouse(settings), settings, day)
replace_step(replace(clusters, compute=cluster_slowly), snapshot)
"""


@needs_ray
@pytest.mark.slow
def test_a_killed_run_can_be_run_again_and_leaves_no_shards(
    cluster: "Cluster", copy_of_world: Callable[[str], Pipeline], world_days: list[date]
) -> None:
    pipeline, day = copy_of_world("killed_run"), world_days[0]
    before, settings = pipeline.table("clusters"), on_ray(cluster.address)
    with pipeline.warehouse.write() as connection:
        connection.execute("update users_in_scope set batch = hash(user_id) % 6 where as_of = $day", {"day": day})
    storage = pipeline.home.path / "shards"
    words = [str(pipeline.home.path), day.isoformat(), settings.model_dump_json()]
    with subprocess.Popen([sys.executable, "-c", RUN_TO_BE_KILLED, *words]) as run:
        wait_until(lambda: any(storage.rglob("rows-*.parquet")))
        assert run.poll() is None
        run.kill()
    left = {folder.name for folder in storage.iterdir()}
    assert len(left) == 1
    assert pipeline.table("clusters").equals(before)
    with pipeline.warehouse.write() as connection:
        connection.execute("delete from clusters where as_of = $day", {"day": day})
    replace_step(clusters, open_snapshot(pipeline.warehouse, settings, day))
    assert pipeline.table("clusters").equals(before)
    assert list(storage.iterdir()) == []


@needs_ray
def test_a_failing_shard_is_told_and_changes_nothing(
    cluster: "Cluster", copy_of_world: Callable[[str], Pipeline], world_days: list[date]
) -> None:
    pipeline, day = copy_of_world("failing"), world_days[0]
    before = pipeline.table("clusters")
    failing = replace(clusters, compute=fail)
    with pytest.raises(RayEngineError, match=r"a shard .* failed on the cluster: ValueError: no vectors today"):
        replace_step(failing, open_snapshot(pipeline.warehouse, on_ray(cluster.address), day))
    assert pipeline.table("clusters").equals(before)
    assert list((pipeline.home.path / "shards").iterdir()) == []


def fail(frames: Frames, as_of: date, settings: Settings) -> pl.DataFrame:
    """A step that cannot be computed."""
    raise ValueError("no vectors today")


@needs_ray
def test_a_cluster_too_small_for_a_shard_is_told(cluster: "Cluster", tmp_path: Path) -> None:
    engine = RayEngine(address=cluster.address, storage=str(tmp_path), cpus_per_shard=64)
    with pytest.raises(RayEngineError, match=r"has 64 CPUs, the largest has 1: lower ray\.cpus_per_shard"):
        next(engine.map(first, []))


def first(frames: Frames) -> pl.DataFrame:
    """The one frame of a batch."""
    return next(iter(frames.values()))


def test_without_the_extra_the_setting_is_told_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RayEngineError, match=r"pip install 'journeys_dagster\[ray\]'"):
        next(RayEngine(address=None, storage=str(tmp_path), cpus_per_shard=1).map(first, []))


def test_the_engine_has_no_part_in_the_algorithm_version() -> None:
    settings = Settings.model_validate(
        {"run": {"engine": "ray", "keywords_per_batch": 7}, "ray": {"address": "10.0.0.5:6379", "storage": "s3://b/c"}}
    )
    assert algorithm_in_use(settings).version == algorithm_in_use(Settings()).version


def test_shards_lie_in_the_home_unless_a_storage_is_set(finished: Pipeline) -> None:
    assert isinstance(engine_in_use(Settings(), finished.warehouse), LocalEngine)
    in_home = engine_in_use(on_ray(None), finished.warehouse)
    assert isinstance(in_home, RayEngine)
    assert in_home.storage == str(finished.home.path / "shards")
    elsewhere = Settings.model_validate({"run": {"engine": "ray"}, "ray": {"storage": "s3://bucket/shards"}})
    assert getattr(engine_in_use(elsewhere, finished.warehouse), "storage", "") == "s3://bucket/shards"


FRAME = pl.DataFrame(
    {"user_id": ["b", "a"], "embedding": [[0.1, -0.0], [1e-45, float("nan")]]},
    schema_overrides={"embedding": pl.List(pl.Float32)},
)


@pytest.fixture(params=["folder", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A storage of shards, as a path and as a URL."""
    pytest.importorskip("fsspec", reason="the extra [ray] is not installed")
    return str(tmp_path / "a b") if request.param == "folder" else f"memory://{tmp_path.name}"


def test_a_shard_is_the_same_from_any_storage(storage: str) -> None:
    folder = ShardFolder.made_in(storage)
    task = write_shard(folder, 3, {"whole": FRAME, "empty": FRAME.clear()})
    result = compute_shard(task, folder=folder, compute=whole, expected=decisive_versions())
    assert result["shard"] == 3
    read = folder.read(result["rows"])
    assert read.equals(FRAME, null_equal=True)
    assert read.schema == FRAME.schema


def whole(frames: Frames) -> pl.DataFrame:
    """Both frames of a shard, one of them empty."""
    return pl.concat([frames["empty"], frames["whole"]])


def test_what_a_killed_run_left_is_removed_by_the_next_and_nothing_else(storage: str) -> None:
    left = ShardFolder.made_in(storage)
    left.write("000000/keywords", FRAME)
    ShardFolder(f"{storage}/mine").write("kept", FRAME)
    new = ShardFolder.made_in(storage)
    assert new.url != left.url
    with pytest.raises(FileNotFoundError):
        left.read("000000/keywords")
    assert ShardFolder(f"{storage}/mine").read("kept").equals(FRAME, null_equal=True)
    new.remove()  # also where nothing was written


def test_a_worker_with_other_code_refuses(storage: str) -> None:
    folder = ShardFolder.made_in(storage)
    task = write_shard(folder, 0, {"whole": FRAME})
    expected: dict[str, Any] = {**decisive_versions(), "polars": "0.1", "journeys_dagster": "000000000000"}
    with pytest.raises(ShardError, match=r"worker .* has .*polars .* instead of 0\.1.*install there"):
        compute_shard(task, folder=folder, compute=whole, expected=expected)
