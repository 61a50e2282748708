"""The jobs: ingestion of landing days, inference for active or for all users, and training.

Both kinds of inference run the same assets over the same daily partitions.
"""

from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from typing import Any

import dagster as dg

from journeys_dagster.orchestration.asset import Asset, Location
from journeys_dagster.orchestration.run_config import ScopeConfig, TrainingConfig

INGEST_LANDING = "ingest_landing"
DAILY_INCREMENTAL = "daily_incremental"
FULL_INFERENCE = "full_inference"
TRAIN_MODELS = "train_models"
FRESHNESS = "freshness"
AssetJob = Any
"""What `define_asset_job` returns; Dagster does not export its type."""
_RETRY_TAGS = {"dagster/retry_strategy": "ALL_STEPS"}
"""A run whose process died starts from the first step: another run may have run meanwhile."""
_SOURCES_GROUP = "sources"
JOB_OF_SCOPE = {"active_users": DAILY_INCREMENTAL, "all_users": FULL_INFERENCE}


def newest_day_check(location: Location) -> dg.AssetCheckKey:
    """The check of freshness: of no day's run, but of a deadline."""
    return dg.AssetCheckKey(location.key("user_journeys"), "newest_day")


def build_jobs(assets: Sequence[Asset], location: Location) -> dict[str, AssetJob]:
    """All jobs by name: `assets` without partitions are trained, or operations."""
    models = location.select(asset for asset in assets if asset.table and not asset.partitioned)
    freshness = dg.AssetSelection.checks(newest_day_check(location))
    daily = location.select(asset for asset in assets if asset.partitioned) - freshness
    # A step takes milliseconds in the run's own process and seconds in a new one.
    job = partial(dg.define_asset_job, executor_def=dg.in_process_executor)
    jobs = [
        job(
            INGEST_LANDING,
            selection=location.select(asset for asset in assets if asset.group == _SOURCES_GROUP),
            description="Ingests landing days, without inference.",
            tags=_RETRY_TAGS,
        ),
        job(
            DAILY_INCREMENTAL,
            selection=daily,
            config=scope_config("active_users", location.step),
            description="Ingests a landing day and infers the journeys of users with a row that arrived that day.",
            tags=_RETRY_TAGS,
        ),
        job(
            FULL_INFERENCE,
            selection=daily,
            config=scope_config("all_users", location.step),
            description="Ingests a landing day and infers the journeys of everyone with history as of that day.",
            tags=_RETRY_TAGS,
        ),
        job(
            TRAIN_MODELS,
            selection=models,
            description="Trains the models; ranker and stage model take over if they beat what is in use.",
            tags=_RETRY_TAGS,
        ),
        job(
            FRESHNESS, selection=freshness, description="Checks that the newest day has been inferred by the deadline."
        ),
    ]
    return {job.name: job for job in jobs}


def range_tags(first: date, last: date) -> dict[str, str]:
    """Run tags that make one run cover a range of days."""
    return {
        "dagster/asset_partition_range_start": first.isoformat(),
        "dagster/asset_partition_range_end": last.isoformat(),
    }


def scope_config(scope: str, step: Callable[[str], str] = str) -> dg.RunConfig:
    """Run config that sets the scope; `step` gives the name of an asset's step, where that is another one."""
    return dg.RunConfig(ops={step(name): ScopeConfig(scope=scope) for name in ("users_in_scope", "inferred_days")})


def training_config(as_of: date | None) -> dg.RunConfig:
    """Run config that sets the day until which training sees rows."""
    return dg.RunConfig(ops={"ranking_labels": TrainingConfig(as_of=as_of.isoformat() if as_of else "")})
