"""What the steps in Python cost in this process and on a Ray cluster of this machine, on the same users in one run.

Run ``python benchmarks/engines.py --users 5000 --days 29``, or with ``--home`` on a home whose newest day was inferred.
The cluster has a CPU per core and starts before the clock; its workers load the code in a first round, which does not
count. Every figure is the best of some interleaved rounds; only ratios travel to other machines.
"""

import argparse
import json
import os
import resource
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.table import Table

from journeys_dagster.definitions import build_defs, declared_assets
from journeys_dagster.inference.embedding import TextEmbedder, embed_frame
from journeys_dagster.inference.frames import Frames
from journeys_dagster.inference.shards import ShardFolder, write_shard
from journeys_dagster.orchestration.runs import infer, ingest, missing_days
from journeys_dagster.orchestration.snapshot_asset import Snapshot, SnapshotAsset, open_snapshot, replace_step
from journeys_dagster.resources.engine import Engine, LocalEngine, engine_in_use
from journeys_dagster.resources.home import Home
from journeys_dagster.resources.ray_engine import connect
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import Settings
from journeys_dagster.sources.contracts import declared_sources
from lab.simulation import simulate

# All of them, so that it shows which are worth a cluster.
STEPS = [asset for asset in declared_assets(Settings()) if isinstance(asset, SnapshotAsset)]
MEASURED = [replace(step, heavy=True) for step in STEPS]
EMBEDDING = "keyword_embeddings"
MIB = 1024 * 1024
RENUMBER = """
    with numbered as (
        select user_id, row_number() over (order by user_id) - 1 as number from users_in_scope where as_of = $day
    )
    update users_in_scope set batch = number // $size
    from numbered
    where as_of = $day and users_in_scope.user_id = numbered.user_id
"""
PARTS = ("read", "compute", "write", "compute cpu", "ray")
COLUMNS = ("step", "local s", *(f"{part} s" for part in PARTS), "ray / local", "shards MiB", "results MiB", "same")

out = Console(width=150)


def make_home(path: Path, *, users: int, days: int) -> Home:
    """A simulated platform, inferred fully as of its last day."""
    import dagster as dg

    home, settings = Home(path), Settings()
    day = simulate(home.landing, users=users, days=days, seed=7).last_day
    defs, warehouse, zone = build_defs(settings=settings, home=home), home.warehouse(settings), home.landing_zone()
    instance = dg.DagsterInstance.ephemeral(tempdir=str(path))
    sources = [name for name in declared_sources(settings) if zone.days(name)]
    limit = settings.landing.max_rejected_share
    missing = missing_days(warehouse, zone, sources, up_to=day, max_rejected_share=limit)
    ingest(defs, instance, missing.ranges, sources=sources)
    infer(defs, instance, as_of=day, scope="all_users")
    return home


@contextmanager
def clock(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Add up wall time, and processor time of this process's threads under the name with ``cpu``."""
    begin, begin_cpu = time.perf_counter(), time.process_time()
    try:
        yield
    finally:
        seconds[name] += time.perf_counter() - begin
        seconds[f"{name} cpu"] += time.process_time() - begin_cpu


def timed(step: SnapshotAsset, seconds: dict[str, float]) -> SnapshotAsset:
    """The step, its reading and computing timed apart."""

    def read(snapshot: Snapshot, batch: int) -> Frames:
        with clock(seconds, "read"):
            return step.read(snapshot, batch)

    def compute(frames: Frames, as_of: date, settings: Settings) -> pl.DataFrame:
        with clock(seconds, "compute"):
            return step.compute(frames, as_of, settings)

    return replace(step, read=read, compute=compute)


def one_round(step: SnapshotAsset, warehouse: Warehouse, settings: dict[str, Settings], day: date) -> dict:
    """Seconds of a step on either engine, and whether the tables are the same."""
    parts: dict[str, float] = defaultdict(float)
    tables = {}
    for engine, chosen in settings.items():
        with clock(parts, engine):
            replace_step(timed(step, parts) if engine == "local" else step, open_snapshot(warehouse, chosen, day))
        tables[engine] = warehouse.query(f"from {step.name} where as_of = $day order by all", {"day": day})
    same = tables["local"].equals(tables["ray"])
    for unit in ("", " cpu"):
        parts[f"write{unit}"] = parts[f"local{unit}"] - parts[f"read{unit}"] - parts[f"compute{unit}"]
    return {"seconds": dict(parts), "same": same}


def shard_bytes(step: SnapshotAsset, warehouse: Warehouse, settings: Settings, day: date, folder: Path) -> dict:
    """Bytes of a step's shards, and of its results."""
    snapshot = open_snapshot(warehouse, settings, day)
    shards = ShardFolder.made_in(str(folder))
    in_bytes = out_bytes = 0
    for batch in range(len(snapshot.batches)):
        frames = step.read(snapshot, batch)
        in_bytes += write_shard(shards, batch, frames)["bytes"]
        out_bytes += shards.write(f"{batch:06}/rows", step.compute(frames, day, settings))
    shards.remove()
    return {"in": in_bytes, "out": out_bytes}


def embed(engine: Engine, keywords: pl.DataFrame, embedder: TextEmbedder, per_batch: int) -> pl.DataFrame:
    batches = ({"keywords": some} for some in keywords.iter_slices(per_batch))
    return pl.concat(engine.map(partial(embed_frame, embedder=embedder), batches))


def embedding_round(keywords: pl.DataFrame, embedder: TextEmbedder, engines: dict[str, Engine], per_batch: int) -> dict:
    parts: dict[str, float] = defaultdict(float)
    vectors = {}
    for name, engine in engines.items():
        with clock(parts, name):
            vectors[name] = embed(engine, keywords, embedder, per_batch)
    parts |= {"compute": parts["local"], "compute cpu": parts["local cpu"]}
    return {"seconds": dict(parts), "same": vectors["local"].equals(vectors["ray"])}


def best(rounds: list[dict]) -> dict:
    seconds = {name: min(each["seconds"][name] for each in rounds) for name in rounds[0]["seconds"]}
    return {
        "seconds": seconds,
        "ray_over_local": seconds["ray"] / seconds["local"],
        "same": all(each["same"] for each in rounds),
    }


def measure(home: Home, *, shards: int, rounds: int, keywords: int, work: Path) -> dict:
    """All steps on a copy of a home's warehouse."""
    shutil.copyfile(home.warehouse_path, work / home.warehouse_path.name)
    warehouse = Home(work).warehouse(Settings())
    day = warehouse.query("select max(as_of) as day from users_in_scope")["day"][0]
    with warehouse.write() as connection:
        users = connection.execute("select count(*) from users_in_scope where as_of = ?", [day]).fetchall()[0][0]
        connection.execute(RENUMBER, {"day": day, "size": -(-users // shards)})
    settings = {name: Settings.model_validate({"run": {"engine": name}}) for name in ("local", "ray")}
    started: dict[str, float] = defaultdict(float)
    with clock(started, "cluster"):
        connect(None, cpus_per_shard=1)
    engines = {"local": LocalEngine(), "ray": engine_in_use(settings["ray"], warehouse)}
    embedding = settings["local"].embedding
    embedder = TextEmbedder(model=embedding.model, revision=embedding.revision, batch_size=embedding.batch_size)
    texts = warehouse.query(f"select keyword from {EMBEDDING} order by hash(keyword) limit $n", {"n": keywords})
    per_batch = -(-len(texts) // shards)
    jobs: dict[str, Callable[[], dict]] = {
        EMBEDDING: partial(embedding_round, texts, embedder, engines, per_batch),
        **{step.name: partial(one_round, step, warehouse, settings, day) for step in MEASURED},
    }
    with clock(started, "first round"):
        first = {name: job() for name, job in jobs.items()}
    taken: dict[str, list[dict]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            taken[name].append(job())
    steps = {name: best(rounds) for name, rounds in taken.items()}
    for step in MEASURED:
        steps[step.name]["bytes"] = shard_bytes(step, warehouse, settings["local"], day, work / "sizes")
    return {
        "users": users,
        "shards": shards,
        "cores": os.cpu_count(),
        "keywords_embedded": len(texts),
        "cluster_start_seconds": started["cluster"],
        "first_round_seconds": started["first round"],
        "same_in_first_round": all(each["same"] for each in first.values()),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "steps": steps,
    }


def print_report(found: dict) -> None:
    table = Table(*COLUMNS, title=f"{found['users']:,} users in {found['shards']} shards, {found['cores']} cores")
    for name, step in found["steps"].items():
        seconds, sizes = step["seconds"], step.get("bytes")
        table.add_row(
            f"{name} ({found['keywords_embedded']:,} keywords)" if name == EMBEDDING else name,
            f"{seconds['local']:.2f}",
            *(f"{seconds[part]:.2f}" if part in seconds else "" for part in PARTS),
            f"{step['ray_over_local']:.2f}×",
            *(f"{sizes[part] / MIB:.1f}" if sizes else "" for part in ("in", "out")),
            "yes" if step["same"] else "NO",
        )
    local, ray = (sum(step["seconds"][engine] for step in found["steps"].values()) for engine in ("local", "ray"))
    table.add_row("all", f"{local:.2f}", *[""] * (len(PARTS) - 1), f"{ray:.2f}", f"{ray / local:.2f}×")
    out.print(table)
    out.print(
        f"cluster started in {found['cluster_start_seconds']:.1f} s; first round, where workers load the code, "
        f"{found['first_round_seconds']:.1f} s over both engines; peak memory here {found['peak_mib']:,.0f} MiB"
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=5_000)
    parser.add_argument("--days", type=int, default=29)
    parser.add_argument("--home", type=Path, help="a home whose newest day was inferred; default: a new world")
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--keywords", type=int, default=8_192, help="keywords that are embedded")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) / "work"
        work.mkdir()
        home = Home(options.home) if options.home else make_home(Path(folder), users=options.users, days=options.days)
        found = measure(home, shards=options.shards, rounds=options.rounds, keywords=options.keywords, work=work)
    if options.json:
        print(json.dumps(found))
    else:
        print_report(found)


if __name__ == "__main__":
    main()
