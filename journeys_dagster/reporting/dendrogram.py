"""A dendrogram: which keywords of a user were merged, and at what distance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from journeys_dagster.reporting.canvas import COLOURS, MUTED, new_axes, no_rows_png, plot_text, to_png

_ROW_PX, _FRAME_PX = 15, 130
_LABEL_WIDTH = 44
_X_LABEL = "distance (1 - similarity)"


def dendrogram(
    merges: NDArray[np.float64], labels: Sequence[str], *, distance_threshold: float, title: str, subtitle: str
) -> bytes:
    """Draw a user's keywords as the leaves of a tree, clusters in colour.

    Parameters
    ----------
    merges : array of shape (leaves - 1, 4), float64
        As `scipy.cluster.hierarchy.linkage` gives it.
    labels
        The leaves' texts.
    distance_threshold
        Where the tree is cut; branches to the right of it are grey.
    title, subtitle
        What is shown, and how much of it.

    Returns
    -------
    bytes
        A PNG, as high as there are leaves.
    """
    if len(labels) < 2:
        return no_rows_png(title=title, x_label=_X_LABEL, y_label="")
    from scipy.cluster import hierarchy

    figure, axes = new_axes(
        title=title, subtitle=subtitle, x_label=_X_LABEL, y_label="", height_px=_FRAME_PX + _ROW_PX * len(labels)
    )
    # SciPy scales the axis to the highest merge, and cannot where all are at 0.
    drawn = np.column_stack([merges[:, :2], np.maximum(merges[:, 2], 1e-9), merges[:, 3]])
    hierarchy.set_link_color_palette(list(COLOURS))
    try:
        tree = hierarchy.dendrogram(
            drawn,
            orientation="left",
            color_threshold=np.nextafter(distance_threshold, np.inf),
            above_threshold_color=MUTED,
            labels=np.array([plot_text(label, width=_LABEL_WIDTH) for label in labels], dtype=object),
            ax=axes,
        )
    finally:
        hierarchy.set_link_color_palette(None)
    for text, colour in zip(axes.get_yticklabels(), tree["leaves_color_list"], strict=True):
        text.set_color(colour)
        text.set_fontsize(8)
    axes.axvline(distance_threshold, color=MUTED, linestyle="--", linewidth=1)
    axes.grid(visible=False, axis="y")
    axes.spines["right"].set_visible(False)
    axes.set_xlim(left=max(1.0, float(merges[:, 2].max())) * 1.02, right=0.0)
    return to_png(figure)
