"""Plots of the evaluation: agreement by threshold, purity by domain."""

import numpy as np
import polars as pl

from journeys_dagster.reporting.canvas import COLOURS, MUTED, legend, new_axes, to_png
from lab.evaluation.clusterers import Trees
from lab.evaluation.metrics import agreement

_LINES = {"b3_precision": "B³ precision", "b3_recall": "B³ recall", "b3_f": "B³ F", "pair_f": "pairwise F"}


def threshold_curve(ours: Trees, baseline: Trees, *, shipped: float, title: str) -> bytes:
    """Draw means over users against the threshold as a PNG, ours in full lines, the embedding alone dashed."""
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


def purity_by_domain(measures: pl.DataFrame, *, title: str) -> bytes:
    """Draw purity and inverse purity of found journeys by domain as a PNG, from `HomeReport.measures`."""
    ours = measures.filter(pl.col("domain") != "", pl.col("method") == "journeys")
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
            pl.col("domain") != "", pl.col("measure") == measure, pl.col("method").str.contains("sessions")
        )
        if len(naive):
            mean = float(np.mean(naive["value"].to_numpy()))
            axes.axvline(mean, color=COLOURS[place], linestyle="--", linewidth=1.0)
    axes.set_yticks(range(len(domains)), domains)
    axes.set_ylim(-0.7, len(domains) - 0.3)
    legend(axes, handles, list(labels.values()))
    return to_png(figure)
