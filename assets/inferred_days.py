"""Step: the record that a day was inferred. Written last, so that a snapshot that is recorded is complete."""

from datetime import date

import dagster as dg
import polars as pl

from journeys_dagster.inference.algorithm import Algorithm
from journeys_dagster.inference.fingerprint import step_version
from journeys_dagster.orchestration.metadata import OWNER, WAREHOUSE_POOL, row_metadata, table_metadata
from journeys_dagster.orchestration.run_config import ScopeConfig
from journeys_dagster.resources.landing_state import LANDING_FINGERPRINT, SEE_LANDING_DAYS
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.tables import Column, Table

INFERRED_DAYS = Table(
    name="inferred_days",
    description="Which days were inferred completely, by which algorithm, and what of the landing zone they saw.",
    grain="one row per as_of and scope, of the latest run",
    columns={
        "as_of": Column(type="DATE", description="day the snapshot was taken"),
        "scope": Column(type="VARCHAR", description="kind of run: active_users or all_users"),
        "algorithm_version": Column(
            type="VARCHAR", description="fingerprint of step code, model revisions and settings"
        ),
        "landing_fingerprint": Column(
            type="VARCHAR",
            description="what of the landing zone the snapshot saw: sum over landed_days until as_of; empty if unknown",
        ),
        "users": Column(type="BIGINT", description="users inferred"),
        "journeys": Column(type="BIGINT", description="journeys listed for them"),
    },
    key=("as_of", "scope"),
    partition_column="as_of",
)
ALGORITHM_PARTS = Table(
    name="algorithm_parts",
    description="What each algorithm that inferred something was made of. Tells what has changed from one to another.",
    grain="one row per algorithm_version and part",
    columns={
        "algorithm_version": Column(type="VARCHAR", description="the fingerprint"),
        "part": Column(type="VARCHAR", description="setting, step, SQL model or embedding model"),
        "value": Column(type="VARCHAR", description="setting, code version, hash or revision, as JSON"),
    },
    key=("algorithm_version", "part"),
)

_IN_SCOPE = """
    select any_value(users_in_scope.scope) as scope, any_value(users_in_scope.algorithm_version) as algorithm_version,
        any_value(landing_fingerprint) as landing_fingerprint, count(*) as users,
        cast(coalesce(sum(journeys), 0) as bigint) as journeys
    from users_in_scope left join user_snapshots using (as_of, user_id)
    where users_in_scope.as_of = $as_of
    having count(*) > 0
"""


def build_inferred_days(*, partitions_def: dg.PartitionsDefinition, algorithm: Algorithm) -> dg.AssetsDefinition:
    """The asset; it keeps what `algorithm` is made of beside the days."""

    @dg.asset(
        name=INFERRED_DAYS.name,
        deps=["current_user_journeys", "user_snapshots", "users_in_scope"],
        partitions_def=partitions_def,
        backfill_policy=dg.BackfillPolicy.single_run(),
        description=f"{INFERRED_DAYS.description} Grain: {INFERRED_DAYS.grain}.",
        group_name="inference",
        kinds={"sql", "duckdb", "table"},
        owners=[OWNER],
        code_version=step_version(__name__),
        metadata=table_metadata(INFERRED_DAYS),
        pool=WAREHOUSE_POOL,
    )
    def inferred_days(
        context: dg.AssetExecutionContext, config: ScopeConfig, warehouse: Warehouse
    ) -> dg.MaterializeResult:
        for partition_key in context.partition_keys:
            record_inferred_day(warehouse, date.fromisoformat(partition_key), config.scope, algorithm)
        return dg.MaterializeResult(metadata=row_metadata(warehouse, INFERRED_DAYS, context.partition_keys[-1]))

    return inferred_days


def record_inferred_day(warehouse: Warehouse, as_of: date, scope: str, algorithm: Algorithm) -> None:
    """Record that a day was inferred, for the users that are in scope; `scope` counts where nobody is."""
    found = warehouse.query(_IN_SCOPE, {"as_of": as_of})
    with warehouse.write() as connection:
        for table in (INFERRED_DAYS, ALGORITHM_PARTS):
            connection.execute(table.create_sql())
        if found.is_empty():
            for statement in SEE_LANDING_DAYS:
                connection.execute(statement)
            (seen,) = connection.execute(LANDING_FINGERPRINT, {"as_of": as_of}).fetchall()
            row = {"scope": scope, "algorithm_version": algorithm.version, "landing_fingerprint": seen[0]}
            found = pl.DataFrame([{**row, "users": 0, "journeys": 0}])
        connection.execute(
            "delete from inferred_days where as_of = $as_of and scope = $scope",
            {"as_of": as_of, "scope": found["scope"][0]},
        )
        connection.register("new_rows", found)
        connection.execute(
            "insert into inferred_days by name select $as_of as as_of, * from new_rows", {"as_of": as_of}
        )
        connection.unregister("new_rows")
        connection.execute(
            "insert into algorithm_parts select $version, unnest($parts), unnest($values) "
            "where $version not in (select algorithm_version from algorithm_parts)",
            {
                "version": algorithm.version,
                "parts": list(algorithm.parts),
                "values": list(algorithm.parts.values()),
            },
        )
