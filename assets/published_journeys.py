"""Current lists where others look them up while runs go on."""

import dagster as dg

from journeys_dagster.orchestration.asset import Run, table_asset
from journeys_dagster.orchestration.run_config import EVERYONE
from journeys_dagster.serving.publish import publish, store_of

_NEWEST = "select max(as_of) from inferred_days"
_SCOPE = "select distinct scope from users_in_scope where as_of = $as_of"


@table_asset(
    None,
    kinds={"python"},
    group="marts",
    sql=[_SCOPE],
    # Behind the record of the day: what is published is of a day that is complete.
    deps=("current_user_journeys", "inferred_days"),
    decides=False,
    partitioned=True,
    per="user",
    only_with=lambda settings: settings.serving.publish,
)
def published_journeys(run: Run) -> dg.MaterializeResult:
    """Each user's current list in the key-value store `published` of the home, or in a server, which many processes
    read while runs go on. What differs from the warehouse is written, all at once or not at all; after a full
    inference, everything.
    """
    with run.warehouse.read():
        scopes = run.warehouse.query(_SCOPE, {"as_of": run.days[-1]})["scope"].to_list()
        newest = None if run.shard is None else run.warehouse.query(_NEWEST).item()
        store = store_of(run.warehouse.path.parent, run.settings.serving)
        published = publish(run.warehouse.file, store, days=run.days, whole=scopes == [EVERYONE], newest=newest)
    if published is None:
        return dg.MaterializeResult(metadata={"users": 0})
    shown = {name: getattr(published, name) for name in ("version", "users", "changed", "removed")}
    return dg.MaterializeResult(metadata={**shown, "day": published.day.isoformat()})
