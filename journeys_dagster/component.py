"""The whole graph as a component, which a `defs.yaml` puts into any Dagster project.

Whoever lists components imports this module, so what takes time is imported when one is loaded.
"""

from typing import Any

import dagster as dg
from pydantic import Field


class _Scaffolder(dg.Scaffolder):
    """Writes the `defs.yaml` of `dg scaffold defs`."""

    def scaffold(self, request: dg.ScaffoldRequest) -> None:
        dg.scaffold_component(request, {"home": ".journeys", "key_prefix": "journeys"})


@dg.scaffold_with(_Scaffolder)
class JourneysComponent(dg.Component, dg.Model, dg.Resolvable):
    """User journeys from an activity log: assets, checks, jobs, schedules, sensors and resources.

    Relative paths start from the folder of the project.
    """

    home: str = Field(description="Folder of the warehouse, the published lists and locks; made where there is none.")
    landing: str | None = Field(
        default=None,
        description="Folder of the landing zone, as SOURCE/date=YYYY-MM-DD/. Default: landing in the home.",
    )
    settings: str | dict[str, Any] = Field(
        default_factory=dict, description="Settings by section as in journeys.toml, or the path of such a file."
    )
    key_prefix: str = Field(default="", description="What all asset keys begin with; parts are separated by /.")
    group_names: dict[str, str] = Field(
        default_factory=dict, description="Names of groups in the place of sources, staging, inference and so on."
    )

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Everything, as the project has it."""
        from journeys_dagster.definitions import build_defs
        from journeys_dagster.resources.home import Home
        from journeys_dagster.resources.landing_zone import LandingZone
        from journeys_dagster.settings import load_settings, settings_of, with_experiments

        root = context.project_root
        home = Home((root / self.home).resolve())
        if isinstance(self.settings, str):
            settings = load_settings(root / self.settings, home=home.path)
        else:
            place = f"settings of the component at {context.path}"
            settings = settings_of(self.settings, place=place, dates_as_text=True)
            settings = with_experiments(settings, home=home.path)
        landing = LandingZone(path=str((root / self.landing).resolve())) if self.landing else home.landing_zone()
        return build_defs(
            settings=settings,
            home=home,
            resource_overrides={"landing_zone": landing},
            key_prefix=[part for part in self.key_prefix.split("/") if part],
            group_names=self.group_names,
        )
