"""The named parameters of a query."""

from collections.abc import Mapping
from typing import Any

import duckdb


def used_params(sql: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that a query names; DuckDB refuses others."""
    named = {name for statement in duckdb.extract_statements(sql) for name in statement.named_parameters}
    return {name: value for name, value in params.items() if name in named}
