"""The `journeys evaluate` commands."""
