"""The asset graph: one thin file per step, which reads, calls `journeys_dagster.inference`, replaces rows, reports."""

import warnings

import dagster as dg

# Single-run ranges need a backfill policy; its beta mark would be repeated for every asset.
warnings.filterwarnings("ignore", message="Parameter `backfill_policy`", category=dg.BetaWarning)
