"""Step: each user's keywords grouped into journey candidates."""

from datetime import date

from journeys_dagster.inference import steps
from journeys_dagster.inference.clustering import cluster_tree, strongest_keywords
from journeys_dagster.orchestration.snapshots import Snapshot, SnapshotStep
from journeys_dagster.orchestration.vectors import read_embeddings
from journeys_dagster.reporting.dendrogram import dendrogram
from journeys_dagster.reporting.plots import histogram
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.tables import Column

_KEYWORDS = """
    select user_id, keyword, weight, events, days_active, sources, first_seen, last_seen, recent_times, recent_items
    from keywords
    where as_of = $as_of and {of_batch}
"""


def read(snapshot: Snapshot, batch: int) -> steps.Frames:
    """The strongest keywords of a batch of users."""
    every_keyword = snapshot.read(_KEYWORDS, batch=batch)
    strongest = strongest_keywords(every_keyword, limit=snapshot.settings.clusters.max_keywords_per_user)
    snapshot.note("keywords_left_out", len(every_keyword) - len(strongest))
    return {"keywords": strongest, "embeddings": read_embeddings(snapshot, strongest)}


def draw(warehouse: Warehouse, as_of: date) -> tuple[bytes, str]:
    """Cluster sizes."""
    sizes = warehouse.query(
        "select count(*) as size from clusters where as_of = $as_of group by user_id, cluster",
        {"as_of": as_of},
    )["size"]
    png = histogram(sizes, title=f"Cluster sizes, {as_of}", x_label="keywords", y_label="clusters", log_y=True)
    return png, "histogram of cluster sizes"


def draw_example(snapshot: Snapshot) -> tuple[bytes, str]:
    """The dendrogram of a user of middling size, the same one each time."""
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
    keywords, vectors = steps.with_codes(rows, read_embeddings(snapshot, rows))
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


CLUSTERS = SnapshotStep(
    name="clusters",
    description="Each user's keywords grouped by meaning, spelling, nearness in time and shared items.",
    grain="one row per as_of, user and keyword",
    columns={
        "keyword": Column(type="VARCHAR", description="the keyword"),
        "cluster": Column(type="INTEGER", description="number of the user's cluster; 0 holds the heaviest keyword"),
        "keyword_rank": Column(type="INTEGER", description="place of the keyword in the cluster, 1 is the heaviest"),
        # What later steps need of a keyword stands here too: to join it to each of its rows anew takes longest of all.
        "weight": Column(type="DOUBLE", description="the keyword's, as in keywords; so are the five that follow"),
        "events": Column(type="BIGINT", description="events in all"),
        "days_active": Column(type="INTEGER", description="days with an event"),
        "sources": Column(type="VARCHAR[]", description="where it came from: search, engagement, board"),
        "first_seen": Column(type="TIMESTAMP", description="first event, UTC"),
        "last_seen": Column(type="TIMESTAMP", description="last event, UTC"),
        "centroid_similarity": Column(type="DOUBLE", description="cosine to the cluster's weighted mean vector"),
        "neighbour_similarity": Column(
            type="DOUBLE",
            description="cosine of that vector to the nearest one of the user's other clusters; 0 for none",
        ),
    },
    key=("as_of", "user_id", "keyword"),
    deps=("keywords", "keyword_embeddings", "users_in_scope"),
    kinds=frozenset({"numba"}),
    read=read,
    is_heavy=True,
    compute=steps.cluster,
    draw=draw,
    draw_example=draw_example,
)
