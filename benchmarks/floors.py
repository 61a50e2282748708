"""The floors of steps: what a machine needs to read their inputs once, write their rows once, and multiply vectors."""

import os
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl

from journeys_dagster.resources.home import Home
from journeys_dagster.settings import Settings, load_settings

SOURCES = ("items", "searches", "engagements", "board_items")
EMBEDDED_NUMBERS, COMPARED_NUMBERS = 384, 512
"""Of a keyword's embedding, and with the hashed letters beside it that clusters compare."""
DISTINCT_KEYWORDS = 8_500
"""That a batch of users of the simulated world has."""
FLOORED = 1.0
"""Steps that take fewer seconds are not compared with their floor: what they take is Dagster's and the disk's."""


def parquet_of(landing: Path, *sources: str) -> str:
    """All files of some sources as a table of DuckDB."""
    patterns = ", ".join(f"'{landing}/{source}/*/*.parquet'" for source in sources)
    return f"read_parquet([{patterns}], union_by_name = true)"


def measure_floors(day: date) -> dict[str, Any]:
    """Reading the Parquet once, and of each table of the full run: reading it once, and writing it once."""
    home, settings = Home.from_environment(), load_settings()
    with tempfile.TemporaryDirectory(dir=home.path) as scratch:
        connection = duckdb.connect(
            str(Path(scratch) / "scratch.duckdb"), config={"memory_limit": settings.run.warehouse_memory_limit}
        )
        connection.execute(f"attach '{home.warehouse_path}' as warehouse (read_only)")
        landing = "; ".join(
            f"select bit_xor(hash(rows)) from {parquet_of(home.landing, source)} as rows" for source in SOURCES
        )
        floors = {"parquet_read": _seconds(lambda: connection.execute(landing).fetchall())}
        tables = connection.execute(
            "select table_name, bool_or(column_name = 'as_of') from duckdb_columns() "
            "where database_name = 'warehouse' and table_name in (select table_name from duckdb_tables()) group by all"
        ).fetchall()
        read, write = {}, {}
        for name, has_day in tables:
            only = f"where as_of = date '{day}'" if has_day else ""
            rows = f'warehouse."{name}" {only}'
            read[name] = _seconds(
                lambda name=name, only=only: connection.execute(
                    f'select bit_xor(hash(rows)) from warehouse."{name}" as rows {only}'
                )
            )
            write[name] = _seconds(
                lambda name=name, rows=rows: connection.execute(f'create table "{name}" as from {rows}')
            )
        connection.close()
    return {**floors, "read": read, "write": write, "vector_products": _vector_products(home, settings, day)}


def _seconds(job: Callable[[], object]) -> float:
    started = time.perf_counter()
    job()
    return time.perf_counter() - started


def _vector_products(home: Home, settings: Settings, day: date) -> dict[str, float]:
    """Processor seconds for what steps cannot compute less of with vectors, from those of one batch of users.

    Of `clusters` the dot products of each two keywords of a user; of `diversified_journeys` the weighted means of each
    journey's keywords, and the dot products of each two journeys of a user.
    """
    from journeys_dagster.inference.diversification import occurrences_above
    from journeys_dagster.inference.segments import centroids

    journeys = home.warehouse(settings).query(
        "select user_id, count(*) as keywords from clusters where as_of = $day group by user_id, cluster order by all",
        {"day": day},
    )
    users = journeys.group_by("user_id", maintain_order=True).agg(pl.col("keywords").sum(), journeys=pl.len())
    some = users.head(settings.run.users_per_batch)
    keywords = some["keywords"].to_list()
    lists = np.concatenate([[0], np.cumsum(some["journeys"], dtype=np.int64)])
    members = np.concatenate([[0], np.cumsum(journeys["keywords"].head(lists[-1]), dtype=np.int64)])
    random = np.random.default_rng(0)
    compared = random.normal(size=(max(keywords), COMPARED_NUMBERS)).astype(np.float32)
    embedded = random.normal(size=(DISTINCT_KEYWORDS, EMBEDDED_NUMBERS)).astype(np.float32)
    codes, weights = random.integers(len(embedded), size=members[-1]), np.ones(members[-1])

    def compare_journeys() -> None:
        occurrences_above(centroids(embedded, codes, weights, members), lists, similarity_threshold=0.5)

    per_batch = {
        "clusters": _processor_seconds(lambda: [compared[:count] @ compared[:count].T for count in keywords]),
        "diversified_journeys": _processor_seconds(compare_journeys),
    }
    return {step: seconds * len(users) / len(some) for step, seconds in per_batch.items()}


def _processor_seconds(job: Callable[[], object]) -> float:
    """Of the second time: the first one may load what is compiled."""
    job()
    started = time.process_time()
    job()
    return time.process_time() - started


def add_floors(found: dict[str, Any]) -> None:
    """Put beside each longer step of the full run its floor, and how many times that it took."""
    from journeys_dagster.definitions import build_defs

    graph = build_defs().resolve_asset_graph()
    needs = {
        key.to_user_string(): {parent.to_user_string() for parent in graph.get(key).parent_keys}
        for key in graph.get_all_asset_keys()
    }
    floors = found["floors"]

    def tables_of(name: str) -> set[str]:
        """A view is read by reading the tables behind it."""
        return {name} if name in floors["read"] else {table for up in needs.get(name, ()) for table in tables_of(up)}

    for row in found["full"]["steps"]:
        step = row["step"]
        if step not in floors["write"] or step not in needs or row["seconds"] < FLOORED:
            continue
        read = sum(floors["read"].get(table, 0.0) for up in needs[step] for table in tables_of(up))
        products = floors["vector_products"].get(step, 0.0) / (os.cpu_count() or 1)
        row["floor_seconds"] = read + floors["write"][step] + products
        row["over_floor"] = row["seconds"] / row["floor_seconds"]
