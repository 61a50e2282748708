"""The shards as a resource of runs: processes that are there while a run goes on."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from journeys_dagster.orchestration.asset import Location
from journeys_dagster.resources.shards import Shards, layout_of
from journeys_dagster.settings import Settings, SettingsError

_LLM = ("names", "judge", "journeys", "safety", "expansions")


def require_splittable(settings: Settings) -> None:
    """See that all that the settings turn on is there where users are split.

    Raises
    ------
    SettingsError
        It is not; the message names the settings.
    """
    if settings.run.shards == 1:
        return
    faults = [f"llm.{use}" for use in _LLM if getattr(settings.llm, use)]
    faults += ["notifications.enabled"] if settings.notifications.enabled else []
    faults += ["serving.store = 'redis'"] if settings.serving.store != "folder" else []
    faults += ["run.engine = 'ray'"] if settings.run.engine != "local" else []
    if faults:
        raise SettingsError(
            f"{', '.join(faults)}: this is not there where users are split. Turn it off, or leave them in one part: "
            f"run.shards is {settings.run.shards}"
        )


def shards_resource(settings: Settings, location: Location, *, landing: Path) -> dg.ResourceDefinition:
    """The shards of the run's warehouse."""

    def shards(context: dg.InitResourceContext) -> Iterator[Shards]:
        driver = context.resources.warehouse
        layout = layout_of(driver)
        if layout is None:
            raise SettingsError("run.shards is 1, so there are no shards")
        hello = {
            "settings": settings.model_dump_json(),
            "algorithm_version": location.algorithm.version,
            "key_prefix": list(location.key_prefix),
            "landing": str(landing),
        }
        log = context.log.warning if context.log is not None else print
        opened = Shards(driver, layout, settings.run.workers, hello, log)
        try:
            yield opened
        finally:
            opened.close()

    return dg.ResourceDefinition(shards, required_resource_keys={"warehouse"})
