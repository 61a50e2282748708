"""Who is inferred as of a day. The difference between an incremental and a full run is this asset's scope."""

import dagster as dg

from journeys_dagster.orchestration.asset import Run, table_asset
from journeys_dagster.orchestration.checks import everything_read_result, everything_read_spec
from journeys_dagster.orchestration.run_config import EVERYONE, SCOPES, ScopeConfig
from journeys_dagster.resources.landing_state import LANDING_FINGERPRINT, SEE_LANDING_DAYS
from journeys_dagster.sources.contracts import LANDED_DAYS, declared_sources
from journeys_dagster.tables import Table, integer, snapshot_columns, text

TABLE = Table(
    name="users_in_scope",
    kind="population",
    description="Users who are inferred as of a day by its latest run.",
    grain="one row per as_of and user",
    columns=snapshot_columns(
        {
            "batch": integer("users with one number are held in memory together"),
            "landing_fingerprint": text("what of the landing zone the snapshot sees, as in inferred_days"),
        }
    ),
    key=("as_of", "user_id"),
    partition_column="as_of",
)

# Whose wishes arrived is inferred, so that the list closes up, or has again what was taken back.
_HEARD_USERS = (
    "select user_id from user_controls where arrival_day = $as_of "
    "and user_id in (select user_id from user_activity where arrival_day <= $as_of)"
)
_ACTIVE_USERS = f"select user_id from user_activity where arrival_day = $as_of union {_HEARD_USERS}"
# Whoever is active is among all, also where all that arrived is older than the look-back: both kinds of run then say
# that there is nothing left.
_ALL_USERS = (
    "select user_id from user_activity where arrival_day = $as_of or arrival_day < $as_of "
    "and occurred_at >= cast($as_of as timestamp) - to_days(cast($lookback_days as integer)) "
    f"union {_HEARD_USERS}"
)
# Inferred as of the day before, by such a run, and perhaps for rows that a later delivery of the day no longer has.
_INFERRED_BEFORE = "select user_id from user_snapshots where as_of = $as_of and $scope in (scope, 'all_users')"


_SCOPE = """
    select
        $as_of as as_of,
        user_id,
        cast((row_number() over (order by user_id) - 1) // $users_per_batch as integer) as batch,
        ({fingerprint}) as landing_fingerprint,
        $scope as scope,
        $algorithm_version as algorithm_version
    from ({users})
"""


@table_asset(
    TABLE,
    kinds={"sql", "table"},
    sql=[_ACTIVE_USERS],
    config=ScopeConfig,
    checks=[everything_read_spec(TABLE.name)],
    # Its fingerprint of the landing zone.
    deps=[LANDED_DAYS.name],
    needs=frozenset({"landing_zone"}),
)
def users_in_scope(run: Run) -> dg.MaterializeResult:
    """Replace whom a day's run infers."""
    scope, settings = run.config.scope, run.settings
    if scope not in SCOPES:
        raise dg.Failure(f"scope {scope!r} is unknown: use {' or '.join(SCOPES)}", allow_retries=False)
    users = _ALL_USERS if scope == EVERYONE else _ACTIVE_USERS
    if run.warehouse.has_table("user_snapshots"):
        users = f"{users} union {_INFERRED_BEFORE}"
    version = run.location.algorithm.version
    for day in run.days:
        params = {
            "as_of": day,
            "lookback_days": settings.keywords.lookback_days,
            "users_per_batch": settings.run.users_per_batch,
            "scope": scope,
            "algorithm_version": version,
        }
        select = _SCOPE.format(fingerprint=LANDING_FINGERPRINT, users=users)
        # Where users are split, the driver notes what was seen.
        before = SEE_LANDING_DAYS if run.shard is None else ()
        run.warehouse.replace_snapshot_sql(TABLE, select, params=params, before=before)
    checks = []
    if run.shows:
        # Nobody is in scope by rows that lie where nothing is read.
        checks.append(everything_read_result(run.landing.survey(declared_sources(settings))))
    return dg.MaterializeResult(metadata={"scope": scope, "algorithm_version": version}, check_results=checks)
