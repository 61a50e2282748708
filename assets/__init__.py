"""The asset graph: one thin file per step. An asset reads, calls `journeys_dagster.inference`, replaces rows, reports."""
