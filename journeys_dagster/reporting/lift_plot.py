"""Lifts of an experiment's arms with their intervals."""

from __future__ import annotations

import polars as pl

from journeys_dagster.reporting.canvas import COLOURS, INK, MUTED, legend, new_axes, no_rows_png, plot_text, to_png

_ROW_PX, _FRAME_PX, _MOST_ROWS = 30, 150, 40


def lifts_plot(rows: pl.DataFrame, *, title: str) -> bytes:
    """Draw each lift with both of its intervals, as shares of the control.

    Parameters
    ----------
    rows
        Columns ``experiment``, ``arm``, ``metric``, ``relative_lift`` and, each with ``_low`` and ``_high``,
        ``relative`` and ``always_relative``, which may be null.
    title
        What is shown.

    Returns
    -------
    bytes
        A PNG: a line per row, the thick interval for one look and the thin one for every look. Rows without a lift are
        left out, and those past the fortieth.
    """
    known = rows.drop_nulls("relative_lift")
    if known.is_empty():
        return no_rows_png(title=title, x_label="lift", y_label="")
    from matplotlib.ticker import PercentFormatter

    shown = known.head(_MOST_ROWS)
    figure, axes = new_axes(
        title=title,
        subtitle=f"{shown.height} of {rows.height} rows · thick: 95 % for one look · thin: 95 % for every look at once",
        x_label="lift over the control",
        y_label="",
        height_px=_FRAME_PX + _ROW_PX * shown.height,
    )
    axes.axvline(0, color=MUTED, linewidth=1)
    styles = (("always_relative", 1.2, COLOURS[5], "every look"), ("relative", 4.0, COLOURS[0], "one look"))
    drawn = []
    for place, row in enumerate(shown.iter_rows(named=True)):
        for name, width, colour, label in styles:
            if row[f"{name}_low"] is not None:
                ends = [row[f"{name}_low"], row[f"{name}_high"]]
                (line,) = axes.plot(
                    ends, [place, place], color=colour, linewidth=width, solid_capstyle="butt", label=label
                )
                drawn.append((label, line))
        axes.plot(row["relative_lift"], place, "o", color=INK, markersize=4)
    names = [f"{row['experiment']} · {row['arm']} · {row['metric']}" for row in shown.iter_rows(named=True)]
    axes.set_yticks(range(len(names)), [plot_text(name, width=44) for name in names])
    axes.set_ylim(max(len(names), 3) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    by_label = dict(drawn)
    legend(axes, list(by_label.values()), list(by_label))
    return to_png(figure)
