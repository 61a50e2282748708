"""The home folder: where the landing zone, the warehouse and Dagster's own storage lie, and how they are set up."""

import logging
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from journeys_dagster.environment import home_path
from journeys_dagster.resources.file_lock import file_lock
from journeys_dagster.resources.shard_layout import read_copy
from journeys_dagster.resources.warehouse_file import WarehouseFile

if TYPE_CHECKING:
    # Late, as to import Dagster and pydantic takes longer than most of what a home is asked for.
    import dagster as dg

    from journeys_dagster.resources.landing_zone import LandingZone
    from journeys_dagster.resources.run_lock import RunWarehouse
    from journeys_dagster.resources.warehouse import Warehouse
    from journeys_dagster.settings import Settings

_DAGSTER_SETTINGS = "dagster.yaml"
_SHIPPED_DAGSTER_SETTINGS = Path(__file__).with_name(_DAGSTER_SETTINGS)
_MOVED_MODULES = {"journeys_dagster.automation.run_launcher": "journeys_dagster.orchestration.run_launcher"}
"""Modules that the `dagster.yaml` of older homes names, and where they are now: Dagster would not start without."""
_COMMAND_SETTINGS = "commands.yaml"
_KEPT_RECORDS = {"module": "journeys_dagster.orchestration.records", "class": "KeptEventLogStorage"}
_STORAGES = {"storage", "run_storage", "event_log_storage", "schedule_storage"}
"""Settings by which an operator has chosen where Dagster keeps its records."""
_SETUP_TIMEOUT_SECONDS = 120.0
_LOOK_UP_CONFIG = {"memory_limit": "1GB"}
_LOOK_UP_TIMEOUT_SECONDS = 600.0


@dataclass(frozen=True)
class Home:
    """All state of one installation, below one folder."""

    path: Path

    @classmethod
    def from_environment(cls) -> "Home":
        """The home named by ``JOURNEYS_HOME``, default ``.journeys`` in the working folder."""
        return cls(home_path())

    @property
    def landing(self) -> Path:
        """The landing zone."""
        return self.path / "landing"

    @property
    def dagster(self) -> Path:
        """Dagster's home: runs, event logs, schedules."""
        return self.path / "dagster"

    @property
    def warehouse_path(self) -> Path:
        """The warehouse's file."""
        return self.path / "warehouse.duckdb"

    @property
    def has_dagster(self) -> bool:
        """Whether Dagster's home is set up."""
        return (self.dagster / _DAGSTER_SETTINGS).exists()

    def differing_dagster_settings(self) -> list[str]:
        """Sections of the home's `dagster.yaml` that differ from the one that comes with the project.

        The home's copy belongs to its operator, so an upgrade leaves it as it is.
        """
        import yaml

        if not self.has_dagster:
            return []
        own, shipped = (
            yaml.safe_load(file.read_text(encoding="utf-8")) or {}
            for file in (self.dagster / _DAGSTER_SETTINGS, _SHIPPED_DAGSTER_SETTINGS)
        )
        return sorted(name for name in own.keys() | shipped.keys() if own.get(name) != shipped.get(name))

    def landing_zone(self) -> "LandingZone":
        """The landing zone as a resource."""
        from journeys_dagster.resources.landing_zone import LandingZone

        return LandingZone(path=str(self.landing))

    def look_up(self) -> WarehouseFile:
        """The warehouse for whoever reads a few rows, which takes less time than to read the settings does."""
        return WarehouseFile(self.warehouse_path, _LOOK_UP_CONFIG, _LOOK_UP_TIMEOUT_SECONDS)

    def look_up_of(self, user_id: str) -> WarehouseFile:
        """The same, of the shard of a user where users are split."""
        layout = read_copy(self.path)
        return self.look_up() if layout is None else replace(self.look_up(), path=layout.path_of(user_id))

    def warehouse(self, settings: "Settings") -> "Warehouse":
        """The warehouse, for whoever reads or writes it outside a run."""
        from journeys_dagster.resources.warehouse import Warehouse

        return Warehouse(**self._warehouse_fields(settings))

    def run_warehouse(self, settings: "Settings") -> "RunWarehouse":
        """The warehouse as the resource of runs, which take turns."""
        from journeys_dagster.resources.run_lock import RunWarehouse

        return RunWarehouse(shards=settings.run.shards, **self._warehouse_fields(settings))

    def _warehouse_fields(self, settings: "Settings") -> dict[str, Any]:
        self.path.mkdir(parents=True, exist_ok=True)
        return {
            "database": str(self.warehouse_path),
            "connection_config": self._connection_config(settings),
            "lock_timeout_seconds": settings.run.lock_timeout_seconds,
            "query_limit_hours": settings.run.query_limit_hours,
            "users_per_query": settings.run.users_per_query,
        }

    def _connection_config(self, settings: "Settings") -> dict[str, Any]:
        threads = settings.run.warehouse_threads or os.cpu_count() or 1
        if settings.run.shards > 1 and not settings.run.warehouse_threads:
            threads = max(1, threads // min(settings.run.workers, settings.run.shards))
        return {
            "memory_limit": settings.run.warehouse_memory_limit,
            "threads": threads,
            # Else the threads that compute give memory back, and ask for it again for the next query.
            "allocator_background_threads": True,
        }

    def dagster_instance(self) -> "dg.DagsterInstance":
        """Dagster's instance, its storage set up by one process before any other opens it.

        Storage that several processes open for the first time at once stays broken (dagster issue 27390).
        """
        import dagster as dg

        with file_lock(self.path / "setup.lock", shared=False, timeout_seconds=_SETUP_TIMEOUT_SECONDS):
            self.landing.mkdir(parents=True, exist_ok=True)
            self.dagster.mkdir(parents=True, exist_ok=True)
            self.name_moved_modules()
            if not self.has_dagster:
                shutil.copyfile(_SHIPPED_DAGSTER_SETTINGS, self.dagster / _DAGSTER_SETTINGS)
            os.environ["DAGSTER_HOME"] = str(self.dagster)
            return dg.DagsterInstance.from_config(str(self.dagster), self._settings_of_commands())

    def _settings_of_commands(self) -> str:
        """Name of the file with the instance's settings for commands: the home's own, with records that stay open."""
        import yaml

        settings = yaml.safe_load((self.dagster / _DAGSTER_SETTINGS).read_text(encoding="utf-8")) or {}
        if _STORAGES & settings.keys():
            return _DAGSTER_SETTINGS
        records = {**_KEPT_RECORDS, "config": {"base_dir": str(self.dagster / "history" / "runs")}}
        new = self.dagster / f"{_COMMAND_SETTINGS}.new"
        new.write_text(yaml.safe_dump(settings | {"event_log_storage": records}), encoding="utf-8")
        new.replace(self.dagster / _COMMAND_SETTINGS)
        return _COMMAND_SETTINGS

    def name_moved_modules(self) -> None:
        """Mend the home's `dagster.yaml` where it names modules that have moved since, and nothing else of it."""
        if not self.has_dagster:
            return
        file = self.dagster / _DAGSTER_SETTINGS
        settings = file.read_text(encoding="utf-8")
        moved = {before: now for before, now in _MOVED_MODULES.items() if before in settings}
        for before, now in moved.items():
            settings = settings.replace(before, now)
            logging.getLogger(__name__).warning("%s: %s is now %s, and named so.", file, before, now)
        if moved:
            mended = file.with_suffix(".mended")
            mended.write_text(settings, encoding="utf-8")
            shutil.copymode(file, mended)
            mended.replace(file)
