"""The daily partitions that all assets share: the UTC arrival day of the data, and the `as_of` of a snapshot."""

from datetime import date

import dagster as dg


def daily_partitions(first_day: date) -> dg.DailyPartitionsDefinition:
    """Every day from `first_day` to yesterday (UTC)."""
    return dg.DailyPartitionsDefinition(start_date=first_day.isoformat())
