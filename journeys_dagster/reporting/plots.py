"""The plots of the UI and the report: polars data in, PNG bytes out.

Each function draws one kind of plot and is named for the kind, not for what is plotted: titles and axis
labels come from the caller. The look they share is in `canvas`.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.reporting.canvas import (
    COLOURS,
    INK,
    MUTED,
    day_axis,
    legend,
    logarithmic_axis,
    new_axes,
    no_rows_png,
    number_axis,
    plot_text,
    to_png,
)
from journeys_dagster.reporting.text import escape_markdown, format_number

_MAX_BINS = 40
# How many times as far as the 99th percentile the largest value must be for the tail to be cut.
_LONG_TAIL = 1.5
_MIN_SPAN = 6  # whole numbers, or days
_MAX_BARS = 15
_MAX_POINTS = 5_000
_MAX_DAILY_BARS = 92


def histogram(
    values: pl.Series,
    *,
    title: str,
    x_label: str,
    y_label: str,
    log_y: bool = False,
    integer: bool = True,
) -> bytes:
    """Draw how a quantity is distributed: journeys per user, keywords per cluster, scores.

    Parameters
    ----------
    values
        Any numeric dtype; nulls, NaN and infinities are left out.
    title, x_label, y_label
        What is shown, and the axes with their units; `y_label` is what is counted.
    log_y
        Count on a logarithmic axis.
    integer
        The values are whole numbers: one bin for each, or for each few.

    Returns
    -------
    bytes
        A PNG. A long tail is cut at the 99th percentile, and how many lie above is written under the title.
    """
    numbers = _finite(values)
    if not len(numbers):
        return no_rows_png(title=title, x_label=x_label, y_label=y_label)
    low, high = float(numbers.min()), float(numbers.max())
    mean, median = format_number(float(numbers.mean())), format_number(float(np.median(numbers)))
    subtitle = f"n = {len(numbers):,} · mean {mean} · median {median}"
    percentile = float(np.quantile(numbers, 0.99, method="higher"))
    if high - low > _LONG_TAIL * (percentile - low):
        above = int((numbers > percentile).sum())
        subtitle += f" · {above:,} more above {format_number(percentile)}, up to {format_number(high)}"
        high = percentile
    counts, edges = np.histogram(numbers, bins=_bin_edges(low, high, integer=integer))
    figure, axes = new_axes(title=title, subtitle=subtitle, x_label=x_label, y_label=y_label)
    style = {"color": COLOURS[0], "edgecolor": "white", "linewidth": 0.6}
    axes.bar(edges[:-1], counts, width=np.diff(edges), align="edge", **style)
    axes.grid(visible=False, axis="x")
    number_axis(axes.xaxis, whole=integer)
    if integer and high - low < _MIN_SPAN:
        axes.set_xlim((low + high - _MIN_SPAN) / 2, (low + high + _MIN_SPAN) / 2)
    if log_y:
        axes.set_yscale("log")
        axes.set_ylim(bottom=0.5)
        logarithmic_axis(axes.yaxis)
    else:
        number_axis(axes.yaxis, whole=True)
    return to_png(figure)


def bars(labels: Sequence[str], counts: Sequence[float], *, title: str, x_label: str, y_label: str) -> bytes:
    """Draw one bar for each of a few categories: rows per source, stages, reasons for rejection.

    Parameters
    ----------
    labels
        The categories, in the order to draw.
    counts
        A number for each category; NaN or infinity counts as 0.
    title, x_label, y_label
        What is shown; `x_label` is what the categories are and `y_label` what is counted,
        also when the bars lie.

    Returns
    -------
    bytes
        A PNG. Bars lie when labels are long or many; of more than 15 categories the largest 15 are drawn.
    """
    if not labels:
        return no_rows_png(title=title, x_label=x_label, y_label=y_label)
    names = list(labels)
    heights = np.nan_to_num(np.asarray(counts, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    whole = bool(np.all(heights == np.round(heights)))
    subtitle = f"{format_number(heights.sum())} in all" if whole else f"{len(names):,} categories"
    if len(names) > _MAX_BARS:
        subtitle += f" · the largest {_MAX_BARS} of {len(names):,} are shown"
        kept = np.sort(np.argsort(-heights, kind="stable")[:_MAX_BARS])
        names, heights = [names[index] for index in kept], heights[kept]
    places = np.arange(len(names))
    ticks = [plot_text(name, width=40) for name in names]
    lying = sum(max(len(tick), 6) for tick in ticks) > 72
    if lying:
        figure, axes = new_axes(title=title, subtitle=subtitle, x_label=y_label, y_label=x_label)
        drawn = axes.barh(places, heights, height=0.72, color=COLOURS[0])
        axes.set_yticks(places, ticks)
        axes.invert_yaxis()
        axes.set_ylim(max(len(names), 4) - 0.5, -0.5)
    else:
        figure, axes = new_axes(title=title, subtitle=subtitle, x_label=x_label, y_label=y_label)
        drawn = axes.bar(places, heights, width=0.6, color=COLOURS[0])
        axes.set_xticks(places, ticks)
        axes.set_xlim(-0.6, max(len(names), 4) - 0.4)
    axes.bar_label(drawn, [format_number(height) for height in heights], padding=3, fontsize=8.5, color=INK)
    axes.margins(x=0.12 if lying else None, y=None if lying else 0.12)
    axes.grid(visible=False, axis="y" if lying else "x")
    number_axis(axes.xaxis if lying else axes.yaxis, whole=whole)
    return to_png(figure)


def before_after(before: pl.Series, after: pl.Series, *, title: str, x_label: str, y_label: str) -> bytes:
    """Draw what a step did to a positive quantity: each row before against after, and the diagonal of no change.

    Parameters
    ----------
    before, after
        Any numeric dtype, row by row; rows where either is null, NaN, infinite, zero or negative are left out.
    title, x_label, y_label
        What is shown, and the axes with their units.

    Returns
    -------
    bytes
        A PNG with logarithmic axes. Of more than 5,000 rows a fixed random sample is drawn; the shares under the
        title are of all rows.
    """
    both = pl.DataFrame({"before": before.cast(pl.Float64), "after": after.cast(pl.Float64)})
    old, new = both.filter(pl.all_horizontal(pl.all().is_finite() & (pl.all() > 0))).to_numpy().T
    rows = len(old)
    if not rows:
        return no_rows_png(title=title, x_label=x_label, y_label=y_label)
    lower, higher = int((new < old).sum()), int((new > old).sum())
    shares = [f"{count / rows:.1%} {what}" for count, what in ((lower, "lower"), (higher, "higher")) if count]
    subtitle = f"n = {rows:,} · {' · '.join(shares) or 'none changed'} · dashed: unchanged"
    if rows > _MAX_POINTS:
        subtitle += f" · {_MAX_POINTS:,} drawn"
        sample = np.sort(np.random.default_rng(0).choice(rows, _MAX_POINTS, replace=False))
        old, new = old[sample], new[sample]
    limits = min(old.min(), new.min()) / 1.3, max(old.max(), new.max()) * 1.3
    figure, axes = new_axes(title=title, subtitle=subtitle, x_label=x_label, y_label=y_label)
    axes.plot(limits, limits, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    opacity = min(0.7, max(0.12, 8 / math.sqrt(len(old))))
    axes.scatter(old, new, s=20 if len(old) < 500 else 7, color=COLOURS[0], alpha=opacity, linewidths=0)
    axes.set(xlim=limits, ylim=limits, xscale="log", yscale="log")
    return to_png(figure)


def daily_counts(days: pl.Series, series: Mapping[str, pl.Series], *, title: str, y_label: str) -> bytes:
    """Draw how quantities went from day to day.

    Parameters
    ----------
    days
        Date; distinct and not null, in any order.
    series
        A name and a numeric series, as long as `days`, for each quantity; null where a day has none.
    title, y_label
        What is shown, and the vertical axis with its unit.

    Returns
    -------
    bytes
        A PNG: bars for a single series of up to 92 days, else lines. Days that are absent stay empty, lines
        break there.
    """
    if not len(days) or not series:
        return no_rows_png(title=title, x_label="day", y_label=y_label)
    from matplotlib.dates import date2num

    calendar = pl.DataFrame({"day": days, **series}).sort("day").upsample("day", every="1d")
    columns = calendar.drop("day").cast(pl.Float64).to_numpy().T
    known = columns[np.isfinite(columns)]
    subtitle = f"{days.min()} to {days.max()} · {len(days):,} of {len(calendar):,} days have data"
    places = date2num(calendar["day"].to_numpy())
    figure, axes = new_axes(title=title, subtitle=subtitle, x_label="day", y_label=y_label)
    if len(columns) == 1 and len(calendar) <= _MAX_DAILY_BARS:
        axes.bar(places, columns[0], width=0.8, color=COLOURS[0])
        axes.grid(visible=False, axis="x")
    else:
        size = 4 if len(calendar) <= _MAX_DAILY_BARS else 1.5
        lines = [
            axes.plot(places, column, color=colour, linewidth=1.5, marker="o", markersize=size)[0]
            for column, colour in zip(columns, cycle(COLOURS), strict=False)
        ]
        if len(lines) > 1:
            legend(axes, lines, list(series))
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]) if np.any(known < 0) else 0.0)
    if len(calendar) < _MIN_SPAN:
        middle = (places[0] + places[-1]) / 2
        axes.set_xlim(middle - _MIN_SPAN / 2, middle + _MIN_SPAN / 2)
    day_axis(axes.xaxis)
    number_axis(axes.yaxis, whole=bool(np.all(known == np.round(known))))
    return to_png(figure)


def png_markdown(png: bytes, *, alt: str) -> str:
    """Write a PNG as a markdown image that carries its own bytes.

    Parameters
    ----------
    png
        What the other functions return.
    alt
        What to read where the image cannot be shown.

    Returns
    -------
    str
        Markdown: an image with a base64 data URI.
    """
    return f"![{escape_markdown(alt)}](data:image/png;base64,{base64.b64encode(png).decode('ascii')})"


def _finite(values: pl.Series) -> NDArray[np.float64]:
    numbers = values.cast(pl.Float64).drop_nulls()
    return numbers.filter(numbers.is_finite()).to_numpy()


def _bin_edges(low: float, high: float, *, integer: bool) -> NDArray[np.float64]:
    if integer:
        first, last = math.floor(low), math.ceil(high)
        width = math.ceil((last - first + 1) / _MAX_BINS)
        bins = math.ceil((last - first + 1) / width)
        return first - 0.5 + width * np.arange(bins + 1, dtype=np.float64)
    if high - low <= 1e-9 * max(1.0, abs(high)):
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, _MAX_BINS + 1)


def trade_off(points: pl.DataFrame, *, title: str) -> bytes:
    """Draw relevance against likeness within the list, one line per strategy.

    Parameters
    ----------
    points
        Columns ``strategy``, ``parameter``, ``ndcg``, ``similarity``.
    title
        What is shown.

    Returns
    -------
    bytes
        A PNG.
    """
    figure, axes = new_axes(
        title=title,
        subtitle="towards the upper left: as relevant, and more diverse",
        x_label="mean cosine of two journeys of the first five",
        y_label="NDCG@5",
    )
    handles, names = [], points["strategy"].unique(maintain_order=True).to_list()
    for colour, name in zip(COLOURS, names, strict=False):
        own = points.filter(pl.col("strategy") == name)
        (line,) = axes.plot(own["similarity"], own["ndcg"], "o-", color=colour, linewidth=1.4, markersize=3)
        handles.append(line)
    legend(axes, handles, names)
    return to_png(figure)
