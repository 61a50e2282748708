"""Which of a user's events belong to which journey."""

from datetime import date

import polars as pl

from journeys_dagster.inference.frames import Frames
from journeys_dagster.inference.journey_events import events_of_journeys
from journeys_dagster.inference.members import journey_of_members
from journeys_dagster.orchestration.reads import EVENTS, ITEM_KEYWORDS, JOURNEYS, in_order, members, members_in_order
from journeys_dagster.orchestration.snapshot_asset import Snapshot, snapshot_asset
from journeys_dagster.settings import Settings
from journeys_dagster.tables import text, timestamp


def by_user(snapshot: Snapshot, batch: int, frames: dict[str, pl.DataFrame]) -> Frames:
    """Events by user and time, journeys and their keywords by user."""
    return members_in_order({**frames, "events": in_order(frames["events"])})


@snapshot_asset(
    grain="one row per as_of, user, journey and event",
    columns={
        "journey_id": text("the journey"),
        "source": text("search, engagement or board"),
        "action": text("search, board, or the engagement's action"),
        "occurred_at": timestamp("when it happened, UTC"),
    },
    key=(),
    reads={
        "events": EVENTS,
        "item_keywords": ITEM_KEYWORDS,
        "journeys": JOURNEYS,
        "members": members("keyword"),
    },
    read=by_user,
    kinds={"numba"},
    heavy=True,
)
def journey_events(frames: Frames, as_of: date, settings: Settings) -> pl.DataFrame:
    """The events of each journey; one with several keywords of a journey counts once."""
    journeys, of_journeys = frames["journeys"], frames["members"]
    numbered = of_journeys.with_columns(journey=pl.Series(journey_of_members(of_journeys, journeys)))
    return events_of_journeys(frames["events"], frames["item_keywords"], journeys, numbered)
