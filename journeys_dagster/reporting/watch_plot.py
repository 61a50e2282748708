"""Metrics of the quality watch over days: what was measured, what was expected, and where it was an alarm."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from journeys_dagster.reporting.canvas import (
    COLOURS,
    GRID,
    INK,
    MUTED,
    day_axis,
    logarithmic_axis,
    new_panels,
    no_rows_png,
    number_axis,
    plot_text,
    to_png,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PANEL_PX, _SINGLE_PANEL_PX, _LINE_PX = 165, 300, 15
_HEADER_PX, _FOOTER_PX = 72, 58
_FARTHEST = 2.0
"""Deviations beyond it have its colour."""
_FINE_DECADES = 1.5
_BAND = "#d3dce6"
_ALARM = COLOURS[1]


def watched_ranges(lines: pl.DataFrame, *, title: str) -> bytes:
    """Draw where values lay within what was expected of them: a line for each series, a column for each day.

    Parameters
    ----------
    lines
        Columns ``series``, ``day``, ``deviation`` (0 as expected, -1 and 1 at the ends of what is ordinary; null where
        nothing was measured or expected) and ``alarm``; a day at most once in a series. A series of nulls is left out.
    title
        What is shown.

    Returns
    -------
    bytes
        A PNG, series from top to bottom in the order in which they come.
    """
    lines = lines.filter(pl.col("deviation").is_not_null().any().over("series"))
    if lines.is_empty():
        return no_rows_png(title=title, x_label="day", y_label="")
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.dates import date2num

    series = lines["series"].unique(maintain_order=True)
    first: date = lines["day"].min()  # type: ignore[assignment]
    last: date = lines["day"].max()  # type: ignore[assignment]
    places = lines.select(
        row=pl.col("series").replace_strict(series, range(len(series)), return_dtype=pl.Int64),
        column=(pl.col("day") - first).dt.total_days(),
    )
    rows, columns = places["row"].to_numpy(), places["column"].to_numpy()
    colours = np.full((len(series), (last - first).days + 1), np.nan)
    # Infinite, where only one value was ordinary, would be drawn as if nothing had been expected.
    colours[rows, columns] = lines["deviation"].clip(-_FARTHEST, _FARTHEST).to_numpy()
    figure, (axes,) = new_panels(
        1,
        title=title,
        subtitle="blue: below what was expected, orange: above · grey: nothing expected · ring: alarm",
        x_label="day",
        y_label="",
        panel_px=_LINE_PX * len(series) + _HEADER_PX + _FOOTER_PX,
    )
    header, footer = _HEADER_PX / figure.bbox.height, _FOOTER_PX / figure.bbox.height
    figure.subplots_adjust(left=0.33, right=0.985, top=1 - header, bottom=footer)
    start, end = float(date2num(first)), float(date2num(last))
    axes.imshow(
        colours,
        cmap=LinearSegmentedColormap.from_list("range", [COLOURS[0], "white", _ALARM], bad=GRID),
        vmin=-_FARTHEST,
        vmax=_FARTHEST,
        aspect="auto",
        interpolation="nearest",
        extent=(start - 0.5, end + 0.5, len(series) - 0.5, -0.5),
    )
    alarms = lines["alarm"].to_numpy()
    axes.plot(start + columns[alarms], rows[alarms], "o", mfc="none", mec=INK, markersize=6)
    axes.grid(visible=False)
    axes.tick_params(axis="y", length=0)
    axes.set_yticks(range(len(series)), [plot_text(name, width=34) for name in series])
    day_axis(axes.xaxis)
    return to_png(figure)


def watched_days(series: Mapping[str, pl.DataFrame], *, title: str, y_label: str, log: bool = False) -> bytes:
    """Draw a metric over days with its expected range, a panel for each slice.

    Parameters
    ----------
    series
        By slice: columns ``day``, ``value``, ``low``, ``high`` (null where nothing was measured or expected) and
        ``alarm``; days distinct and in order.
    title, y_label
        What is shown, and the vertical axes with their unit.
    log
        Logarithmic axes, for quantities that grow by factors; a value of 0 is left out, or an alarm at the bottom.

    Returns
    -------
    bytes
        A PNG. The line breaks at days without a value.
    """
    drawn = {name: frame for name, frame in series.items() if frame["value"].drop_nulls().len()}
    if not drawn:
        return no_rows_png(title=title, x_label="day", y_label=y_label)
    first = min(frame["day"].min() for frame in drawn.values())  # type: ignore[type-var]
    last = max(frame["day"].max() for frame in drawn.values())  # type: ignore[type-var]
    alarms = sum(int(frame["alarm"].sum()) for frame in drawn.values())
    figure, panels = new_panels(
        len(drawn),
        title=title,
        subtitle=f"{first} to {last} · band: expected · {alarms} alarm{'' if alarms == 1 else 's'}"
        f"{' (orange)' if alarms else ''}",
        x_label="day",
        y_label=y_label,
        panel_px=_SINGLE_PANEL_PX if len(drawn) == 1 else _PANEL_PX,
    )
    header, footer = _HEADER_PX / figure.bbox.height, _FOOTER_PX / figure.bbox.height
    # Known margins cost half of what a layout engine does.
    figure.subplots_adjust(left=0.15, right=0.985, top=1 - header, bottom=footer, hspace=0.28)
    for axes, (name, frame) in zip(panels, drawn.items(), strict=True):
        _draw(axes, frame, log=log)
        if axes is not panels[-1]:
            # The days stand below the last one; ticks that nobody sees take as long as others.
            axes.xaxis.set_visible(False)
        # A title without a place is moved clear of all ticks, which takes a third of the whole drawing.
        axes.set_title(plot_text(name), size=9, color=MUTED, loc="left", pad=3, y=1.0)
    day_axis(panels[-1].xaxis)
    return to_png(figure)


def _draw(axes: Axes, frame: pl.DataFrame, *, log: bool) -> None:
    known = frame.filter(pl.col("low").is_not_null(), pl.col("high").is_not_null())
    if log:
        frame = frame.filter((pl.col("value") > 0) | pl.col("alarm"))
        amounts = pl.concat([frame["value"], known["low"], known["high"]]).drop_nulls()
        bottom = float(amounts.filter(amounts > 0).min() or 1.0) / 1.5  # type: ignore[arg-type]
        top = max(2 * bottom, 1.5 * float(amounts.max() or 1.0))  # type: ignore[arg-type]
        frame = frame.with_columns(pl.col("value").clip(lower_bound=bottom))
        axes.set_yscale("log")
        axes.set_ylim(bottom, top)
        logarithmic_axis(axes.yaxis, steps=(1, 2, 5) if math.log10(top / bottom) < _FINE_DECADES else (1,), most=6)
    else:
        number_axis(axes.yaxis, whole=False)
    axes.fill_between(
        known["day"].to_numpy(), known["low"].to_numpy(), known["high"].to_numpy(), color=_BAND, linewidth=0
    )
    axes.plot(
        frame["day"].to_numpy(), frame["value"].to_numpy(), color=COLOURS[0], linewidth=1.2, marker="o", markersize=3
    )
    alarms = frame.filter("alarm")
    axes.plot(alarms["day"].to_numpy(), alarms["value"].to_numpy(), "o", color=_ALARM, markersize=7, zorder=3)
