"""A calibration curve: stated probabilities against observed rates."""

from __future__ import annotations

import polars as pl

from journeys_dagster.reporting.canvas import COLOURS, MUTED, new_axes, to_png


def calibration_curve(table: pl.DataFrame, *, title: str) -> bytes:
    """Draw stated against observed rates, with the line on which both are equal.

    Parameters
    ----------
    table
        Columns ``rows``, ``stated``, ``observed``, one row per bin of equally many rows.
    title
        What is shown.

    Returns
    -------
    bytes
        A PNG.
    """
    rows = int(table["rows"].sum())
    figure, axes = new_axes(
        title=title,
        subtitle=f"{rows:,} rows in {len(table)} bins of equally many",
        x_label="stated probability",
        y_label="observed share",
    )
    top = 1.05 * max([0.01, *table["stated"], *table["observed"]])
    axes.plot([0, top], [0, top], color=MUTED, linestyle=":", linewidth=1.2)
    axes.plot(table["stated"], table["observed"], "o-", color=COLOURS[0], linewidth=1.4, markersize=4)
    axes.set_xlim(0, top)
    axes.set_ylim(0, top)
    return to_png(figure)
