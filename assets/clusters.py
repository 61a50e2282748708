"""Each user's keywords grouped into journey candidates."""

from datetime import date

import polars as pl

from journeys_dagster.inference.clustering import (
    cluster_keywords,
    cluster_tree,
    strongest_keywords,
    telling_keywords,
)
from journeys_dagster.inference.frames import Frames, with_codes
from journeys_dagster.orchestration.reads import read_embeddings
from journeys_dagster.orchestration.snapshot_asset import Snapshot, snapshot_asset
from journeys_dagster.reporting.dendrogram import dendrogram
from journeys_dagster.reporting.plots import histogram
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import Settings
from journeys_dagster.tables import bigint, double, integer, text, texts, timestamp

_KEYWORDS = """
    select user_id, keyword, weight, events, days_active, sources, first_seen, last_seen, recent_times, recent_items
    from keywords
    where as_of = $as_of and {of_batch}
"""
_COMMON = "select keyword from common_keywords where as_of = $as_of"


def strongest_with_vectors(snapshot: Snapshot, batch: int, frames: dict[str, pl.DataFrame]) -> Frames:
    """The strongest keywords of each user but for common ones, and their vectors."""
    every_keyword = frames["keywords"]
    strongest = strongest_keywords(every_keyword, limit=snapshot.settings.clusters.max_keywords_per_user)
    telling = telling_keywords(strongest, frames["common"]["keyword"])
    snapshot.note("keywords_left_out", len(every_keyword) - len(strongest))
    snapshot.note("common_keywords_left_out", len(strongest) - len(telling))
    return {"keywords": telling, "embeddings": read_embeddings(snapshot, telling)}


def cluster_sizes(warehouse: Warehouse, as_of: date) -> tuple[bytes, str]:
    """Cluster sizes."""
    sizes = warehouse.query(
        "select count(*) as size from clusters where as_of = $as_of group by user_id, cluster",
        {"as_of": as_of},
    )["size"]
    png = histogram(sizes, title=f"Cluster sizes, {as_of}", x_label="keywords", y_label="clusters", log_y=True)
    return png, "histogram of cluster sizes"


def example_dendrogram(snapshot: Snapshot) -> tuple[bytes, str]:
    """The dendrogram of a user with a typical number of keywords, the same one each time."""
    settings = snapshot.settings.clusters
    rows = snapshot.warehouse.query(
        """
        with sizes as (
            select user_id, count(*) as keywords, max(cluster) + 1 as clusters
            from clusters where as_of = $as_of group by user_id
        ),

        example as (select user_id from sizes order by clusters < 3, abs(keywords - 25), md5(user_id) limit 1)

        select user_id, keyword, keywords.weight, keywords.sources, recent_times, recent_items, cluster
        from clusters join keywords using (as_of, user_id, keyword) semi join example using (user_id)
        where as_of = $as_of
        order by keyword
        """,
        {"as_of": snapshot.as_of},
    )
    keywords, vectors = with_codes(rows, read_embeddings(snapshot, rows))
    user = keywords["user_id"].first()
    count = keywords["cluster"].n_unique()
    png = dendrogram(
        cluster_tree(keywords, vectors, settings),
        keywords["keyword"].to_list(),
        distance_threshold=settings.distance_threshold,
        title=f"Clusters of user {user}, {snapshot.as_of}",
        subtitle=f"{len(keywords)} keywords in {count} clusters, cut at {settings.distance_threshold}",
    )
    return png, f"dendrogram of the keywords of user {user}"


@snapshot_asset(
    grain="one row per as_of, user and keyword",
    columns={
        "keyword": text("the keyword"),
        "cluster": integer("number of the user's cluster; 0 holds the heaviest keyword"),
        "keyword_rank": integer("place of the keyword in the cluster, 1 is the heaviest"),
        # What later steps need of a keyword is repeated here, so that they need no join by text.
        "weight": double("the keyword's, as in keywords; so are the five that follow"),
        "events": bigint("events in all"),
        "days_active": integer("days with an event"),
        "sources": texts("where it came from: search, engagement, board"),
        "first_seen": timestamp("first event, UTC"),
        "last_seen": timestamp("last event, UTC"),
        "centroid_similarity": double("cosine to the cluster's weighted mean vector"),
        "neighbour_similarity": double(
            "cosine of that vector to the nearest one of the user's other clusters; 0 for none",
        ),
    },
    key=("as_of", "user_id", "keyword"),
    reads={"keywords": _KEYWORDS, "common": _COMMON},
    read=strongest_with_vectors,
    deps=("keyword_embeddings",),
    kinds={"numba"},
    heavy=True,
    plot=cluster_sizes,
    example=example_dendrogram,
)
def clusters(frames: Frames, as_of: date, settings: Settings) -> pl.DataFrame:
    """Each user's keywords grouped by meaning, spelling, closeness in time and shared items. Common keywords, which
    tell nobody apart, take part only of a user who has no others.
    """
    keywords, vectors = with_codes(frames["keywords"], frames["embeddings"])
    return cluster_keywords(keywords, vectors, settings.clusters).drop("code", "recent_times", "recent_items")
