"""A metric of the quality watch over days: what was measured, what was expected, and where it was an alarm."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl

from journeys_dagster.reporting.canvas import (
    COLOURS,
    MUTED,
    new_panels,
    no_rows_png,
    number_axis,
    plot_text,
    to_png,
)
from journeys_dagster.reporting.text import format_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

_PANEL_PX, _SINGLE_PANEL_PX = 165, 300
_HEADER_PX, _FOOTER_PX = 72, 58
_FINE_DECADES = 1.5
_BAND = "#d3dce6"
_ALARM = COLOURS[1]


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
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

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
    locator = AutoDateLocator(minticks=3, maxticks=8)
    panels[-1].xaxis.set_major_locator(locator)
    panels[-1].xaxis.set_major_formatter(ConciseDateFormatter(locator))
    panels[-1].xaxis.get_offset_text().set(size=8.5, color=MUTED)
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
        _tick_by_factors(axes.yaxis, decades=math.log10(top / bottom))
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


def _tick_by_factors(axis: Axis, *, decades: float) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < _FINE_DECADES else (1,), numticks=6))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: format_number(value)))
