"""A metric of the quality watch over days: what was measured, what was expected, and where it was an alarm."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from journeys_dagster.reporting.canvas import COLOURS, MUTED, GRID, new_panels, no_rows_png, number_axis, plot_text, to_png

_PANEL_PX = 190
_ALARM = COLOURS[1]


def watched_days(series: Mapping[str, pl.DataFrame], *, title: str, y_label: str) -> bytes:
    """Draw a metric over days with its expected range, a panel for each slice.

    Parameters
    ----------
    series
        By slice: columns ``day``, ``value``, ``low``, ``high`` (null where nothing was measured or expected) and
        ``alarm``; days distinct and in order.
    title, y_label
        What is shown, and the vertical axes with their unit.

    Returns
    -------
    bytes
        A PNG. Days that are absent stay empty; where a range is open to one side, its band reaches the axis.
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
        panel_px=_PANEL_PX,
    )
    for axes, (name, frame) in zip(panels, drawn.items(), strict=True):
        days, values = frame["day"].to_numpy(), frame["value"].to_numpy()
        known = frame.filter(pl.col("low").is_not_null())
        if len(known):
            axes.fill_between(
                known["day"].to_numpy(), known["low"].to_numpy(), known["high"].to_numpy(), color=GRID, linewidth=0
            )
        axes.plot(days, values, color=COLOURS[0], linewidth=1.2, marker="o", markersize=3)
        alarmed = frame.filter("alarm")
        axes.plot(
            alarmed["day"].to_numpy(), alarmed["value"].to_numpy(), "o", color=_ALARM, markersize=7, zorder=3
        )
        if name:
            axes.set_title(plot_text(name), size=9, color=MUTED, loc="left", pad=3)
        number_axis(axes.yaxis, whole=False)
    locator = AutoDateLocator(minticks=3, maxticks=8)
    panels[-1].xaxis.set_major_locator(locator)
    panels[-1].xaxis.set_major_formatter(ConciseDateFormatter(locator))
    panels[-1].xaxis.get_offset_text().set(size=8.5, color=MUTED)
    return to_png(figure)
