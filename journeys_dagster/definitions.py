"""The code location: the one place where everything is put together."""

from collections.abc import Mapping
from datetime import date
from typing import Any

import dagster as dg

from journeys_dagster.graph import algorithm_in_use, build_assets
from journeys_dagster.inference.embedding import TextEmbedder
from journeys_dagster.orchestration.jobs import build_jobs
from journeys_dagster.orchestration.partitions import daily_partitions
from journeys_dagster.orchestration.sensors import build_automation
from journeys_dagster.resources.home import Home
from journeys_dagster.resources.landing_zone import LandingZone
from journeys_dagster.resources.llm import llm_resource
from journeys_dagster.settings import Settings, load_settings
from journeys_dagster.sources.contracts import declared_sources
from journeys_dagster.sql.models import load_models

_FIRST_DAY_OF_AN_EMPTY_LANDING_ZONE = date(2010, 1, 1)


def build_defs(
    *,
    settings: Settings | None = None,
    home: Home | None = None,
    resource_overrides: Mapping[str, Any] | None = None,
) -> dg.Definitions:
    """All definitions of the code location.

    Parameters
    ----------
    settings : Settings, optional
        Default: the settings file.
    home : Home, optional
        Default: the home named by the environment.
    resource_overrides : mapping, optional
        Resources to use in place of the home's own, by name.
    """
    settings = settings or load_settings()
    home = home or Home.from_environment()
    landing_zone = home.landing_zone()
    embedding = settings.embedding
    resources: dict[str, Any] = {
        "settings": settings,
        "landing_zone": landing_zone,
        "warehouse": home.run_warehouse(settings),
        "embedder": TextEmbedder(model=embedding.model, revision=embedding.revision, batch_size=embedding.batch_size),
        "llm": llm_resource(settings.llm),
    }
    first_day = _first_day(settings, landing_zone)
    partitions_def = daily_partitions(first_day)
    jobs, models = build_jobs(), load_models()
    graph = dg.Definitions(
        assets=build_assets(settings, partitions_def, models),
        jobs=list(jobs.values()),
        resources={**resources, **(resource_overrides or {})},
        # A step takes milliseconds in the run's own process and seconds in a new one.
        executor=dg.in_process_executor,
    )
    version = algorithm_in_use(settings, models).version
    return dg.Definitions.merge(graph, build_automation(version, jobs, settings, first_day=first_day))


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
    return build_defs()
