"""User journeys from an activity log, as a Dagster project on DuckDB."""
