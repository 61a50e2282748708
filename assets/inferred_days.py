"""The record that a day was inferred. Written last, so that a snapshot that is recorded is complete."""

from datetime import date

import dagster as dg
import polars as pl

from journeys_dagster.inference.algorithm import Algorithm
from journeys_dagster.orchestration.asset import Run, table_asset
from journeys_dagster.orchestration.run_config import ScopeConfig
from journeys_dagster.resources.landing_state import LANDING_FINGERPRINT, SEE_LANDING_DAYS
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.tables import Table, bigint, text, utc_day

INFERRED_DAYS = Table(
    name="inferred_days",
    kind="kept",
    description="Which days were inferred completely, by which algorithm, and what of the landing zone they saw.",
    grain="one row per as_of and scope, of the latest run",
    columns={
        "as_of": utc_day("day the snapshot was taken"),
        "scope": text("kind of run: active_users or all_users"),
        "algorithm_version": text("fingerprint of step code, model revisions and settings"),
        "landing_fingerprint": text(
            "what of the landing zone the snapshot saw: sum over landed_days until as_of; empty if unknown",
        ),
        "users": bigint("users inferred"),
        "journeys": bigint("journeys listed for them"),
    },
    key=("as_of", "scope"),
    partition_column="as_of",
)
ALGORITHM_PARTS = Table(
    name="algorithm_parts",
    kind="kept",
    description="The parts of each algorithm version that inferred something, so that two versions can be compared.",
    grain="one row per algorithm_version and part",
    columns={
        "algorithm_version": text("the fingerprint"),
        "part": text("setting, step, SQL model or embedding model"),
        "value": text("setting, code version, hash or revision, as JSON"),
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
_OF_SHARDS = """
    select any_value(scope) as scope, any_value(algorithm_version) as algorithm_version,
        any_value(landing_fingerprint) as landing_fingerprint, cast(sum(users) as bigint) as users,
        cast(sum(journeys) as bigint) as journeys
    from parts
    having count(*) > 0
"""


@table_asset(
    INFERRED_DAYS,
    kinds={"sql", "table"},
    sql=[_IN_SCOPE],
    deps=["current_user_journeys"],
    config=ScopeConfig,
    decides=False,
    gathers=True,
)
def inferred_days(run: Run) -> dg.MaterializeResult:
    """Record the days of a run, and what the algorithm is made of."""
    for day in run.days:
        found = run.of_users(_IN_SCOPE, {"as_of": day}, merge=_OF_SHARDS)
        record_inferred_day(run.warehouse, day, run.config.scope, run.location.algorithm, found)
    return dg.MaterializeResult()


def record_inferred_day(
    warehouse: Warehouse, as_of: date, scope: str, algorithm: Algorithm, found: pl.DataFrame
) -> None:
    """Record that a day was inferred, for the users found in scope; `scope` counts where nobody is."""
    with warehouse.write() as connection:
        for table in (INFERRED_DAYS, ALGORITHM_PARTS):
            connection.execute(table.create_sql())
        for statement in SEE_LANDING_DAYS:
            connection.execute(statement)
        if found.is_empty():
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
