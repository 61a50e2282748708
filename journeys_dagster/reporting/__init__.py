"""Plots and tables for the Dagster UI, the command line and the report.

Pure functions from polars data to PNG bytes, markdown or rich renderables. Nothing here reads a warehouse,
knows about Dagster or decides what is worth reporting: the callers do.
"""
