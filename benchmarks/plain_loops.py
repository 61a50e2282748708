"""What someone would write instead of the pipeline: pandas and scikit-learn user by user, and BERTopic user by user.

Run ``JOURNEYS_HOME=… python benchmarks/plain_loops.py`` on a home with a landing zone; `scale.py` does. It prints one
JSON object. The loops do less than the pipeline: no times, no items in common, no features, stages or stable ids.
"""

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.resources.home import Home
from journeys_dagster.settings import load_settings
from lab.benchmark import Run

if TYPE_CHECKING:
    from pandas import DataFrame

SOURCES = ("items", "searches", "engagements", "board_items")
BERTOPIC_USERS = 20
BERTOPIC_KEYWORDS = 20
"""Of fewer texts its defaults make no topics."""


def measure() -> dict[str, Any]:
    """Users per second of each method; the embedding is left out."""
    landing, vectors = Home.from_environment().landing, Run(load_settings()).vectors
    started = time.perf_counter()
    keywords = _pandas_keywords(landing)
    read = time.perf_counter() - started
    keywords["code"] = vectors.code(pl.DataFrame({"keyword": keywords["keyword"].to_numpy()}))["code"].to_numpy()
    users = keywords["user_id"].nunique()
    started = time.perf_counter()
    journeys = _scikit_learn_journeys(keywords, vectors.vectors)
    speeds = {"pandas + scikit-learn": users / (read + time.perf_counter() - started)}
    found: dict[str, Any] = {"users": users, "journeys": len(journeys), "users_per_second": speeds}
    try:
        import bertopic  # noqa: F401
    except ImportError:
        found["bertopic"] = "not installed: pip install bertopic"
        return found
    modelled, seconds = _bertopic_topics(keywords, vectors.vectors)
    speeds["BERTopic"] = modelled / seconds
    return found


def _pandas_keywords(landing: Path) -> "DataFrame":
    import pandas as pd

    frames = {
        source: pd.concat([pd.read_parquet(path) for path in sorted((landing / source).glob("*/*.parquet"))])
        for source in SOURCES
    }
    items = frames["items"].drop_duplicates("item_id", keep="last").set_index("item_id")
    about = (items["annotations"].map(list) + items["interests"].map(list)).explode().rename("keyword").reset_index()
    acted = pd.concat(
        [frames["engagements"][["user_id", "item_id", "occurred_at"]], frames["board_items"]], ignore_index=True
    ).merge(about, on="item_id")
    searched = frames["searches"].rename(columns={"query": "keyword"})
    columns = ["user_id", "keyword", "occurred_at"]
    events = pd.concat([searched[columns], acted[columns]]).drop_duplicates()
    events["keyword"] = events["keyword"].str.lower().str.strip()
    return (
        events.groupby(["user_id", "keyword"])
        .agg(weight=("occurred_at", "size"), last_seen=("occurred_at", "max"))
        .reset_index()
    )


def _scikit_learn_journeys(keywords: "DataFrame", vectors: NDArray[np.float32]) -> list[Any]:
    from sklearn.cluster import AgglomerativeClustering

    journeys = []
    for user, rows in keywords.groupby("user_id"):
        labels = np.zeros(len(rows), dtype=int)
        if len(rows) > 1:
            model = AgglomerativeClustering(n_clusters=None, metric="cosine", linkage="average", distance_threshold=0.5)
            labels = model.fit_predict(vectors[rows["code"].to_numpy()])
        for _, members in rows.assign(cluster=labels).groupby("cluster"):
            name = members.loc[members["weight"].idxmax(), "keyword"]
            journeys.append((user, name, members["weight"].sum(), members["last_seen"].max()))
    return journeys


def _bertopic_topics(keywords: "DataFrame", vectors: NDArray[np.float32]) -> tuple[int, float]:
    """Users modelled, and seconds; the first few who have enough keywords for it, after one to warm up."""
    from bertopic import BERTopic

    enough = [rows for _, rows in keywords.groupby("user_id") if len(rows) >= BERTOPIC_KEYWORDS][: BERTOPIC_USERS + 1]
    started = 0.0
    for done, rows in enumerate(enough):
        if done == 1:
            started = time.perf_counter()
        BERTopic(min_topic_size=2).fit_transform(rows["keyword"].to_list(), vectors[rows["code"].to_numpy()])
    return len(enough) - 1, time.perf_counter() - started


if __name__ == "__main__":
    print(json.dumps(measure()), flush=True)
    # Whoever holds DuckDB results at the end is said to leak them; there is nothing left to do.
    os._exit(0)
