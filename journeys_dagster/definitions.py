"""The code location: the one place where everything is put together."""

import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from importlib import import_module
from typing import Any

import dagster as dg

import assets
from assets.inferred_days import ALGORITHM_PARTS
from assets.sources import source_assets
from journeys_dagster.inference.algorithm import Algorithm, current_algorithm
from journeys_dagster.inference.embedding import embedder_of_process, model_revision
from journeys_dagster.inference.fingerprint import step_version
from journeys_dagster.inference.safety_policy import load_policy
from journeys_dagster.llm.parts import llm_parts
from journeys_dagster.orchestration.asset import Asset, Location
from journeys_dagster.orchestration.jobs import build_jobs
from journeys_dagster.orchestration.sensors import build_automation
from journeys_dagster.orchestration.sharded import cannot_be_split
from journeys_dagster.orchestration.shards_resource import require_splittable, shards_resource
from journeys_dagster.orchestration.sql_assets import sql_asset
from journeys_dagster.resources.home import Home
from journeys_dagster.resources.landing_state import SEEN_LANDING_DAYS
from journeys_dagster.resources.landing_zone import LandingZone
from journeys_dagster.resources.llm import LLM_ANSWERS, llm_resource
from journeys_dagster.resources.published_files import PUBLISHED_FILES
from journeys_dagster.resources.shards import SHARD_LAYOUT
from journeys_dagster.settings import Settings, SettingsError, load_settings
from journeys_dagster.sources.contracts import LANDED_DAYS, REJECTED_ROWS, declared_sources
from journeys_dagster.sources.streams import check_event_models
from journeys_dagster.sql.models import ModelError, load_audits, load_models
from journeys_dagster.tables import Table

RECORDS = (REJECTED_ROWS, LANDED_DAYS, SEEN_LANDING_DAYS, ALGORITHM_PARTS, LLM_ANSWERS, SHARD_LAYOUT, PUBLISHED_FILES)
_FIRST_DAY_OF_AN_EMPTY_LANDING_ZONE = date(2010, 1, 1)


def build_defs(
    *,
    settings: Settings | None = None,
    home: Home | None = None,
    resource_overrides: Mapping[str, Any] | None = None,
    key_prefix: Sequence[str] = (),
    group_names: Mapping[str, str] | None = None,
) -> dg.Definitions:
    """All definitions, to be merged with others; they name no executor but that of their jobs.

    Parameters
    ----------
    settings : Settings, optional
        Default: the settings file.
    home : Home, optional
        Default: the home named by the environment.
    resource_overrides : mapping, optional
        Resources to use in place of the home's own, by name.
    key_prefix : sequence of str
        What the keys of all assets begin with.
    group_names : mapping of str to str, optional
        Names of groups in the place of the declared ones.

    Raises
    ------
    SettingsError
        There is no such group.
    """
    settings = settings or load_settings()
    home = home or Home.from_environment()
    embedding = settings.embedding
    resources: dict[str, Any] = {
        "settings": settings,
        "landing_zone": home.landing_zone(),
        "warehouse": home.run_warehouse(settings),
        "embedder": embedder_of_process(embedding.model, embedding.revision, embedding.batch_size),
        "llm": llm_resource(settings.llm),
        **(resource_overrides or {}),
    }
    require_splittable(settings)
    first_day = _first_day(settings, resources["landing_zone"])
    declared = declared_assets(settings)
    days = dg.DailyPartitionsDefinition(start_date=first_day.isoformat())
    location = replace(
        build_location(settings, declared, days),
        key_prefix=key_prefix,
        group_names=_known_groups(group_names or {}, declared),
    )
    if settings.run.shards > 1:
        resources["shards"] = shards_resource(settings, location, landing=home.landing)
    in_use = [asset for asset in declared if asset.name in location.assets]
    jobs = build_jobs(in_use, location)
    graph = dg.Definitions(
        assets=[asset.build(location) for asset in in_use], jobs=list(jobs.values()), resources=resources
    )
    return dg.Definitions.merge(graph, build_automation(in_use, location, jobs, first_day=first_day))


def declared_assets(settings: Settings) -> list[Asset]:
    """All assets: landing sources, SQL models, and what the modules of `assets` declare."""
    modules = (import_module(f"assets.{module.name}") for module in pkgutil.iter_modules(assets.__path__))
    steps = {id(found): found for module in modules for found in vars(module).values() if isinstance(found, Asset)}
    return [
        *source_assets(settings),
        *(sql_asset(model) for model in load_models().values()),
        *steps.values(),
    ]


def declared_tables(settings: Settings) -> dict[str, Table]:
    """All tables and views of a warehouse by name: those of assets, and those that are records of other work."""
    return _tables(declared_assets(settings))


def build_location(settings: Settings, declared: Sequence[Asset], partitions_def: dg.PartitionsDefinition) -> Location:
    """What all assets share; `declared` are those that are not in use too, whose tables a warehouse may have.

    Raises
    ------
    ModelError
        There are audits of something that is no table, an asset reads such a thing, or events of a source have no
        staging model.
    """
    check_event_models(load_models().values(), declared_sources(settings))
    audits, tables = load_audits(), _tables(declared)
    if unknown := audits.keys() - tables.keys():
        raise ModelError(f"there are audits of {', '.join(sorted(unknown))}, which is no table")
    for asset in declared:
        if unknown := asset.deps - tables.keys():
            raise ModelError(f"asset {asset.name} reads {', '.join(sorted(unknown))}, which is no table")
    in_use = [asset for asset in declared if asset.is_in_use(settings)]
    location = Location(
        settings=settings,
        partitions_def=partitions_def,
        algorithm=_algorithm(settings, declared),
        assets=frozenset(asset.name for asset in in_use),
        tables=tables,
        audits=audits,
        views={asset.name: asset.deps for asset in declared if asset.table and asset.table.kind == "view"},
    )
    if settings.run.shards > 1 and (whole := [asset.name for asset in in_use if cannot_be_split(asset, location)]):
        raise ModelError(
            f"{', '.join(whole)} reads all users' rows in one warehouse: name its partial subqueries, let it gather, "
            "or say that it needs everyone"
        )
    return location


def algorithm_in_use(settings: Settings) -> Algorithm:
    """The algorithm of this code location; settings that only steer runs have no part in it."""
    return _algorithm(settings, declared_assets(settings))


def _known_groups(names: Mapping[str, str], declared: Sequence[Asset]) -> Mapping[str, str]:
    groups = {asset.group for asset in declared}
    if unknown := names.keys() - groups:
        raise SettingsError(
            f"there is no group {', '.join(map(repr, sorted(unknown)))}; groups are {', '.join(sorted(groups))}"
        )
    return names


def _tables(declared: Sequence[Asset]) -> dict[str, Table]:
    tables = [asset.table for asset in declared if asset.table is not None]
    return {table.name: table for table in (*tables, *RECORDS)}


def _algorithm(settings: Settings, declared: Sequence[Asset]) -> Algorithm:
    return current_algorithm(
        settings=settings.algorithm() | llm_parts(settings.llm),
        model_revision=model_revision(settings.embedding.model, settings.embedding.revision),
        policy_revision=load_policy(settings.safety.policy).revision,
        step_code_versions={
            asset.name: step_version(asset.module) for asset in declared if asset.decides and asset.code_version is None
        },
        sql_code_versions={asset.name: asset.code_version for asset in declared if asset.code_version is not None},
    )


def _first_day(settings: Settings, landing_zone: LandingZone) -> date:
    """First partition: as set, else the earliest landing day, so that the UI shows the days there are."""
    if settings.landing.first_day is not None:
        return settings.landing.first_day
    sources = declared_sources(settings)
    landed = [day for source in sources for day in landing_zone.days(source)]
    return min(landed, default=_FIRST_DAY_OF_AN_EMPTY_LANDING_ZONE)


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster loads."""
    # For assets that are materialised by none of the jobs, which have it too.
    return dg.Definitions.merge(build_defs(), dg.Definitions(executor=dg.in_process_executor))
