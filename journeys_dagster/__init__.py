"""User journeys from an activity log, as a Dagster project on DuckDB."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from journeys_dagster.notebook import infer_journeys

__all__ = ["infer_journeys"]


def __getattr__(name: str) -> object:
    """`infer_journeys`, imported when it is first asked for: most of what imports this package needs little of it."""
    if name != "infer_journeys":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from journeys_dagster.notebook import infer_journeys

    return infer_journeys
