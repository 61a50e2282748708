"""What many tests share: homes, a small simulated world, and the real data where it is present."""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from unittest import mock

import dagster as dg
import hypothesis
import numpy as np
import polars as pl
import portalocker
import pytest
from dagster._core.storage.event_log.in_memory import InMemoryEventLogStorage
from numpy.typing import NDArray
from sqlalchemy import Connection

from journeys_dagster.cli import set_collector
from journeys_dagster.definitions import build_defs, build_location, declared_assets
from journeys_dagster.inference.clustering import cluster_keywords
from journeys_dagster.inference.embedding import BUNDLED_MODEL, TextEmbedder, embedder_of_process
from journeys_dagster.orchestration.asset import Asset, Location, Run
from journeys_dagster.orchestration.bare import in_order, needed_for, replace_rows
from journeys_dagster.orchestration.jobs import JOB_OF_SCOPE, scope_config
from journeys_dagster.orchestration.run_config import ScopeConfig
from journeys_dagster.orchestration.runs import RunFailedError, infer, ingest, missing_days
from journeys_dagster.orchestration.snapshot_asset import SnapshotAsset
from journeys_dagster.resources.database_file import open_database
from journeys_dagster.resources.home import Home
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.serving.publication import Store
from journeys_dagster.settings import Settings
from journeys_dagster.sources.contracts import declared_sources
from journeys_dagster.sql.models import load_models
from lab.simulation import simulate

DATA_VARIABLE = "JOURNEYS_DATA"
REDIS_VARIABLE = "JOURNEYS_TEST_REDIS"
WORLD_LAST_DAY = date(2025, 6, 30)
_EXIT_STATUS = pytest.StashKey[int]()
MakeOnce = Callable[[str, Callable[[Path], None]], Path]
set_collector()
# No test asserts a time: on a busy machine a deadline would.
hypothesis.settings.register_profile("all tests", deadline=None)
hypothesis.settings.register_profile("without the slow ones", deadline=None, max_examples=25)
hypothesis.settings.load_profile("all tests")
# Several workers share the processors, and a thread of OpenMP that waits for work would spin on one.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


class RememberingEmbedder(TextEmbedder):
    """Computes the vector of each text once: that it depends on the text alone is tested in `test_embedding`."""

    def __init__(self) -> None:
        super().__init__(model=BUNDLED_MODEL)
        self.known: dict[str, NDArray[np.float32]] = {}

    def embed(self, texts: Sequence[str], *, progress: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        """Unit vectors of texts."""
        if not texts:
            return super().embed(texts)
        if new := [text for text in dict.fromkeys(texts) if text not in self.known]:
            self.known |= zip(new, super().embed(new), strict=True)
        if progress is not None:
            progress(len(texts))
        return np.stack([self.known[text] for text in texts])


class DrawnVectors(TextEmbedder):
    """A vector drawn for each text, by the text: where it plays no part what texts mean."""

    def __init__(self) -> None:
        super().__init__(model=BUNDLED_MODEL)

    def embed(self, texts: Sequence[str], *, progress: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        """Unit vectors of texts."""
        drawn = [np.random.default_rng([*text.encode()]).normal(size=32) for text in texts]
        vectors = np.array(drawn, dtype=np.float32).reshape(len(texts), 32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


EMBEDDER = RememberingEmbedder()  # loads the model once, on first use


@pytest.fixture(scope="session", autouse=True)
def _events_of_a_thread_by_one_connection() -> Iterator[None]:
    """Dagster's event log in memory connects anew for each of the hundreds of events of a run."""
    held: weakref.WeakKeyDictionary[InMemoryEventLogStorage, threading.local] = weakref.WeakKeyDictionary()

    @contextmanager
    def connect(storage: InMemoryEventLogStorage) -> Iterator[Connection]:
        of_thread = held.setdefault(storage, threading.local())
        if not hasattr(of_thread, "connection"):
            of_thread.connection = storage._engine.connect()
        with storage._db_lock, of_thread.connection.begin():
            yield of_thread.connection

    with mock.patch.object(InMemoryEventLogStorage, "_connect", connect):
        yield


@pytest.fixture(scope="session", autouse=True)
def _one_embedder() -> Iterator[None]:
    """Commands that run within the tests' process embed by `EMBEDDER` too."""

    def embedder(model: str, revision: str, batch_size: int) -> TextEmbedder:
        return EMBEDDER if model == BUNDLED_MODEL else embedder_of_process(model, revision, batch_size)

    with (
        mock.patch("lab.benchmark.embedder_of_process", embedder),
        mock.patch("journeys_dagster.definitions.embedder_of_process", embedder),
    ):
        yield


def pytest_configure(config: pytest.Config) -> None:
    """Draw fewer examples where slow tests are left out."""
    if config.option.markexpr == "not slow":
        hypothesis.settings.load_profile("without the slow ones")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Remember how the tests went."""
    session.config.stash[_EXIT_STATUS] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave at once: with PyTorch loaded, DuckDB's binding would list itself as leaked, below the results."""
    if _EXIT_STATUS in config.stash:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(config.stash[_EXIT_STATUS])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the tests have measured."""
    ended = [report for reports in terminalreporter.stats.values() for report in reports]
    measured = [
        report for report in ended if getattr(report, "when", None) == "call" and getattr(report, "user_properties", [])
    ]
    if measured:
        terminalreporter.section("figures")
    for report in measured:
        terminalreporter.write_line(report.nodeid.rsplit("/", 1)[-1])
        for name, value in report.user_properties:
            terminalreporter.write_line(f"    {name}: {f'{value:.3f}' if isinstance(value, float) else value}")


@pytest.fixture
def figures(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Record figures of the test by name, for `docs/results.md`; they are printed when all tests have ended."""

    def record(**values: object) -> None:
        for name, value in values.items():
            record_property(name, value)

    return record


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """An empty home folder."""
    return Home(tmp_path / "home")


@pytest.fixture
def warehouse(home: Home) -> Warehouse:
    """The warehouse of an empty home; the file does not exist yet."""
    return home.warehouse(Settings())


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A server for published lists, whose URL is in `REDIS_VARIABLE`; tests that need it are skipped without."""
    pytest.importorskip("redis", reason="redis missing: install the extra [redis]")
    command = shutil.which("valkey-server") or shutil.which("redis-server")
    if command is None:
        pytest.skip("neither valkey-server nor redis-server is installed")
    folder = tmp_path_factory.mktemp("server")
    # The path of a socket has a hundred letters at most.
    with tempfile.TemporaryDirectory(prefix="journeys-") as short:
        socket = Path(short) / "socket"
        options = ("--port", "0", "--unixsocket", str(socket), "--dir", str(folder), "--save", "")
        started = subprocess.Popen([command, *options], stdout=subprocess.DEVNULL)
        try:
            for _ in range(1_000):
                if socket.exists():
                    break
                time.sleep(0.01)
            with mock.patch.dict(os.environ, {REDIS_VARIABLE: f"unix://{socket}"}):
                yield
        finally:
            started.kill()
            started.wait()


@pytest.fixture(params=["folder", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Each place that lists can be published to."""
    from journeys_dagster.serving.redis_store import RedisStore
    from journeys_dagster.serving.store import FolderStore

    if request.param == "folder":
        return FolderStore(tmp_path / "lists")
    request.getfixturevalue("redis_server")
    return RedisStore(REDIS_VARIABLE, tmp_path.name)


@pytest.fixture(scope="session")
def data_path() -> Path:
    """Folder of the real data; tests that need it are skipped without."""
    folder = os.environ.get(DATA_VARIABLE)
    if not folder or not Path(folder).is_dir():
        pytest.skip(f"{DATA_VARIABLE} names no folder with the real data")
    return Path(folder)


@contextmanager
def crowd(code: str, *arguments_of_each: Sequence[object]) -> Iterator[list[subprocess.Popen[str]]]:
    """Python processes that are let go at one moment, once each of them has said that it is ready."""
    pipe = subprocess.PIPE
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)], stdin=pipe, stdout=pipe, stderr=pipe, text=True
        )
        for arguments in arguments_of_each
    ]
    try:
        for each in running:
            assert each.stdout is not None
            assert each.stdout.readline() == "ready\n"
        for each in running:
            assert each.stdin is not None
            each.stdin.write("go\n")
            each.stdin.flush()
        yield running
    finally:
        for each in running:
            each.kill()
            each.communicate()


class Pipeline:
    """A home with its definitions, on an instance of Dagster that leaves nothing behind."""

    def __init__(self, home: Home, settings: Settings | None = None) -> None:
        self.home = home
        self.settings = settings or Settings()
        self.warehouse = home.warehouse(self.settings)
        self.draws_plots = False

    @cached_property
    def defs(self) -> dg.Definitions:
        """What Dagster loads."""
        return build_defs(settings=self.settings, home=self.home, resource_overrides={"embedder": EMBEDDER})

    @cached_property
    def instance(self) -> dg.DagsterInstance:
        """Where Dagster records what is run by it."""
        return dg.DagsterInstance.ephemeral(tempdir=str(self.home.path))

    @cached_property
    def assets(self) -> list[Asset]:
        """All assets in use, each behind those that it reads."""
        return in_order(asset for asset in declared_assets(self.settings) if asset.is_in_use(self.settings))

    @cached_property
    def _location(self) -> Location:
        days = dg.DailyPartitionsDefinition(WORLD_LAST_DAY.isoformat())
        return build_location(self.settings, declared_assets(self.settings), days)

    @contextmanager
    def _plots(self) -> Iterator[None]:
        """Plots are put together, and only drawn where told, which takes longer than what they show."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        draw = FigureCanvasAgg.draw if self.draws_plots else FigureCanvasAgg.get_renderer
        with mock.patch.object(FigureCanvasAgg, "draw", draw):
            yield

    def _missing(self, up_to: date) -> tuple[list[str], list[tuple[date, date]]]:
        zone = self.home.landing_zone()
        sources = [name for name in declared_sources(Settings()) if zone.days(name)]
        limit = self.settings.landing.max_rejected_share
        return sources, missing_days(self.warehouse, zone, sources, up_to=up_to, max_rejected_share=limit).ranges

    def ingest(self, up_to: date) -> None:
        """Take in the landing days that are missing, by the assets' own work."""
        sources, ranges = self._missing(up_to)
        for first, last in ranges:
            days = [first + timedelta(days=step) for step in range((last - first).days + 1)]
            for asset in self.assets:
                if asset.name in sources:
                    self._replace(asset, days, None)

    def run(self, day: date, scope: str = "active_users", *, up_to: Sequence[str] = ()) -> None:
        """Take in what is missing, then infer, where told no more than leads to some assets.

        The assets' own work, as a run of Dagster has them do it, but for records, metadata and plots. `test_assets`
        sees that the tables are those that Dagster's runs give.
        """
        if any(asset.uses_llm(self.settings) for asset in self.assets):
            self.run_in_dagster(day, scope, up_to=up_to)
            return
        self.ingest(day)
        leading = {asset.name for name in up_to for asset in needed_for(name, self.assets)}
        zone = self.home.landing_zone()
        # Attached once, as to open the file takes longer than most of what is done with it.
        with open_database(self.warehouse.path, read_only=False, config=self.warehouse.connection_config):
            for asset in self.assets:
                is_taken_in = asset.group == "sources" and day in zone.days(asset.name)
                if asset.partitioned and not is_taken_in and (not up_to or asset.name in leading):
                    self._replace(asset, [day], ScopeConfig(scope=scope) if asset.config is ScopeConfig else None)

    def _replace(self, asset: Asset, days: Sequence[date], config: dg.Config | None) -> None:
        run = Run(
            days=days,
            location=self._location,
            warehouse=self.warehouse,
            embedder=EMBEDDER,
            landing_zone=self.home.landing_zone(),
            config=config,
        )
        models = load_models()
        if isinstance(asset, SnapshotAsset) or asset.name in models:
            replace_rows(asset, run, models)
            return
        stopping = {spec.name for spec in asset.checks if spec.blocking}
        for result in asset.materialize(run):
            for check in [result] if isinstance(result, dg.AssetCheckResult) else result.check_results or ():
                if not check.passed and check.check_name in stopping:
                    raise RunFailedError(check.description)

    def ingest_in_dagster(self, up_to: date) -> None:
        """Take in the landing days that are missing, as the command line does; plots stay blank."""
        sources, ranges = self._missing(up_to)
        with self._plots():
            ingest(self.defs, self.instance, ranges, sources=sources)

    def run_in_dagster(self, day: date, scope: str = "active_users", *, up_to: Sequence[str] = ()) -> None:
        """Take in what is missing, then infer, as the command line does; plots stay blank."""
        self.ingest_in_dagster(day)
        with self._plots():
            if not up_to:
                infer(self.defs, self.instance, as_of=day, scope=scope)
                return
            job = self.defs.resolve_job_def(JOB_OF_SCOPE[scope])
            leading = dg.AssetSelection.assets(*up_to).upstream().resolve(self.defs.resolve_asset_graph())
            result = job.execute_in_process(
                instance=self.instance,
                partition_key=day.isoformat(),
                asset_selection=[key for key in leading if key.path[-1] in {node.name for node in job.graph.nodes}],
                run_config=scope_config(scope).to_config_dict(),
            )
            assert result.success

    def materialize(self, *assets: str, days: tuple[date, date]) -> dg.ExecuteInProcessResult:
        """Materialise some assets over a range of days in one run, with their plots."""
        first, last = (day.isoformat() for day in days)
        return self.defs.resolve_job_def("daily_incremental").execute_in_process(
            instance=self.instance,
            asset_selection=[dg.AssetKey(name) for name in assets] if assets else None,
            tags={"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last},
            raise_on_error=False,
        )

    def train(self, *assets: str) -> dg.ExecuteInProcessResult:
        """Train models, of all assets of the training job where none are named."""
        return self.defs.resolve_job_def("train_models").execute_in_process(
            instance=self.instance, asset_selection=[dg.AssetKey(name) for name in assets] or None
        )

    def table(self, name: str, where: str = "true") -> pl.DataFrame:
        """Rows of a table in a fixed order."""
        return self.warehouse.query(f"from {name} where {where} order by all")


@pytest.fixture(scope="session")
def world_days() -> list[date]:
    """The last four days of the small world."""
    return [WORLD_LAST_DAY - timedelta(days=back) for back in (3, 2, 1, 0)]


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> MakeOnce:
    """Homes that one worker makes for all; each has a copy of its own."""
    own = tmp_path_factory.getbasetemp()
    common = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    def copy_of(name: str, make: Callable[[Path], None]) -> Path:
        made = common / f"made-{name}"
        with portalocker.Lock(common / f"made-{name}.lock", flags=portalocker.LockFlags.EXCLUSIVE):
            if not made.exists():
                unfinished = Path(tempfile.mkdtemp(dir=common)) / "home"
                make(unfinished)
                unfinished.rename(made)
        return Path(shutil.copytree(made, tmp_path_factory.mktemp(name) / "home"))

    return copy_of


@pytest.fixture(scope="session")
def kernels(made_once: MakeOnce) -> None:
    """What takes longest to compile, compiled by one worker while the others wait; numba keeps it on disk."""

    def make(path: Path) -> None:
        path.mkdir()
        times = [datetime(2025, 6, 30)]
        row = {"user_id": "a", "weight": 1.0, "sources": ["search"], "recent_times": times, "recent_items": ["i"]}
        keywords = pl.DataFrame([{**row, "keyword": "oak", "code": 0}, {**row, "keyword": "elm", "code": 1}])
        cluster_keywords(keywords, np.eye(2, dtype=np.float32), Settings().clusters)

    made_once("kernels", make)


@pytest.fixture(scope="session")
def world_home(made_once: MakeOnce, kernels: None, world_days: list[date]) -> Path:
    """A 50-user world, taken in, inferred fully three days before its end and incrementally for the next two."""

    def make(path: Path) -> None:
        simulate(path / "landing", users=50, days=21, seed=11, last_day=WORLD_LAST_DAY, truth=path / "truth")
        pipeline = Pipeline(Home(path))
        pipeline.run(world_days[0], "all_users")
        for day in world_days[1:3]:
            pipeline.run(day)

    path = made_once("world", make)
    stored = Home(path).warehouse(Settings()).query("select keyword, embedding from keyword_embeddings")
    EMBEDDER.known |= zip(stored["keyword"], stored["embedding"].to_numpy(), strict=True)
    return path


@pytest.fixture(scope="session")
def finished_home(made_once: MakeOnce, world_home: Path, world_days: list[date]) -> Path:
    """The world's home with its last day inferred too."""

    def make(path: Path) -> None:
        shutil.copytree(world_home, path)
        Pipeline(Home(path)).run(world_days[-1])

    return made_once("finished", make)


@pytest.fixture
def finished(finished_home: Path) -> Pipeline:
    """A pipeline on the finished world; only to be read."""
    return Pipeline(Home(finished_home))


@pytest.fixture
def copy_of_world(tmp_path: Path, world_home: Path) -> Callable[[str], Pipeline]:
    """Make a pipeline on a copy of the world's home, as it stands one day before its end."""

    def copy(name: str) -> Pipeline:
        shutil.copytree(world_home, tmp_path / name)
        return Pipeline(Home(tmp_path / name))

    return copy


@pytest.fixture
def empty_pipeline(home: Home) -> Pipeline:
    """A pipeline on an empty home."""
    return Pipeline(home, Settings.model_validate({"landing": {"first_day": date(2025, 6, 1)}}))
