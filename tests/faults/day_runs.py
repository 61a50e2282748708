"""The assets' work without Dagster's event log, plots and metadata, so that hundreds of small logs can be run."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import polars as pl

from assets.keyword_embeddings import TABLE as EMBEDDINGS
from assets.sources import write_landed
from journeys_dagster.definitions import build_location, declared_assets
from journeys_dagster.inference.embedding import TextEmbedder
from journeys_dagster.orchestration.asset import Run
from journeys_dagster.orchestration.bare import in_order, replace_rows
from journeys_dagster.orchestration.run_config import ScopeConfig
from journeys_dagster.resources.database_file import open_database
from journeys_dagster.resources.home import Home
from journeys_dagster.settings import Settings
from journeys_dagster.sources.contracts import declared_sources
from journeys_dagster.sources.reader import read_days
from journeys_dagster.sources.writer import write_day
from journeys_dagster.sql.models import load_models

FIRST_DAY = date(2024, 1, 1)
_DAYS = dg.DailyPartitionsDefinition(FIRST_DAY.isoformat())
MODELS = load_models()
ASSETS = {asset.name: asset for asset in declared_assets(Settings()) if asset.is_in_use(Settings())}
# What is offered beside a user's journeys depends on everyone's newest snapshots, so on which days were run.
NOT_RUN = {"expansions", "journey_expansions", "llm_journeys", "quality_metrics", "judge_metrics", "inferred_days"}
_STEPS = [asset for asset in in_order(ASSETS.values()) if asset.partitioned and asset.name not in NOT_RUN]
_TABLES = [asset.table for asset in ASSETS.values() if asset.table is not None and asset.name not in NOT_RUN]
OF_USERS = [table.name for table in _TABLES if table.kind == "snapshot"]
"""Tables whose rows are replaced by (`as_of`, users in scope)."""
OF_EVERYONE = [table.name for table in _TABLES if table.kind == "population" and table.name != "users_in_scope"]


class DayRuns:
    """A home whose days are run one by one, by what the assets themselves call."""

    def __init__(self, path: Path, settings: Settings, embedder: TextEmbedder) -> None:
        self.home = Home(path)
        self.embedder = embedder
        self.sources = declared_sources(settings)
        self.use(settings)

    def use(self, settings: Settings) -> None:
        """Go on with other settings."""
        self.settings = settings
        self.warehouse = self.home.warehouse(settings)

    def copy(self, path: Path) -> "DayRuns":
        """The same state in another home."""
        shutil.copytree(self.home.path, path)
        return DayRuns(path, self.settings, self.embedder)

    @contextmanager
    def kept_open(self) -> Iterator[None]:
        """Keep the warehouse attached, which saves a checkpoint per transaction."""
        with open_database(self.warehouse.path, read_only=False, config=self.warehouse.connection_config):
            yield

    def prepare(self) -> None:
        """Empty source tables and the views."""
        for source in self.sources:
            self.call(source, FIRST_DAY)
        self.infer(FIRST_DAY, "all_users", views=True)

    def embed(self, texts: Sequence[str]) -> None:
        """Store the vectors of texts in their one spelling, so that no run has to load the model."""
        spellings = "select distinct normalize_keyword(unnest($texts)) as keyword order by keyword"
        keywords = self.warehouse.query(spellings, {"texts": list(texts)})["keyword"]
        vectors = self.embedder.embed(keywords.to_list())
        frame = pl.DataFrame(
            {
                "keyword": keywords,
                "embedding": pl.Series(vectors, dtype=pl.Array(pl.Float32, vectors.shape[1])).arr.to_list(),
                "model_revision": self.embedder.revision,
            }
        )
        self.warehouse.replace_table(EMBEDDINGS, [frame])

    def land(self, day: date, frames: Mapping[str, pl.DataFrame]) -> None:
        """Put files of a day into the landing zone, in place of those that are there."""
        for source, frame in frames.items():
            write_day(self.home.landing, source=source, day=day, frame=frame)

    def take_in(self, days: Sequence[date]) -> None:
        """Take in landing days."""
        zone, landing = self.home.landing_zone(), self.settings.landing
        for source in self.sources.values():
            folders = zone.landed_folders(source.name, days)
            if folders:
                landed = read_days(source, folders, landing)
                write_landed(self.warehouse, source, landed, list(folders))

    def infer(self, day: date, scope: str, *, views: bool = False) -> None:
        """What a daily run does after taking in; the views are defined anew where told."""
        run = self._run(day, ScopeConfig(scope=scope))
        for asset in _STEPS:
            # What is no table of the warehouse, as what is published, lies in no result.
            if asset.table is None:
                continue
            if asset.name not in self.sources and (views or asset.table.kind != "view"):
                replace_rows(asset, run, MODELS)

    def call(self, name: str, day: date | None, config: dg.Config | None = None) -> None:
        """Materialise an asset."""
        for _ in ASSETS[name].materialize(self._run(day, config)):
            pass

    def _run(self, day: date | None, config: dg.Config | None = None) -> Run:
        return Run(
            days=[day] if day else [],
            location=build_location(self.settings, [*ASSETS.values()], _DAYS),
            warehouse=self.warehouse,
            embedder=self.embedder,
            landing_zone=self.home.landing_zone(),
            config=config,
        )

    def tables(self, names: Sequence[str]) -> dict[str, pl.DataFrame]:
        """All rows of several tables."""
        with self.warehouse.read() as connection:
            return {name: connection.sql(f"from {name}").pl() for name in names}

    def table(self, name: str, where: str = "true") -> pl.DataFrame:
        """Rows of a table in a fixed order."""
        return self.warehouse.query(f"from {name} where {where} order by all")


def days_from(first: date, gaps: Sequence[int]) -> list[date]:
    """Days with gaps between them."""
    days = [first]
    for gap in gaps:
        days.append(days[-1] + timedelta(days=gap))
    return days
