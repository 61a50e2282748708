"""What every plot shares: size, colours, title, axes, and how it becomes PNG bytes.

Figures are made without pyplot, so that nothing global changes and nothing has to be closed. What a plot
shows belongs in `plots`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from journeys_dagster.reporting.text import REPLACEMENT, format_number, printable, shorten

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

WIDTH_PX, HEIGHT_PX, DPI = 700, 350, 100
INK, MUTED, GRID = "#1f2328", "#656d76", "#e4e7eb"
# Distinguishable for colour-blind readers (Okabe and Ito's colours, blue first).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f5539", "#4d4d4d")
_PALETTE_SIZE = 96


def plot_text(text: str, *, width: int = 90) -> str:
    """Make text that matplotlib draws literally: one line, shortened, no mathematics, no missing glyphs.

    Parameters
    ----------
    text
        Any text.
    width
        The most characters to keep.

    Returns
    -------
    str
        The text with dollar signs escaped and U+FFFD for characters which the font lacks.
    """
    from matplotlib.font_manager import FontProperties, findfont, get_font

    font = get_font(findfont(FontProperties()))
    line = shorten(printable(text), width=width)
    drawn = "".join(char if font.get_char_index(ord(char)) else REPLACEMENT for char in line)
    return drawn.replace("$", r"\$")


def new_axes(
    *, title: str, subtitle: str, x_label: str, y_label: str, height_px: int = HEIGHT_PX
) -> tuple[Figure, Axes]:
    """Make titled and labelled axes on a white figure 700 px wide.

    Parameters
    ----------
    title
        What is shown.
    subtitle
        How much of it: number of rows, what was left out.
    x_label, y_label
        What the axes measure, with units.
    height_px
        Height of the figure; titles and axes keep their size.

    Returns
    -------
    tuple of matplotlib.figure.Figure and matplotlib.axes.Axes
        A figure that nothing else refers to, and its only axes.
    """
    figure, (axes,) = new_panels(
        1, title=title, subtitle=subtitle, x_label=x_label, y_label=y_label, panel_px=height_px
    )
    figure.set_layout_engine("constrained", rect=(0.0, 0.0, 0.995, 1 - 0.15 * HEIGHT_PX / height_px))
    return figure, axes


def new_panels(
    count: int, *, title: str, subtitle: str, x_label: str, y_label: str, panel_px: int
) -> tuple[Figure, list[Axes]]:
    """Make axes one below the other, with one title and one horizontal axis; margins are left to the caller.

    Parameters
    ----------
    count
        How many, at least 1.
    title, subtitle, x_label, y_label
        As for `new_axes`; each of the axes has `y_label`.
    panel_px
        Height of one; that of the first includes the title.

    Returns
    -------
    tuple of matplotlib.figure.Figure and list of matplotlib.axes.Axes
        A figure that nothing else refers to, and its axes from top to bottom.
    """
    from matplotlib.figure import Figure

    height_px = panel_px * count
    figure = Figure(figsize=(WIDTH_PX / DPI, height_px / DPI), dpi=DPI, facecolor="white")
    below = HEIGHT_PX / height_px
    figure.text(0.016, 1 - 0.035 * below, plot_text(title), size=11, weight="bold", color=INK, va="top")
    figure.text(0.016, 1 - 0.105 * below, plot_text(subtitle, width=120), size=8.5, color=MUTED, va="top")
    panels: list[Axes] = list(figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0])
    panels[-1].set_xlabel(plot_text(x_label), size=9, color=INK)
    for axes in panels:
        axes.set_facecolor("white")
        axes.set_ylabel(plot_text(y_label, width=45), size=9, color=INK, labelpad=7)
        axes.tick_params(labelsize=8.5, colors=MUTED, labelcolor=INK, length=3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(MUTED)
        axes.grid(color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
    return figure, panels


def number_axis(axis: Axis, *, whole: bool) -> None:
    """Tick an axis with few, readable numbers.

    Parameters
    ----------
    axis
        ``axes.xaxis`` or ``axes.yaxis``, on a linear scale.
    whole
        Ticks at whole numbers only.
    """
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10], integer=whole))
    axis.set_major_formatter(FuncFormatter(lambda value, _: format_number(value)))


def logarithmic_axis(axis: Axis, *, steps: Sequence[int] = (1,), most: int | None = None) -> None:
    """Tick a logarithmic axis with few, readable numbers: powers of ten times the steps.

    Parameters
    ----------
    axis
        ``axes.xaxis`` or ``axes.yaxis``, on a logarithmic scale.
    steps
        What each power of ten is multiplied by.
    most
        Ticks at most; by default as many as there is room for.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=steps, numticks=most))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: format_number(value)))


def day_axis(axis: Axis) -> None:
    """Tick an axis of days by days, months or years, whatever there is room for."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=3, maxticks=8)
    axis.set_major_locator(locator)
    axis.set_major_formatter(ConciseDateFormatter(locator))
    axis.get_offset_text().set(size=8.5, color=MUTED)


def legend(axes: Axes, handles: Sequence[Artist], labels: Sequence[str]) -> None:
    """Name what is drawn, to the right of the axes where it hides nothing.

    Parameters
    ----------
    axes
        From `new_axes`.
    handles
        The artists, in order.
    labels
        A name for each.
    """
    axes.legend(
        handles,
        [plot_text(label, width=24) for label in labels],
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
        frameon=False,
        fontsize=8.5,
        labelcolor=INK,
    )


def no_rows_png(*, title: str, x_label: str, y_label: str) -> bytes:
    """Draw a plot of nothing: the same frame with "no rows" in it.

    Parameters
    ----------
    title, x_label, y_label
        As for `new_axes`.

    Returns
    -------
    bytes
        A PNG.
    """
    figure, axes = new_axes(title=title, subtitle="", x_label=x_label, y_label=y_label)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.text(0.5, 0.5, "no rows", transform=axes.transAxes, ha="center", va="center", size=12, color=MUTED)
    return to_png(figure)


def to_png(figure: Figure) -> bytes:
    """Draw a finished plot.

    Parameters
    ----------
    figure
        From `new_axes`.

    Returns
    -------
    bytes
        An opaque PNG, 700 px wide, in few colours, so that it stays small in an event log. The same plot
        gives the same bytes: there is no date or version in it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[:, :, :3]
    image = Image.fromarray(np.ascontiguousarray(pixels))
    few_colours = image.quantize(_PALETTE_SIZE, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    few_colours.save(buffer, format="PNG")
    return buffer.getvalue()
