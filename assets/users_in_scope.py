"""Step: who is inferred as of a day. The difference between an incremental and a full run is this asset's scope."""

from datetime import date

import dagster as dg

from journeys_dagster.inference.fingerprint import step_version
from journeys_dagster.orchestration.metadata import OWNER, WAREHOUSE_POOL, row_metadata, table_metadata
from journeys_dagster.orchestration.run_config import EVERYONE, SCOPES, ScopeConfig
from journeys_dagster.resources.landing_state import LANDING_FINGERPRINT, SEE_LANDING_DAYS
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import Settings
from journeys_dagster.tables import Column, Table, snapshot_columns

TABLE = Table(
    name="users_in_scope",
    description="Users who are inferred as of a day by its latest run.",
    grain="one row per as_of and user",
    columns=snapshot_columns(
        {
            "batch": Column(type="INTEGER", description="users with one number are held in memory together"),
            "landing_fingerprint": Column(
                type="VARCHAR", description="what of the landing zone the snapshot sees, as in inferred_days"
            ),
        }
    ),
    key=("as_of", "user_id"),
    partition_column="as_of",
)

_ACTIVE_USERS = "select distinct user_id from user_activity where arrival_day = $as_of"
# Whoever is active is among all, also where all that arrived is older than the look-back: both kinds of run then say
# that there is nothing left.
_ALL_USERS = (
    "select distinct user_id from user_activity where arrival_day = $as_of or arrival_day < $as_of "
    "and occurred_at >= cast($as_of as timestamp) - to_days(cast($lookback_days as integer))"
)
# Inferred as of the day before, by such a run, and perhaps for rows that a later delivery of the day no longer has.
_INFERRED_BEFORE = "select user_id from user_snapshots where as_of = $as_of and $scope in (scope, 'all_users')"


def build_users_in_scope(*, partitions_def: dg.PartitionsDefinition, algorithm_version: str) -> dg.AssetsDefinition:
    """The asset; its rows carry the algorithm version of the code location."""

    @dg.asset(
        name=TABLE.name,
        deps=["user_activity"],
        partitions_def=partitions_def,
        backfill_policy=dg.BackfillPolicy.single_run(),
        description=f"{TABLE.description} Grain: {TABLE.grain}.",
        group_name="inference",
        kinds={"sql", "duckdb", "table"},
        pool=WAREHOUSE_POOL,
        owners=[OWNER],
        code_version=step_version(__name__),
        metadata=table_metadata(TABLE),
    )
    def users_in_scope(
        context: dg.AssetExecutionContext,
        config: ScopeConfig,
        warehouse: Warehouse,
        settings: dg.ResourceParam[Settings],
    ) -> dg.MaterializeResult:
        if config.scope not in SCOPES:
            raise dg.Failure(f"scope {config.scope!r} is unknown: use {' or '.join(SCOPES)}", allow_retries=False)
        users = _ALL_USERS if config.scope == EVERYONE else _ACTIVE_USERS
        if warehouse.has_table("user_snapshots"):
            users = f"{users} union {_INFERRED_BEFORE}"
        select = (
            "select $as_of as as_of, user_id, "
            "cast((row_number() over (order by user_id) - 1) // $users_per_batch as integer) as batch, "
            f"({LANDING_FINGERPRINT}) as landing_fingerprint, "
            f"$scope as scope, $algorithm_version as algorithm_version from ({users})"
        )
        for partition_key in context.partition_keys:
            params = {
                "as_of": date.fromisoformat(partition_key),
                "lookback_days": settings.keywords.lookback_days,
                "users_per_batch": settings.run.users_per_batch,
                "scope": config.scope,
                "algorithm_version": algorithm_version,
            }
            warehouse.replace_snapshot_sql(TABLE, select, params=params, before=SEE_LANDING_DAYS)
        metadata = row_metadata(warehouse, TABLE, context.partition_keys[-1])
        return dg.MaterializeResult(
            metadata={**metadata, "scope": config.scope, "algorithm_version": algorithm_version}
        )

    return users_in_scope
