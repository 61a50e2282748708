"""How an asset is materialised where users are split over shards.

What is per user is computed in each shard by the same asset, and what the shards say of it is put together. What is of
the population is computed by the driver, from what each shard tells of its users.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl

from journeys_dagster.orchestration.shard_results import merged_checks, merged_metadata
from journeys_dagster.resources.published_files import publish_files
from journeys_dagster.resources.shards import Shards, query_parts
from journeys_dagster.sources.contracts import Source
from journeys_dagster.sources.files import landing_files
from journeys_dagster.sources.reader import LandedRows
from journeys_dagster.sources.routed import fingerprints_of, put_together, rows_of_shard, shares_of_files
from journeys_dagster.sql.models import SqlModel, tables_of
from journeys_dagster.sql.partials import merged
from journeys_dagster.tables import Table

if TYPE_CHECKING:
    from journeys_dagster.orchestration.asset import Asset, Location, Results, Run


def materialize_sharded(asset: "Asset", run: "Run", shards: Shards) -> "Results":
    """Materialise an asset for the users of all shards."""
    location = run.location
    if asset.is_per_user and not asset.gathers:
        yield from _in_each_shard(asset, run, shards)
        return
    is_view = asset.table is not None and asset.table.kind == "view"
    if is_view and (users := _tables_of_users(asset.deps, location)):
        publish_files(shards, [location.tables[name] for name in users], run.days)
    yield from asset.materialize(run)
    shards.changed(asset.name)
    if is_view:
        # Shards have the same view, of their users and of what they are handed.
        shards.hand_out(_handed(asset.deps, location), run.days)
        shards.each("materialize", asset=asset.name, days=_texts(run.days), config={}, shows=False)


def cannot_be_split(asset: "Asset", location: "Location") -> bool:
    """Whether an asset of the population reads users' tables as a whole."""
    if asset.is_per_user or asset.gathers:
        return False
    return any(not location.tables[name].published for name in _tables_of_users(asset.deps, location))


def gather(run: "Run", shards: Shards, partial: str, params: Mapping[str, Any], *, merge: str) -> pl.DataFrame:
    """Rows of a query on users' tables of each shard, put together by a query that reads them as ``parts``."""
    shards.hand_out(_handed(tables_of(partial), run.location), run.days)
    with shards.parts({"parts": partial}, params) as parts, run.warehouse.read() as connection:
        return query_parts(connection, merge, parts["parts"], params)


@contextmanager
def with_parts(run: "Run", model: SqlModel, params: Mapping[str, Any]) -> Iterator[str]:
    """The query of a model of the population, on what its shards have computed of it."""
    if run.shards is None or not model.partials:
        yield model.sql
        return
    run.shards.hand_out(_handed(model.depends_on, run.location), run.days)
    with run.shards.parts({partial.name: partial.select for partial in model.partials}, params) as parts:
        yield merged(
            model.sql,
            {partial.name: f"with parts as ({parts[partial.name]}) {partial.merge}" for partial in model.partials},
        )


def take_in_by_shard(run: "Run", shards: Shards, source: Source, folders: Mapping[date, Path]) -> LandedRows:
    """Read landing days once, each file by one worker, and let each shard take in the rows of its users."""
    files = {day: landing_files(folder.resolve()) for day, folder in folders.items()}
    fingerprints = fingerprints_of(files)
    with shards.incoming() as incoming:
        shares = shares_of_files(files, shards.workers.count)
        routed_to = [incoming / f"{number:03}" for number in range(len(shares))]
        routed = shards.workers.run(
            [
                {
                    "do": "route",
                    "source": source.name,
                    "files": {day.isoformat(): list(map(str, paths)) for day, paths in share.items()},
                    "to": str(to),
                }
                for share, to in zip(shares, routed_to, strict=True)
            ]
        )
        of_each = [{"files": rows_of_shard(routed_to, shard)} for shard in range(shards.count)]
        taken_in = shards.each("take_in", source=source.name, days=_texts(folders), of_each=of_each)
        return put_together(
            source, files, fingerprints=fingerprints, folders=routed_to, routed=routed, taken_in=taken_in
        )


def describe(shards: Shards, table: Table, day: date) -> dict[str, Any]:
    """Counts and a sample of a table's rows of a day, of all shards."""
    return merged_metadata(shards.each("describe", table=table.name, day=day.isoformat()))


def _in_each_shard(asset: "Asset", run: "Run", shards: Shards) -> "Results":
    read = {*asset.deps, *(name for audit in run.location.audits.get(asset.name, ()) for name in audit.depends_on)}
    shards.hand_out(_handed(read, run.location), run.days)
    config = run.config.model_dump() if run.config is not None else {}
    replies = shards.each(
        "materialize",
        asset=asset.name,
        days=_texts(run.days),
        config=config,
        of_each=[{"shows": shard == 0} for shard in range(shards.count)],
    )
    checks = merged_checks(replies)
    failed = [f"shard {shard}: {reply['failed']}" for shard, reply in enumerate(replies) if reply["failed"]]
    if failed:
        yield from checks
        raise dg.Failure("; ".join(failed), allow_retries=False)
    yield dg.MaterializeResult(metadata=merged_metadata(replies), check_results=checks)


def _tables_of_users(names: Iterable[str], location: "Location") -> list[str]:
    return sorted(name for name in names if name in location.tables and location.tables[name].is_per_user)


def _handed(names: Collection[str], location: "Location") -> list[Table]:
    """The tables of the population that are read, those behind views too."""
    found: dict[str, Table] = {}
    seen: set[str] = set()
    waiting = sorted(names)
    while waiting:
        name = waiting.pop(0)
        table = location.tables.get(name)
        if name in seen or table is None:
            continue
        seen.add(name)
        if table.kind == "view":
            waiting += sorted(location.views.get(name, ()))
        elif not table.is_per_user:
            found[name] = table
    return list(found.values())


def _texts(days: Iterable[date]) -> Sequence[str]:
    return [day.isoformat() for day in days]
