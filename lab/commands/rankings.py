"""Whether the journeys that matter come first, and what a diverse list costs."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from journeys_dagster.cli.errors import plain_errors
from journeys_dagster.cli.progress import out, progress_bar
from journeys_dagster.settings import load_settings
from lab.commands.shared import (
    PATH,
    gain_text,
    half_option,
    json_option,
    print_numbers,
    vectors_of,
)

if TYPE_CHECKING:
    from lab.simulation.journey_types import Half


@click.command("ranking")
@click.argument("path", type=PATH)
@click.option("--ablations", "with_ablations", is_flag=True, help="Train again without some features.")
@click.option("--calibration-curve", type=PATH, help="Write a PNG of stated against observed rates.")
@json_option
def ranking_command(path: Path, *, with_ablations: bool, calibration_curve: Path | None, as_json: bool) -> None:
    """A ranker trained on the first months of UCI Online Retail (Parquet at PATH), against heuristics on the last."""
    from journeys_dagster.training.history import History
    from lab.evaluation.ranking import ablations, ceiling, evaluate_ranking
    from lab.importers import online_retail_frames

    with plain_errors():
        settings = load_settings()
        history = History(online_retail_frames(path), settings)
        with progress_bar("replay", total=1.0) as advance:
            found = evaluate_ranking(history, settings, vectors_of(settings), progress=lambda done: advance("", done))
    if calibration_curve is not None:
        from journeys_dagster.reporting.calibration import calibration_curve as draw

        calibration_curve.write_bytes(draw(found.attempt.calibration, title="Calibration on the test snapshots"))
    comparison, limit = found.attempt.comparison, ceiling(found, settings)
    without = ablations(found, settings) if with_ablations else None
    if as_json:
        parts = {"ndcg_gain": asdict(comparison.ndcg_gain), "mrr_gain": asdict(comparison.mrr_gain)}
        report = {"decision": found.attempt.decision, "spans": found.attempt.card["spans"], **parts}
        more = {"ablations": without.to_dicts()} if without is not None else {}
        click.echo(json.dumps(report | {"ceiling": asdict(limit), "test": comparison.table.to_dicts()} | more))
        return
    spans = found.attempt.card["spans"]
    for name, span in spans.items():
        out.print(
            f"{name}: {span['snapshots']} snapshots, {span['first']} to {span['last']}, {span['users']:,} users, "
            f"{span['journeys']:,} journeys, {span['labels']['return']['positive']:,} returns"
        )
    print_numbers(comparison.table, title=f"test snapshots, {comparison.users:,} users who came back")
    ndcg_gain, mrr_gain = gain_text(comparison.ndcg_gain), gain_text(comparison.mrr_gain)
    out.print(f"NDCG@5 over {comparison.best_heuristic}: {ndcg_gain}; MRR: {mrr_gain}")
    out.print(f"were the model's probabilities the truth, the gain in NDCG@5 would be {gain_text(limit)}")
    if without is not None:
        print_numbers(without, title="trained without")


@click.command("intent")
@click.option("--users", default=1000, show_default=True, type=click.IntRange(1))
@click.option("--days", default=120, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=23, show_default=True, type=int)
@half_option
@json_option
def intent_command(*, users: int, days: int, seed: int, half: "Half | None", as_json: bool) -> None:
    """Rankers trained on simulated notification feedback and on returns, against what people truly are up to."""
    from journeys_dagster.monitoring.bootstrap import Mean
    from lab.evaluation.intent import evaluate_intent
    from lab.simulation.world import build_world

    with plain_errors():
        settings = load_settings()
        with progress_bar("simulate", total=1.0) as advance:
            world = build_world(users=users, days=days, seed=seed, half=half, progress=advance)
        with progress_bar("replay", total=1.0) as advance:
            found = evaluate_intent(world, settings, vectors_of(settings), progress=lambda done: advance("", done))
    if as_json:
        rankers, annotators = found.table.to_dicts(), asdict(found.annotators)
        click.echo(
            json.dumps(
                {"seed": seed, "half": half, "labels": found.labels, "rankers": rankers, "annotators": annotators}
            )
        )
        return
    table = Table("ranker", "NDCG@5", "Kendall's tau-b", title=f"order of intent, {found.users} users, seed {seed}")
    for row in found.table.iter_rows(named=True):
        means = [Mean(row[name], row[f"{name}_low"], row[f"{name}_high"]) for name in ("ndcg", "tau")]
        table.add_row(row["ranker"], *map(str, means))
    out.print(table)
    for source, counts in found.labels.items():
        out.print(f"trained on {counts['labels']:,} labels of {source}, {counts['positive']:,} positive")
    said = found.annotators
    out.print(
        f"annotators on {said.graded:,} journeys: quadratic weighted kappa {said.kappa:.3f}, "
        f"Krippendorff's alpha {said.alpha:.3f}"
    )


@click.command("diversification")
@click.argument("path", type=PATH)
@click.option("--plot", type=PATH, help="Write a PNG of relevance against likeness within the list.")
@json_option
def diversification_command(path: Path, *, plot: Path | None, as_json: bool) -> None:
    """What each way to diversify costs in relevance, on UCI Online Retail (Parquet at PATH)."""
    from journeys_dagster.reporting.plots import trade_off
    from journeys_dagster.training.diversification import diversification_trade_off, recommend
    from journeys_dagster.training.history import History
    from lab.importers import online_retail_frames

    with plain_errors():
        settings = load_settings()
        history = History(online_retail_frames(path), settings)
        with progress_bar("replay", total=1.0) as advance:
            points = diversification_trade_off(
                history, settings, vectors_of(settings), progress=lambda done: advance("", done)
            )
    if plot is not None:
        plot.write_bytes(trade_off(points, title="Relevance against diversity"))
    strategy, parameter = recommend(points)
    if as_json:
        recommended = {"strategy": strategy, "parameter": parameter}
        click.echo(json.dumps({"points": points.to_dicts(), "recommended": recommended}))
        return
    print_numbers(points, title="relevance (NDCG@5) and likeness (mean cosine) of the first five")
    out.print(f"most diverse at 99 % of the best relevance: {strategy}, {parameter}")
