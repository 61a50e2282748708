"""What each user has been interested in, with counts and weight."""

from datetime import date

import polars as pl

from journeys_dagster.inference.frames import Frames
from journeys_dagster.inference.keywords import collect_keywords
from journeys_dagster.orchestration.reads import EVENTS, ITEM_KEYWORDS, in_order
from journeys_dagster.orchestration.snapshot_asset import Snapshot, snapshot_asset
from journeys_dagster.reporting.plots import histogram
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import Settings
from journeys_dagster.sources.parameters import action_weights
from journeys_dagster.tables import Column, bigint, double, integer, text, texts, timestamp


def events_in_order(snapshot: Snapshot, batch: int, frames: dict[str, pl.DataFrame]) -> Frames:
    """Events by user and time."""
    return {**frames, "events": in_order(frames["events"])}


def keywords_per_user(warehouse: Warehouse, as_of: date) -> tuple[bytes, str]:
    """Keywords per user."""
    counts = warehouse.query(
        "select count(*) as n from keywords where as_of = $as_of group by user_id", {"as_of": as_of}
    )
    png = histogram(counts["n"], title=f"Keywords per user, {as_of}", x_label="keywords", y_label="users")
    return png, "histogram of keywords per user"


@snapshot_asset(
    grain="one row per as_of, user and keyword",
    columns={
        "keyword": text("the normalised keyword"),
        "sources": texts("where it came from: search, engagement, board"),
        "action_counts": Column(type="MAP(VARCHAR, UBIGINT)", description="events by action"),
        "events": bigint("events in all"),
        "weight": double("sum of action weight × share over the events"),
        "first_seen": timestamp("first event, UTC"),
        "last_seen": timestamp("last event, UTC"),
        "days_active": integer("days with an event"),
        "recent_times": Column(type="TIMESTAMP[]", description="its newest distinct times, oldest first, UTC"),
        "recent_items": texts("newest items it came from or its search led to"),
    },
    key=("as_of", "user_id", "keyword"),
    reads={"events": EVENTS, "item_keywords": ITEM_KEYWORDS},
    read=events_in_order,
    kinds={"numba"},
    heavy=True,
    plot=keywords_per_user,
)
def keywords(frames: Frames, as_of: date, settings: Settings) -> pl.DataFrame:
    """What each user in scope has been interested in: searched texts, and the annotations and interests of the
    items they engaged with or put on boards, with counts and weight. Looks back a set number of days.
    """
    events, item_keywords = frames["events"], frames["item_keywords"]
    return collect_keywords(events, item_keywords, action_weights(settings), settings.keywords)
