"""The named parameters of SQL models and audits, from the settings."""

from collections.abc import Mapping
from datetime import date
from typing import Any

import duckdb

from journeys_dagster.settings import Settings


def action_weights(settings: Settings) -> dict[str, float]:
    """Weight of one event of each action that counts."""
    keywords = settings.keywords
    return {"search": keywords.search_weight, "board": keywords.board_weight, **keywords.action_weights}


def action_names(settings: Settings) -> list[str]:
    """Names of the actions that count, in the order of every list of counts by action."""
    return list(action_weights(settings))


def query_parameters(settings: Settings, as_of: date) -> dict[str, Any]:
    """The parameters that models and audits may name."""
    keywords = settings.keywords
    return {
        "as_of": as_of,
        "lookback_days": keywords.lookback_days,
        "action_names": action_names(settings),
        "max_journeys_per_user": settings.output.max_journeys_per_user,
        "min_events_per_journey": settings.output.min_events_per_journey,
        "max_keywords_per_journey": settings.output.max_keywords_per_journey,
        "trend_share": settings.ranking.trend_share,
    }


def used_params(sql: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that a query names; DuckDB refuses others."""
    named = {name for statement in duckdb.extract_statements(sql) for name in statement.named_parameters}
    return {name: value for name, value in params.items() if name in named}
