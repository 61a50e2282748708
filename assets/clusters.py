"""Step: each user's keywords grouped into journey candidates."""

from datetime import date

import polars as pl

from assets.snapshots import Snapshot, SnapshotStep
from assets.vectors import read_with_vectors
from journeys_dagster.inference.clustering import cluster_keywords, strongest_keywords
from journeys_dagster.reporting.plots import histogram
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.tables import Column

_KEYWORDS = "select user_id, keyword, weight from keywords where as_of = $as_of and user_id in {users}"


def compute(snapshot: Snapshot, batch: int) -> pl.DataFrame:
    """Cluster the strongest keywords of a batch of users."""
    settings = snapshot.settings.clusters
    every_keyword = snapshot.read(_KEYWORDS, batch=batch)
    strongest = strongest_keywords(every_keyword, limit=settings.max_keywords_per_user)
    snapshot.note("keywords_left_out", len(every_keyword) - len(strongest))
    keywords, vectors = read_with_vectors(snapshot, strongest)
    return cluster_keywords(keywords, vectors, distance_threshold=settings.distance_threshold)


def draw(warehouse: Warehouse, as_of: date) -> tuple[bytes, str]:
    """Cluster sizes."""
    sizes = warehouse.query(
        "select count(*) as size from clusters where as_of = $as_of group by user_id, cluster",
        {"as_of": as_of},
    )["size"]
    png = histogram(sizes, title=f"Cluster sizes, {as_of}", x_label="keywords", y_label="clusters", log_y=True)
    return png, "histogram of cluster sizes"


CLUSTERS = SnapshotStep(
    name="clusters",
    description="Each user's keywords grouped by meaning: average linkage on the cosine distance of embeddings.",
    grain="one row per as_of, user and keyword",
    columns={
        "keyword": Column(type="VARCHAR", description="the keyword"),
        "cluster": Column(type="INTEGER", description="number of the user's cluster; 0 holds the heaviest keyword"),
        "centroid_similarity": Column(type="DOUBLE", description="cosine to the cluster's weighted mean vector"),
    },
    key=("as_of", "user_id", "keyword"),
    deps=("keywords", "keyword_embeddings", "users_in_scope"),
    kinds=frozenset({"scipy"}),
    compute=compute,
    draw=draw,
)
