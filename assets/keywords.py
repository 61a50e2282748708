"""Step: what each user has been interested in, with counts and weight."""

from datetime import date

from journeys_dagster.inference import steps
from journeys_dagster.orchestration.snapshots import SnapshotStep
from journeys_dagster.orchestration.user_events import read_events
from journeys_dagster.reporting.plots import histogram
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.tables import Column


def draw(warehouse: Warehouse, as_of: date) -> tuple[bytes, str]:
    """Keywords per user."""
    counts = warehouse.query(
        "select count(*) as n from keywords where as_of = $as_of group by user_id", {"as_of": as_of}
    )
    png = histogram(counts["n"], title=f"Keywords per user, {as_of}", x_label="keywords", y_label="users")
    return png, "histogram of keywords per user"


KEYWORDS = SnapshotStep(
    name="keywords",
    description="What each user in scope has been interested in: searched texts, and the annotations and interests of "
    "the items they engaged with or put on boards, with counts and weight. Looks back a set number of days.",
    grain="one row per as_of, user and keyword",
    columns={
        "keyword": Column(type="VARCHAR", description="the keyword in its one spelling"),
        "sources": Column(type="VARCHAR[]", description="where it came from: search, engagement, board"),
        "action_counts": Column(type="MAP(VARCHAR, UBIGINT)", description="events by action"),
        "events": Column(type="BIGINT", description="events in all"),
        "weight": Column(type="DOUBLE", description="sum of action weight × share over the events"),
        "first_seen": Column(type="TIMESTAMP", description="first event, UTC"),
        "last_seen": Column(type="TIMESTAMP", description="last event, UTC"),
        "days_active": Column(type="INTEGER", description="days with an event"),
        "recent_times": Column(type="TIMESTAMP[]", description="its newest distinct times, oldest first, UTC"),
        "recent_items": Column(type="VARCHAR[]", description="newest items it came from or its search led to"),
    },
    key=("as_of", "user_id", "keyword"),
    deps=("item_keywords", "user_events", "users_in_scope"),
    kinds=frozenset({"numba"}),
    read=read_events,
    is_heavy=True,
    compute=steps.weigh_keywords,
    draw=draw,
)
