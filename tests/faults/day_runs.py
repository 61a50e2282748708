"""The assets' work without Dagster's event log, plots and metadata, so that hundreds of small logs can be run."""

import functools
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from assets import keyword_embeddings, safety_verdicts, users_in_scope
from assets.expansions import EXPANSIONS
from assets.sources import write_landed
from journeys_dagster.graph import STEPS, build_assets
from journeys_dagster.inference.embedding import TextEmbedder
from journeys_dagster.orchestration.partitions import daily_partitions
from journeys_dagster.orchestration.run_config import ScopeConfig
from journeys_dagster.orchestration.snapshots import open_snapshot, replace_step
from journeys_dagster.orchestration.sql_assets import replace_model
from journeys_dagster.resources.database_file import open_database
from journeys_dagster.resources.home import Home
from journeys_dagster.settings import Settings
from journeys_dagster.sources.contracts import declared_sources
from journeys_dagster.sources.parameters import query_parameters
from journeys_dagster.sources.reader import read_days
from journeys_dagster.sources.writer import write_day
from journeys_dagster.sql.models import load_audits, load_macros, load_models

FIRST_DAY = date(2024, 1, 1)
MODELS, AUDITS, MACROS = load_models(), load_audits(), load_macros()
# What is offered beside a user's journeys depends on everyone's newest snapshots, so on which days were run.
STEP_OF = {step.name: step for step in STEPS if step.name != EXPANSIONS.name}
_SQL_SNAPSHOTS = [model.table for model in MODELS.values() if model.materialized == "snapshot"]
OF_USERS = [
    table.name for table in [*_SQL_SNAPSHOTS, *(step.table for step in STEP_OF.values())] if "user_id" in table.columns
]
"""Tables whose rows are replaced by (`as_of`, users in scope)."""
OF_EVERYONE = [table.name for table in _SQL_SNAPSHOTS if "user_id" not in table.columns]


@functools.cache
def _assets() -> dict[str, dg.AssetsDefinition]:
    assets = build_assets(Settings(), daily_partitions(FIRST_DAY), MODELS)
    return {asset.key.to_user_string(): asset for asset in assets}


@functools.cache
def _in_order() -> list[str]:
    """All assets in the order of the asset graph."""
    upstream = {
        name: {key.to_user_string() for key in asset.asset_deps[asset.key]} for name, asset in _assets().items()
    }
    return [*TopologicalSorter(upstream).static_order()]


@functools.cache
def _instance() -> dg.DagsterInstance:
    return dg.DagsterInstance.ephemeral()


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
        self.warehouse.replace_table(keyword_embeddings.TABLE, [frame])

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
                landed = read_days(
                    source,
                    folders,
                    max_text_length=landing.max_text_length,
                    future_tolerance_hours=landing.future_tolerance_hours,
                    max_rows_per_user_per_day=landing.max_rows_per_user_per_day,
                )
                write_landed(self.warehouse, source, landed, list(folders))

    def infer(self, day: date, scope: str, *, views: bool = False) -> None:
        """What a daily run does after taking in; the views are defined anew where told."""
        for name in _in_order():
            if name in STEP_OF:
                replace_step(STEP_OF[name], open_snapshot(self.warehouse, self.settings, day))
            elif name in MODELS and (views or MODELS[name].materialized == "snapshot"):
                params = query_parameters(self.settings, day)
                replace_model(self.warehouse, MODELS[name], AUDITS.get(name, []), params, MACROS)
            elif name == users_in_scope.TABLE.name:
                self.call(name, day, config=ScopeConfig(scope=scope))
            elif name in {keyword_embeddings.TABLE.name, safety_verdicts.TABLE.name}:
                self.call(name, day)

    def call(self, name: str, day: date | None, **arguments: Any) -> None:
        """Call the body of an asset."""
        asset = _assets()[name]
        key = day.isoformat() if day and asset.partitions_def else None
        context = dg.build_asset_context(partition_key=key, instance=_instance())
        resources = {
            "warehouse": self.warehouse,
            "settings": self.settings,
            "embedder": self.embedder,
            "landing_zone": self.home.landing_zone(),
        }
        needed = {name: resources[name] for name in asset.required_resource_keys & resources.keys()}
        asset(context, **arguments, **needed)

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
