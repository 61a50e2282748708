"""What was handed to a sender, and what came of it."""

from datetime import date, timedelta
from typing import Any

import dagster as dg

from journeys_dagster.notification.sends import NOTIFICATION_SENDS, OUTCOMES
from journeys_dagster.orchestration.asset import Run, table_asset
from journeys_dagster.orchestration.metadata import plot
from journeys_dagster.reporting.plots import daily_counts
from journeys_dagster.resources.send_export import finish_killed

_SHOWN_DAYS = 60
_BY_DAY = f"""
    with outcomes as ({OUTCOMES})
    select day, count(*) as sent, count(*) filter (opened) as opened, count(*) filter (clicked) as clicked
    from outcomes where day >= $since group by day order by day
"""


@table_asset(
    NOTIFICATION_SENDS,
    kinds={"duckdb"},
    deps=["notification_feedback"],
    decides=False,
    only_with=lambda settings: settings.notifications.enabled,
)
def notification_sends(run: Run) -> dg.MaterializeResult:
    """Show the log of what `journeys export-notifications` wrote; an export that was killed is made whole."""
    run.warehouse.create_missing([NOTIFICATION_SENDS])
    for target in finish_killed(run.warehouse):
        run.warn(f"an export of notifications that had been killed is whole now: {target}")
    return dg.MaterializeResult(metadata=_shown(run, run.days[-1]))


def _shown(run: Run, as_of: date) -> dict[str, Any]:
    chosen = run.settings.notifications
    found = run.warehouse.query(
        _BY_DAY,
        {"as_of": as_of, "since": as_of - timedelta(days=_SHOWN_DAYS), "feedback_days": chosen.feedback_days},
    )
    total = int(found["sent"].sum())
    title = f"Notifications exported, opened and clicked, {as_of}"
    series = {name: found[name] for name in ("sent", "opened", "clicked")}
    png = daily_counts(found["day"], series, title=title, y_label="notifications")
    return {
        "dagster/row_count": total,
        "clicks_per_send": float(found["clicked"].sum() / max(total, 1)),
        "opens_per_send": float(found["opened"].sum() / max(total, 1)),
        "plot": plot(png, alt=title),
    }
