"""The actions that count, and the named parameters of SQL models and audits, from the settings and the declarations."""

from datetime import date
from typing import Any

from journeys_dagster.settings import Settings
from journeys_dagster.sources.contracts import declared_sources


def action_weights(settings: Settings) -> dict[str, float]:
    """Weight of one event of each action that counts: as declared, unless the settings list the action.

    First the actions that sources have as a whole, then those that their rows may name.
    """
    weights: dict[str, float] = {}
    for source in declared_sources(settings).values():
        if "action" not in source.fields:
            weights |= source.action_weights
    return weights | settings.keywords.action_weights


def action_names(settings: Settings) -> list[str]:
    """Names of the actions that count, in the order of every list of counts by action."""
    return list(action_weights(settings))


def query_parameters(settings: Settings, as_of: date) -> dict[str, Any]:
    """The parameters that models and audits may name."""
    keywords = settings.keywords
    return {
        "as_of": as_of,
        "lookback_days": keywords.lookback_days,
        "typing_seconds": keywords.typing_seconds,
        "action_names": action_names(settings),
        "max_journeys_per_user": settings.output.max_journeys_per_user,
        "min_confidence": settings.output.min_confidence,
        "max_keywords_per_journey": settings.output.max_keywords_per_journey,
        "trend_share": settings.ranking.trend_share,
    }
