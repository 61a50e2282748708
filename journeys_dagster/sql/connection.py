"""Starting DuckDB, with what is known to be wrong in the pinned version turned off."""

from collections.abc import Mapping

import duckdb

_WRONG_OPTIMIZERS = "top_n_window_elimination"
"""DuckDB 2.0.1 takes columns for one another where statistics reduce a filter on a row number to the first row."""


def start_duckdb(config: Mapping[str, object] | None = None) -> duckdb.DuckDBPyConnection:
    """DuckDB without a file.

    Parameters
    ----------
    config : mapping, optional
        DuckDB's configuration, such as ``memory_limit``.
    """
    return duckdb.connect(config={"disabled_optimizers": _WRONG_OPTIMIZERS, **(config or {})})  # type: ignore[dict-item]
