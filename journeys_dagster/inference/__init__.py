"""How each step computes: pure functions on polars and numpy. No warehouse, no Dagster, no settings file."""
