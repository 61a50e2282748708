"""A process that works on shards, as `journeys_dagster.resources.shard_workers` starts it."""

import json
import os
import queue
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg

from journeys_dagster.definitions import build_location, declared_assets
from journeys_dagster.errors import ExpectedError
from journeys_dagster.orchestration.asset import Asset, Location, Run
from journeys_dagster.orchestration.metadata import row_metadata
from journeys_dagster.orchestration.shard_results import encoded_results
from journeys_dagster.resources.landing_zone import LandingZone
from journeys_dagster.resources.published_files import write_files
from journeys_dagster.resources.shard_layout import ShardLayout
from journeys_dagster.resources.shards import decoded_params, see_handed, shard_warehouse
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import Settings
from journeys_dagster.sources.contracts import declared_sources
from journeys_dagster.sources.routed import route_files, take_in
from journeys_dagster.tables import quote_literal

Request = dict[str, Any]


class VersionError(ExpectedError, RuntimeError, carries_user_text=False):
    """A worker of other code than its driver's."""


@dataclass
class Work:
    """What a worker has: the code location, and the shards.

    Attributes
    ----------
    seen : dict
        Of each shard, what it was handed.
    """

    settings: Settings
    location: Location
    assets: dict[str, Asset]
    layout: ShardLayout
    driver: Warehouse
    landing: LandingZone
    log: Callable[[str], object]
    seen: dict[int, dict[str, str]] = field(default_factory=dict)

    def carry_out(self, request: Request) -> dict[str, Any]:
        """Do what is asked."""
        if request["do"] == "route":
            return self._route(request)
        warehouse = self._warehouse(request["shard"], request["views"])
        return getattr(self, f"_{request['do']}")(warehouse, request)

    def _warehouse(self, shard: int, views: dict[str, str]) -> Warehouse:
        warehouse = shard_warehouse(self.driver, self.layout, shard)
        if shard not in self.seen:
            warehouse.migrate()
            self.seen[shard] = {}
        new = {name: files for name, files in views.items() if self.seen[shard].get(name) != files}
        if new:
            see_handed(warehouse, new)
            self.seen[shard] |= new
        return warehouse

    def _route(self, request: Request) -> dict[str, Any]:
        source = declared_sources(self.settings)[request["source"]]
        files = {date.fromisoformat(day): [Path(path) for path in paths] for day, paths in request["files"].items()}
        return route_files(source, files, self.settings.landing, shards=self.layout.count, to=Path(request["to"]))

    def _take_in(self, warehouse: Warehouse, request: Request) -> dict[str, Any]:
        source = declared_sources(self.settings)[request["source"]]
        found = take_in(source, request["files"], self.settings.landing)
        warehouse.replace_days(
            [(source.table, found.accepted, {})], [date.fromisoformat(day) for day in request["days"]]
        )
        return found.counts()

    def _materialize(self, warehouse: Warehouse, request: Request) -> dict[str, Any]:
        asset, began = self.assets[request["asset"]], time.perf_counter()
        run = Run(
            days=[date.fromisoformat(day) for day in request["days"]],
            location=self.location,
            warehouse=warehouse,
            landing_zone=self.landing if "landing_zone" in asset.needs else None,
            config=asset.config(**request["config"]) if asset.config is not None else None,
            log=self.log,
            warn=self.log,
            shard=request["shard"],
            shows=request["shows"],
        )
        results: list[Any] = []
        failed = None
        try:
            results.extend(asset.materialize(run))
        except dg.Failure as failure:
            failed = failure.description
        return {**encoded_results(results), "failed": failed, "seconds": time.perf_counter() - began}

    def _describe(self, warehouse: Warehouse, request: Request) -> dict[str, Any]:
        began, table = time.perf_counter(), self.location.tables[request["table"]]
        found = [dg.MaterializeResult(metadata=row_metadata(warehouse, table, request["day"]))]
        return {**encoded_results(found), "seconds": time.perf_counter() - began}

    def _copy(self, warehouse: Warehouse, request: Request) -> dict[str, Any]:
        with warehouse.read() as connection:
            for name, sql in request["queries"].items():
                to = quote_literal(request["to"][name])
                params = decoded_params(request["params"][name])
                connection.execute(f"copy ({sql}\n) to {to} (format parquet, compression lz4)", params or None)
        return {}

    def _publish(self, warehouse: Warehouse, request: Request) -> dict[str, Any]:
        asked = [(self.location.tables[name], days) for name, days in request["tables"].items()]
        return {"files": write_files(warehouse, asked, name=request["name"])}


def main() -> None:
    """Answer requests until the driver is gone."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    lines: queue.Queue[str] = queue.Queue()
    reading = connection.makefile("r", encoding="utf-8", newline="\n")

    def listen() -> None:
        # The driver has ended, or wants this to end: what is under way is undone. One that is killed before it has read
        # a reply leaves a reset.
        with suppress(OSError):
            for line in reading:
                lines.put(line)
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()

    def send(reply: dict[str, Any]) -> None:
        connection.sendall(json.dumps(reply).encode() + b"\n")

    hello = json.loads(lines.get())
    work: Work | None = None
    while True:
        request = json.loads(lines.get())
        try:
            work = work or _begun(hello, log=lambda line: send({"log": line}))
            reply = work.carry_out(request)
        except ExpectedError as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        except Exception:  # noqa: BLE001 - the driver raises it
            reply = {"error": traceback.format_exc()}
        send(reply)


def _begun(hello: dict[str, Any], log: Callable[[str], object]) -> Work:
    settings = Settings.model_validate_json(hello["settings"])
    declared = declared_assets(settings)
    location = build_location(settings, declared, dg.DailyPartitionsDefinition(start_date="2000-01-01"))
    if location.algorithm.version != hello["algorithm_version"]:
        raise VersionError(
            f"this worker's code is of algorithm version {location.algorithm.version}, its driver's of "
            f"{hello['algorithm_version']}: install the same version for both"
        )
    return Work(
        settings=settings,
        location=replace(location, key_prefix=hello["key_prefix"]),
        assets={asset.name: asset for asset in declared},
        layout=ShardLayout(Path(hello["folder"]), hello["shards"]),
        driver=Warehouse(**hello["warehouse"]),
        landing=LandingZone(path=hello["landing"]),
        log=log,
    )


if __name__ == "__main__":
    main()
