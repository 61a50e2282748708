"""The jobs: taking in landing days, and inference for active or for all users. Same assets, same daily partitions."""

import dagster as dg

from assets.users_in_scope import ScopeConfig

INGEST_LANDING = "ingest_landing"
DAILY_INCREMENTAL = "daily_incremental"
FULL_INFERENCE = "full_inference"
JOB_OF_SCOPE = {"active_users": DAILY_INCREMENTAL, "all_users": FULL_INFERENCE}


def build_jobs() -> dg.Definitions:
    """All jobs."""
    jobs = [
        dg.define_asset_job(
            INGEST_LANDING,
            selection=dg.AssetSelection.groups("sources"),
            description="Takes in landing days, without inference.",
        ),
        dg.define_asset_job(
            DAILY_INCREMENTAL,
            selection=dg.AssetSelection.all(),
            config=scope_config("active_users"),
            description="Takes in a landing day and infers the journeys of users with a row that arrived that day.",
        ),
        dg.define_asset_job(
            FULL_INFERENCE,
            selection=dg.AssetSelection.all(),
            config=scope_config("all_users"),
            description="Takes in a landing day and infers the journeys of everyone with history as of that day.",
        ),
    ]
    return dg.Definitions(jobs=jobs)


def scope_config(scope: str) -> dg.RunConfig:
    """Run config that sets the scope."""
    return dg.RunConfig(ops={"users_in_scope": ScopeConfig(scope=scope)})
