"""Plots of the evaluation: agreement by threshold, relevance by diversity, a world beside real logs."""

from __future__ import annotations

import numpy as np
import polars as pl

from journeys_dagster.reporting.canvas import COLOURS, MUTED, legend, new_axes, to_png
from lab.evaluation.clusterers import Trees
from lab.evaluation.metrics import agreement
from lab.evaluation.realism import MEASURES, Comparison

_LINES = {"b3_precision": "B³ precision", "b3_recall": "B³ recall", "b3_f": "B³ F", "pair_f": "pairwise F"}


def threshold_curve(ours: Trees, baseline: Trees, *, shipped: float, title: str) -> bytes:
    """Draw means over users against the threshold, ours in full lines and the embedding alone dashed.

    Parameters
    ----------
    ours, baseline
        Trees of the same corpus.
    shipped
        The threshold that is shipped.
    title
        What is shown.

    Returns
    -------
    bytes
        A PNG.
    """
    thresholds = np.arange(0.30, 0.91, 0.02)
    figure, axes = new_axes(
        title=title,
        subtitle=f"{len(ours.corpus.users)} users; dashed: embedding only; dotted: shipped threshold {shipped}",
        x_label="distance threshold",
        y_label="mean over users",
    )
    handles = []
    for trees, style in ((ours, "-"), (baseline, "--")):
        means = pl.concat([agreement(trees.cut(float(t))).select(list(_LINES)).mean() for t in thresholds])
        for place, measure in enumerate(_LINES):
            (line,) = axes.plot(thresholds, means[measure], style, color=COLOURS[place], linewidth=1.4)
            if trees is ours:
                handles.append(line)
    axes.axvline(shipped, color=MUTED, linestyle=":", linewidth=1.2)
    axes.set_ylim(0.2, 1.0)
    legend(axes, handles, list(_LINES.values()))
    return to_png(figure)


def distributions(comparison: Comparison) -> dict[str, bytes]:
    """Draw the share of values that are at most as large, simulated and real, one PNG per measure by its key."""
    pictures = {}
    for measure, label in MEASURES.items():
        ours, theirs = comparison.simulated[measure], comparison.real[measure]
        if not len(ours) or not len(theirs):
            continue
        figure, axes = new_axes(
            title=f"{label[:1].upper()}{label[1:]}",
            subtitle=f"simulated world and {comparison.name}, the last {comparison.days} days of each",
            x_label=label,
            y_label="share of values up to this",
        )
        handles = []
        for colour, values in zip(COLOURS, (ours, theirs), strict=False):
            shares = np.linspace(0, 1, 501)
            (line,) = axes.plot(np.quantile(values, shares), shares, color=colour, linewidth=1.4)
            handles.append(line)
        axes.set_xscale("log")
        axes.set_ylim(0, 1)
        legend(axes, handles, ["simulated", comparison.name])
        pictures[measure] = to_png(figure)
    return pictures


def purity_by_domain(measures: pl.DataFrame, *, title: str) -> bytes:
    """Draw purity and inverse purity of found journeys by domain, with intervals.

    Parameters
    ----------
    measures
        `yardstick.HomeReport.measures`.
    title
        What is shown.

    Returns
    -------
    bytes
        A PNG.
    """
    ours = measures.filter(pl.col("domain") != "", pl.col("way") == "journeys")
    # A domain that is the majority of no found journey has no purity.
    domains = ours.filter(pl.col("measure") == "purity").sort("value")["domain"].to_list()
    places = {domain: place for place, domain in enumerate(domains)}
    figure, axes = new_axes(
        title=title,
        subtitle="means over users with 95 % intervals; dashed: 30-minute sessions, mean over domains",
        x_label="share of keywords",
        y_label="",
        height_px=120 + 18 * len(domains),
    )
    handles, labels = [], {"purity": "purity", "inverse_purity": "inverse purity"}
    for place, measure in enumerate(labels):
        rows = ours.filter(pl.col("measure") == measure, pl.col("domain").is_in(domains))
        ends = np.abs(rows.select("low", "high").to_numpy().T - rows["value"].to_numpy())
        heights = rows["domain"].replace_strict(places, return_dtype=pl.Float64).to_numpy() + 0.2 - 0.4 * place
        handles.append(
            axes.errorbar(rows["value"], heights, xerr=ends, fmt="o", color=COLOURS[place], markersize=4, linewidth=1.2)
        )
        naive = measures.filter(
            pl.col("domain") != "", pl.col("measure") == measure, pl.col("way").str.contains("sessions")
        )
        if len(naive):
            mean = float(np.mean(naive["value"].to_numpy()))
            axes.axvline(mean, color=COLOURS[place], linestyle="--", linewidth=1.0)
    axes.set_yticks(range(len(domains)), domains)
    axes.set_ylim(-0.7, len(domains) - 0.3)
    legend(axes, handles, list(labels.values()))
    return to_png(figure)
