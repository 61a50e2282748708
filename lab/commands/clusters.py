"""Whether journeys are grouped as people would group them."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import polars as pl
from rich.table import Table

from journeys_dagster.cli.errors import plain_errors
from journeys_dagster.cli.progress import out, progress_bar
from journeys_dagster.settings import load_settings
from lab.commands.shared import PATH, half_option, json_option, vectors_of

if TYPE_CHECKING:
    from journeys_dagster.monitoring.bootstrap import Mean
    from lab.evaluation.corpus import Corpus
    from lab.simulation.journey_types import Half


_baselines = click.option("--baselines", is_flag=True, help="The same for sessions, tf-idf and the embedding alone.")


@click.command("search-missions")
@click.argument("path", type=PATH)
@_baselines
@click.option("--cross-validate", is_flag=True, help="Fit settings on some users and score the others, five-fold.")
@click.option("--per-user", type=PATH, help="Write one CSV line per user, without texts.")
@click.option("--threshold-curve", type=PATH, help="Write a PNG of agreement against the threshold.")
@json_option
def search_missions_command(
    path: Path,
    *,
    baselines: bool,
    cross_validate: bool,
    per_user: Path | None,
    threshold_curve: Path | None,
    as_json: bool,
) -> None:
    """Journeys against the missions that annotators drew in search logs (format of Webis-SMC-12)."""
    from lab.evaluation.clusterers import embedding_trees, journey_trees, journeys
    from lab.evaluation.metrics import agreement
    from lab.evaluation.search_missions import read_search_missions, search_corpus

    with plain_errors():
        settings = load_settings()
        with progress_bar("keywords and embeddings", total=None):
            corpus = search_corpus(read_search_missions(path), settings, vectors_of(settings))
        scores = agreement(journeys(corpus, settings.clusters))
        report: dict[str, Any] = {"users": len(scores), "queries": int(scores["keywords"].sum())}
        ways = {"journeys": scores} | (_baseline_scores(corpus) if baselines else {})
        validated = _cross_validated(corpus) if cross_validate else {}
        if per_user is not None:
            numbered = scores.with_row_index("user", offset=1).drop("user_id")
            numbered.rename({"keywords": "queries", "true_clusters": "missions"}).write_csv(per_user)
        if threshold_curve is not None:
            from lab.evaluation.plots import threshold_curve as draw

            trees = journey_trees(corpus, settings.clusters), embedding_trees(corpus)
            title = "Agreement with annotated search missions"
            threshold_curve.write_bytes(draw(*trees, shipped=settings.clusters.distance_threshold, title=title))
        title = f"{report['users']} users, {report['queries']:,} distinct queries"
        _say(report, ways, validated, title=title, as_json=as_json)


@click.command("clusters")
@click.option("--users", default=500, show_default=True, type=click.IntRange(1))
@click.option("--days", default=60, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=23, show_default=True, type=int)
@half_option
@_baselines
@json_option
def clusters_command(*, users: int, days: int, seed: int, half: "Half | None", baselines: bool, as_json: bool) -> None:
    """Clusters of keywords against the journeys of a simulated world, in memory."""
    from lab.evaluation.clusterers import journeys
    from lab.evaluation.metrics import agreement
    from lab.evaluation.world import world_corpus
    from lab.simulation.world import build_world

    with plain_errors():
        settings = load_settings()
        with progress_bar("simulate", total=1.0) as advance:
            world = build_world(users=users, days=days, seed=seed, half=half, progress=advance)
        with progress_bar("keywords and embeddings", total=None):
            corpus = world_corpus(world, settings, vectors_of(settings))
    scores = agreement(journeys(corpus, settings.clusters))
    report = {
        "users": len(scores),
        "keywords": int(scores["keywords"].sum()),
        "keywords_of_noise": int(corpus.keywords["truth"].null_count()),
        "seed": seed,
        "half": half,
    }
    ways = {"journeys": scores} | (_baseline_scores(corpus) if baselines else {})
    title = f"simulated world of {users} users, seed {seed}: {report['keywords']:,} keywords"
    _say(report, ways, {}, title=title, as_json=as_json)


@click.command("mixing")
@click.argument("path", type=PATH)
@click.option("--users", default=200, show_default=True, type=click.IntRange(1), help="Mixed users.")
@click.option("--customers-per-user", default=3, show_default=True, type=click.IntRange(2))
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
@json_option
def mixing_command(path: Path, *, users: int, customers_per_user: int, seed: int, as_json: bool) -> None:
    """Customers of UCI Online Retail (Parquet at PATH) poured together, and whether they are kept apart."""
    from lab.evaluation.mixing import mix_users, mixing_report
    from lab.importers import online_retail_frames

    with plain_errors():
        settings = load_settings()
        with progress_bar("mix users and embed", total=None):
            mixed = mix_users(
                online_retail_frames(path),
                settings,
                vectors_of(settings),
                mixed_users=users,
                people_per_user=customers_per_user,
                seed=seed,
            )
        with progress_bar("cluster", total=None):
            report = mixing_report(mixed, settings)
    figures = {
        "users": len(mixed.mixed.users),
        "customers_per_user": customers_per_user,
        "keywords": len(mixed.mixed.keywords),
        "keywords_of_several": int(mixed.mixed.keywords["truth"].null_count()),
        "seed": seed,
    }
    if as_json:
        click.echo(json.dumps(figures | {"clusterers": report.to_dicts()}))
        return
    table = Table(*report.columns, title=f"{figures['users']} users mixed of {customers_per_user} customers each")
    for row in report.iter_rows():
        table.add_row(
            row[0], *(f"{value:.1f}" if place == 0 else f"{value:.3f}" for place, value in enumerate(row[1:]))
        )
    out.print(table)
    out.print(
        f"{figures['keywords']:,} keywords; {figures['keywords_of_several']:,} that several customers of a user have "
        "are clustered and not scored."
    )


def _baseline_scores(corpus: "Corpus") -> dict[str, pl.DataFrame]:
    from lab.evaluation.clusterers import Baselines
    from lab.evaluation.metrics import agreement

    return {name: agreement(clusters) for name, clusters in Baselines(corpus).at_fixed_thresholds().items()}


def _cross_validated(corpus: "Corpus") -> dict[str, pl.DataFrame]:
    from lab.evaluation.validation import cross_validate

    with progress_bar("cross-validate", total=1.0) as advance:
        return cross_validate(corpus, progress=lambda done: advance("", done))


def _means(scores: pl.DataFrame) -> "dict[str, Mean]":
    """Means over users; of a user that was scored several times, its own mean counts once."""
    from journeys_dagster.monitoring.bootstrap import bootstrap_mean
    from lab.evaluation.metrics import MEASURES

    of_user = scores.group_by("user_id").agg(pl.col(MEASURES).mean()).sort("user_id")
    return {measure: bootstrap_mean(of_user[measure]) for measure in MEASURES}


def _say(
    report: Mapping[str, Any],
    ways: Mapping[str, pl.DataFrame],
    validated: Mapping[str, pl.DataFrame],
    *,
    title: str,
    as_json: bool,
) -> None:
    """Print agreement as one JSON object, the journeys' means at its top, or as tables."""
    means = {name: _means(scores) for name, scores in ways.items()}
    left_out = {name: _means(scores) for name, scores in validated.items()}
    if as_json:
        ours = {measure: mean.value for measure, mean in means.pop("journeys").items()}
        intervals = {measure: asdict(mean) for measure, mean in _means(ways["journeys"]).items()}
        document: dict[str, Any] = {**report, **ours, "intervals": intervals}
        if means:
            document["baselines"] = {name: _plain(of_way) for name, of_way in means.items()}
        if left_out:
            document["cross_validation"] = {name: _plain(of_way) for name, of_way in left_out.items()}
        click.echo(json.dumps(document))
        return
    _print_means(means, title=f"{title}; shipped settings (95 % interval over users)")
    if left_out:
        _print_means(left_out, title="five-fold cross-validation, three times: fitted on the other users")


def _plain(means: "Mapping[str, Mean]") -> dict[str, float]:
    return {measure: mean.value for measure, mean in means.items()}


def _print_means(means: "Mapping[str, Mapping[str, Mean]]", *, title: str) -> None:
    from lab.evaluation.metrics import MEASURES

    table = Table("clusterer", *MEASURES, title=title)
    for name, of_way in means.items():
        table.add_row(name, *(str(of_way[measure]) for measure in MEASURES))
    out.print(table)
