"""How fast users' keywords are clustered, beside scikit-learn, SciPy and fastcluster, on made-up users.

Run ``python benchmarks/clustering.py --users 5000 --keywords 45``. All methods get the same vectors, times, items, and
compare keywords by the same full similarity: the loops compute it per user in NumPy, the kernel in compiled code.
Every figure is the best of some interleaved repeats within one run; only their ratios travel to other machines.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from journeys_dagster.inference.clustering import cluster_keywords
from journeys_dagster.inference.linkage import average_linkage, pair_distances
from journeys_dagster.inference.similarity import Similarity, keyword_similarity
from journeys_dagster.settings import ClusterSettings

SETTINGS = ClusterSettings()  # type: ignore[call-arg]
DIMENSIONS, TOPICS, VOCABULARY = 512, 500, 20_000
GROWTH_KEYWORDS = (25, 50, 100, 200, 400)
GROWTH_USERS = (1_000, 10_000, 100_000)
STREAMED_AT_ONCE = 20_000
LOOPS = ("scikit-learn", "SciPy", "fastcluster")
KERNELS = {"kernel, 1 thread": 1, "kernel, 2 threads": 2}

out = Console(stderr=False)


@dataclass(frozen=True)
class Texts:
    """Distinct keywords with unit vectors that lie around topics."""

    keywords: list[str]
    vectors: NDArray[np.float32]


def make_texts(seed: int = 0) -> Texts:
    rng = np.random.default_rng(seed)
    topics = rng.normal(size=(TOPICS, DIMENSIONS))
    vectors = topics[np.arange(VOCABULARY) % TOPICS] + 1.2 * rng.normal(size=(VOCABULARY, DIMENSIONS))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    syllables = np.array(["ka", "lo", "mi", "ren", "sta", "vu", "pol", "ti", "gra", "ne"])
    words = ["".join(syllables[rng.integers(10, size=3)]) for _ in range(TOPICS * 4)]
    texts = [f"{words[i % TOPICS]} {words[rng.integers(len(words))]} {i}" for i in range(VOCABULARY)]
    return Texts(texts, vectors.astype(np.float32))


def make_users(texts: Texts, users: int, keywords: int, seed: int = 1) -> pl.DataFrame:
    """Rows as `cluster_keywords` takes them: users with a handful of topics, keywords with a few times and items."""
    rng = np.random.default_rng(seed)
    per_topic = VOCABULARY // TOPICS
    topics = np.argsort(rng.random((users, TOPICS)), axis=1)[:, : max(8, -(-keywords // 20))]
    pool = (topics[:, :, None] + TOPICS * np.arange(per_topic)).reshape(users, -1)
    order = np.argsort(rng.random(pool.shape), axis=1)[:, :keywords]
    codes = np.take_along_axis(pool, order, axis=1).ravel()
    rows = len(codes)
    minutes = rng.integers(0, 60 * 24 * 90, size=(rows, 3))
    microseconds = np.sort(minutes, axis=1) * 60_000_000 + np.datetime64("2025-01-01", "us").astype(np.int64)
    some_items = rng.integers(0, 5_000, size=(rows, 2))
    return pl.DataFrame(
        {
            "user_id": np.repeat(np.arange(users), keywords),
            "code": codes,
            "weight": rng.random(rows) + 0.1,
            "recent_times": pl.Series(microseconds).arr.to_list().cast(pl.List(pl.Datetime("us"))),
            "recent_items": pl.Series(some_items).arr.to_list().cast(pl.List(pl.String)),
        }
    ).with_columns(
        user_id=pl.format("user {}", pl.col("user_id").cast(pl.String).str.zfill(7)),
        keyword=pl.Series(texts.keywords).gather(codes),
        sources=pl.lit(["search"]),
    )


def prepared(texts: Texts, users: int, keywords: int) -> Similarity:
    rows = make_users(texts, users, keywords).sort("user_id", "keyword")
    return keyword_similarity(rows, texts.vectors, SETTINGS)


def numpy_distances(similarity: Similarity, user: int) -> NDArray[np.float64]:
    """The same distances as the kernel's, by array operations."""
    rows, model = similarity.rows, similarity.model
    of_rows = slice(rows.starts[user], rows.starts[user + 1])
    block = similarity.vectors[rows.codes[of_rows]]
    logits = (block @ block.T).astype(np.float64)
    n = len(block)
    times, items = rows.times[of_rows], rows.items[of_rows]
    closeness = np.zeros((n, n))  # of each row's times to the nearest time of the others
    for own in times.T:
        gaps = np.full((n, n), np.inf)
        for other in times.T:
            np.fmin(gaps, np.abs(own[:, None] - other), out=gaps)
        closeness += model.time_scale / (model.time_scale + gaps)
    closeness /= np.isfinite(times).sum(axis=1, keepdims=True)
    shared = np.zeros((n, n), dtype=bool)
    for own in items.T:
        for other in items.T:
            shared |= (own[:, None] == other) & (other >= 0)
    weights = np.minimum(rows.time_weights[of_rows][:, None], rows.time_weights[of_rows])
    logits += model.offset + weights * (closeness + closeness.T) / 2 + model.item_weight * shared
    distances = 1.0 / (1.0 + np.exp(logits))
    np.fill_diagonal(distances, 0.0)
    return distances


def by_scikit_learn(distances: NDArray[np.float64], threshold: float) -> NDArray[np.int64]:
    from sklearn.cluster import AgglomerativeClustering

    model = AgglomerativeClustering(
        n_clusters=None, metric="precomputed", linkage="average", distance_threshold=threshold
    )
    return model.fit_predict(distances)


def by_scipy(distances: NDArray[np.float64], threshold: float) -> NDArray[np.int64]:
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    return fcluster(linkage(squareform(distances, checks=False), "average"), threshold, "distance")


def by_fastcluster(distances: NDArray[np.float64], threshold: float) -> NDArray[np.int64]:
    import fastcluster
    from scipy.cluster.hierarchy import fcluster
    from scipy.spatial.distance import squareform

    merges = fastcluster.linkage(squareform(distances, checks=False), "average", preserve_input=False)
    return fcluster(merges, threshold, "distance")


_LINK = dict(zip(LOOPS, (by_scikit_learn, by_scipy, by_fastcluster), strict=True))


def loop(name: str, similarity: Similarity, users: int) -> list[NDArray[np.int64]]:
    link = _LINK[name]
    return [link(numpy_distances(similarity, user), similarity.distance_threshold) for user in range(users)]


def kernel(similarity: Similarity, threads: int) -> NDArray[np.int32]:
    return average_linkage(
        similarity.vectors,
        similarity.rows,
        similarity.model,
        distance_threshold=similarity.distance_threshold,
        threads=threads,
    )


def numpy_dots(similarity: Similarity, users: int) -> None:
    starts, codes = similarity.rows.starts, similarity.rows.codes
    for user in range(users):
        block = similarity.vectors[codes[starts[user] : starts[user + 1]]]
        block @ block.T


def compiled_dots(similarity: Similarity, users: int) -> None:
    from journeys_dagster.inference.linkage_kernel import TILE, dot_products, gather

    starts, codes = similarity.rows.starts, similarity.rows.codes
    side = -(-int(np.diff(starts).max()) // TILE) * TILE
    block = np.empty((side, similarity.vectors.shape[1]), dtype=np.float32)
    products = np.empty((side, side), dtype=np.float32)
    for user in range(users):
        gather(similarity.vectors, codes[starts[user] : starts[user + 1]], block)
        dot_products(block, products)


def best_seconds(jobs: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """The least time of each job, the jobs taking turns; BLAS on one thread, so that threads are those of the title."""
    seconds = dict.fromkeys(jobs, float("inf"))
    with threadpool_limits(1):
        for _ in range(repeats):
            for name, job in jobs.items():
                started = time.perf_counter()
                job()
                seconds[name] = min(seconds[name], time.perf_counter() - started)
    return seconds


def users_per_second(similarity: Similarity, *, looped: int, repeats: int) -> dict[str, float]:
    """Users per second of the loops, on the first `looped` users, and of the kernel, on all."""
    users = len(similarity.rows.starts) - 1
    jobs: dict[str, Callable[[], object]] = {
        name: lambda name=name: loop(name, similarity, looped) for name in LOOPS
    } | {name: lambda threads=threads: kernel(similarity, threads) for name, threads in KERNELS.items()}
    kernel(similarity, 1)
    seconds = best_seconds(jobs, repeats)
    return {name: (looped if name in LOOPS else users) / seconds[name] for name in jobs}


def same_clusters(ours: NDArray, theirs: NDArray) -> bool:
    """Whether two labellings are the same but for the numbers."""
    pairs = len({*zip(ours.tolist(), theirs.tolist(), strict=True)})
    return pairs == len(set(ours.tolist())) == len(set(theirs.tolist()))


def agreement(similarity: Similarity, users: int) -> dict[str, float]:
    """Share of users to whom each loop and the kernel give the same clusters, and the largest distance apart."""
    labels, starts = kernel(similarity, 2), similarity.rows.starts
    ours = [labels[starts[user] : starts[user + 1]] for user in range(users)]
    shares = {name: sum(map(same_clusters, ours, loop(name, similarity, users))) / users for name in LOOPS}
    apart = max(
        float(
            np.abs(
                numpy_distances(similarity, user)
                - pair_distances(similarity.vectors, similarity.rows, similarity.model, user=user)
            ).max()
        )
        for user in range(min(users, 20))
    )
    return {**shares, "largest difference of distances": apart}


def main_table(texts: Texts, users: int, keywords: int, looped: int, repeats: int) -> dict:
    similarity = prepared(texts, users, keywords)
    looped = min(looped, users)
    speeds = users_per_second(similarity, looped=looped, repeats=repeats)
    rows = make_users(texts, users, keywords)
    seconds = best_seconds(
        {
            "NumPy": lambda: numpy_dots(similarity, users),
            "compiled": lambda: compiled_dots(similarity, users),
            "kernel": lambda: kernel(similarity, 1),
            "similarity": lambda: [numpy_distances(similarity, user) for user in range(looped)],
            "table": lambda: cluster_keywords(rows, texts.vectors, SETTINGS),
        },
        repeats,
    )
    dots = min(seconds["NumPy"], seconds["compiled"])
    return {
        "users": users,
        "keywords_per_user": keywords,
        "looped_users": looped,
        "users_per_second": speeds,
        "kernel_over": {name: {method: speeds[method] / speeds[name] for method in KERNELS} for name in LOOPS},
        "similarity_in_numpy_users_per_second": looped / seconds["similarity"],
        "dots_users_per_second": {name: users / seconds[name] for name in ("NumPy", "compiled")},
        "kernel_time_over_dots": seconds["kernel"] / dots,
        "cluster_keywords_users_per_second": users / seconds["table"],
        "same_clusters": agreement(similarity, min(looped, 500)),
    }


def growth_over_keywords(texts: Texts, repeats: int) -> list[dict]:
    found = []
    for keywords in GROWTH_KEYWORDS:
        users = max(50, round(2_000 * (50 / keywords) ** 2))
        similarity = prepared(texts, users, keywords)
        looped = max(8, min(500, users // 6))
        speeds = users_per_second(similarity, looped=looped, repeats=repeats)
        found.append(
            {"keywords_per_user": keywords, "users": users, "looped_users": looped, "users_per_second": speeds}
        )
    return found


def growth_over_users(texts: Texts, keywords: int) -> list[dict]:
    found = []
    for users in GROWTH_USERS:
        similarity = prepared(texts, users, keywords)
        seconds = best_seconds({"kernel": lambda similarity=similarity: kernel(similarity, 2)}, 2)["kernel"]
        found.append({"users": users, "seconds": seconds, "users_per_second": users / seconds})
    return found


def in_new_process(*words: object, **environment: str) -> dict:
    """What this file prints as JSON when it runs on its own with other options."""
    command = [sys.executable, str(Path(__file__).resolve()), *map(str, words)]
    done = subprocess.run(command, env=os.environ | environment, check=True, capture_output=True, text=True)  # noqa: S603
    return json.loads(done.stdout)


def first_call() -> dict:
    """Seconds of the first call in this process, and of the second."""
    similarity = prepared(make_texts(), 2, 10)
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        kernel(similarity, 1)
        seconds.append(time.perf_counter() - started)
    return {"first": seconds[0], "second": seconds[1]}


def compile_times() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as empty:
        compiled = in_new_process("--first-call", NUMBA_CACHE_DIR=empty)
        cached = in_new_process("--first-call", NUMBA_CACHE_DIR=empty)
    return {"compiled": compiled["first"], "from_cache": cached["first"], "second_call": cached["second"]}


def peak_memory_mib() -> float:
    """Of this process; the operating system's own count starts with that of the process that started it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("peak memory can only be told on Linux: run with --memory-users 0")


def stream(users: int, keywords: int) -> dict:
    """Cluster users batch by batch, as the asset does, and look at the peak of this process's memory."""
    texts = make_texts()
    cluster_keywords(make_users(texts, 10, keywords), texts.vectors, SETTINGS)
    before, seconds, clusters = peak_memory_mib(), 0.0, 0
    first_batch = before
    for begin in range(0, users, STREAMED_AT_ONCE):
        rows = make_users(texts, min(STREAMED_AT_ONCE, users - begin), keywords, seed=begin + 1)
        started = time.perf_counter()
        clustered = cluster_keywords(rows, texts.vectors, SETTINGS)
        seconds += time.perf_counter() - started
        clusters += clustered.select("user_id", "cluster").n_unique()
        if begin == 0:
            first_batch = peak_memory_mib()
    return {
        "users": users,
        "users_at_once": STREAMED_AT_ONCE,
        "clusters": clusters,
        "seconds": seconds,
        "users_per_second": users / seconds,
        "mib_before": before,
        "mib_after_first_batch": first_batch,
        "mib_peak": peak_memory_mib(),
    }


def draw(growth: list[dict], path: Path) -> None:
    from journeys_dagster.reporting.canvas import COLOURS, legend, new_axes, to_png

    figure, axes = new_axes(
        title="Users clustered per second",
        subtitle="the same full similarity in each; made-up users, embeddings of 512 dimensions",
        x_label="keywords per user",
        y_label="users per second",
    )
    handles = []
    names = [*KERNELS, *reversed(LOOPS)]
    for colour, name in zip(COLOURS, names, strict=False):
        speeds = [row["users_per_second"][name] for row in growth]
        (handle,) = axes.plot([row["keywords_per_user"] for row in growth], speeds, "o-", color=colour, markersize=3)
        handles.append(handle)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(GROWTH_KEYWORDS, [str(keywords) for keywords in GROWTH_KEYWORDS])
    axes.minorticks_off()
    legend(axes, handles, names)
    path.write_bytes(to_png(figure))


def print_main(found: dict) -> None:
    table = Table("method", "users/s", *(f"{name} over it" for name in KERNELS))
    table.title = f"{found['users']:,} users × {found['keywords_per_user']} keywords"
    for name, speed in found["users_per_second"].items():
        ratios = found["kernel_over"].get(name, {})
        table.add_row(name, f"{speed:,.0f}", *(f"{ratios[method]:.1f}×" if ratios else "" for method in KERNELS))
    out.print(table)
    dots = found["dots_users_per_second"]
    out.print(
        f"loops ran on {found['looped_users']:,} users; their similarity alone in NumPy: "
        f"{found['similarity_in_numpy_users_per_second']:,.0f} users/s"
    )
    out.print(
        f"dot products alone on 1 thread: NumPy {dots['NumPy']:,.0f}, compiled {dots['compiled']:,.0f} users/s; "
        f"kernel on 1 thread takes {found['kernel_time_over_dots']:.2f}× the faster one's time"
    )
    out.print(
        f"cluster_keywords, from table to table on all cores: {found['cluster_keywords_users_per_second']:,.0f} users/s"
    )
    same = found["same_clusters"]
    out.print(
        "users with the same clusters: "
        + ", ".join(f"{name} {same[name]:.1%}" for name in LOOPS)
        + f"; distances differ by at most {same['largest difference of distances']:.1e} (float32 dot products)"
    )


def print_growth(by_keywords: list[dict], by_users: list[dict]) -> None:
    table = Table("keywords per user", *LOOPS, *KERNELS, "1 thread over scikit-learn", title="users/s")
    for row in by_keywords:
        speeds = row["users_per_second"]
        ratio = speeds["kernel, 1 thread"] / speeds["scikit-learn"]
        table.add_row(
            str(row["keywords_per_user"]), *(f"{speeds[name]:,.0f}" for name in (*LOOPS, *KERNELS)), f"{ratio:.1f}×"
        )
    out.print(table)
    table = Table("users", "seconds", "users/s", title="kernel, 2 threads")
    for row in by_users:
        table.add_row(f"{row['users']:,}", f"{row['seconds']:.2f}", f"{row['users_per_second']:,.0f}")
    out.print(table)


def print_rest(compiling: dict | None, memory: dict | None) -> None:
    if compiling:
        out.print(
            f"first call in a new process: {compiling['compiled']:.1f} s with compilation, "
            f"{compiling['from_cache']:.2f} s from the cache on disk"
        )
    if memory:
        out.print(
            f"{memory['users']:,} users streamed {memory['users_at_once']:,} at once: {memory['seconds']:.1f} s in "
            f"cluster_keywords ({memory['users_per_second']:,.0f} users/s); peak memory {memory['mib_peak']:,.0f} MiB, "
            f"{memory['mib_after_first_batch']:,.0f} after the first batch, {memory['mib_before']:,.0f} before"
        )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=5_000)
    parser.add_argument("--keywords", type=int, default=45)
    parser.add_argument("--looped-users", type=int, default=2_000, help="users that the slow loops run on")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory-users", type=int, default=200_000, help="0: no look at memory")
    parser.add_argument("--no-growth", action="store_true")
    parser.add_argument("--no-compile-times", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plot", type=Path, help="write a PNG of the growth over keywords")
    parser.add_argument("--first-call", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--stream", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.first_call:
        print(json.dumps(first_call()))
        return
    if options.stream:
        print(json.dumps(stream(options.stream, options.keywords)))
        return
    memory_words = ("--stream", options.memory_users, "--keywords", options.keywords)
    texts = make_texts()
    report: dict = {"main": main_table(texts, options.users, options.keywords, options.looped_users, options.repeats)}
    if not options.json:
        print_main(report["main"])
    if not options.no_growth:
        report["by_keywords"] = growth_over_keywords(texts, options.repeats)
        report["by_users"] = growth_over_users(texts, options.keywords)
        if not options.json:
            print_growth(report["by_keywords"], report["by_users"])
        if options.plot:
            draw(report["by_keywords"], options.plot)
    report["first_call_seconds"] = None if options.no_compile_times else compile_times()
    report["memory"] = in_new_process(*memory_words) if options.memory_users else None
    if options.json:
        print(json.dumps(report))
    else:
        print_rest(report["first_call_seconds"], report["memory"])


if __name__ == "__main__":
    main()
