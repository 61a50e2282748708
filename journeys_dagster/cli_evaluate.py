"""The `journeys evaluate` commands: a corpus with known truth in, a table or JSON out."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import polars as pl
from rich.table import Table

from journeys_dagster.cli_progress import out, progress_bar
from journeys_dagster.settings import Settings, SettingsError, load_settings

if TYPE_CHECKING:
    from journeys_dagster.evaluation.corpus import Corpus
    from journeys_dagster.training.bootstrap import Mean
    from journeys_dagster.training.history import History, KeywordVectors

_PATH = click.Path(path_type=Path)
_json = click.option("--json", "as_json", is_flag=True, help="One JSON object instead of tables.")
_baselines = click.option("--baselines", is_flag=True, help="The same for sessions, tf-idf and the embedding alone.")


@contextmanager
def _plain_errors() -> Iterator[None]:
    from journeys_dagster.evaluation.mixing import MixingError
    from journeys_dagster.evaluation.search_missions import SearchMissionsError
    from journeys_dagster.importers import OnlineRetailError
    from journeys_dagster.simulation import SimulationError
    from journeys_dagster.training.spans import TooFewReturnsError

    try:
        yield
    except (
        TooFewReturnsError,
        SearchMissionsError,
        MixingError,
        OnlineRetailError,
        SimulationError,
        SettingsError,
    ) as error:
        raise click.ClickException(str(error)) from None


@click.group()
def evaluate() -> None:
    """How good the journeys are, where the truth is known.

    Everything runs in memory, by the production code and the settings of journeys.toml; the home is not touched.
    """


@evaluate.command("search-missions")
@click.argument("path", type=_PATH)
@_baselines
@click.option("--cross-validate", is_flag=True, help="Fit settings on some users and score the others, five-fold.")
@click.option("--per-user", type=_PATH, help="Write one CSV line per user, without texts.")
@click.option("--threshold-curve", type=_PATH, help="Write a PNG of agreement against the threshold.")
@_json
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
    from journeys_dagster.evaluation.clusterers import embedding_trees, journey_trees, journeys
    from journeys_dagster.evaluation.metrics import agreement
    from journeys_dagster.evaluation.search_missions import read_search_missions, search_corpus

    with _plain_errors():
        settings = load_settings()
        with progress_bar("keywords and embeddings", total=None):
            corpus = search_corpus(read_search_missions(path), settings, _vectors(settings))
        scores = agreement(journeys(corpus, settings.clusters))
        report: dict[str, Any] = {"users": len(scores), "queries": int(scores["keywords"].sum())}
        ways = {"journeys": scores} | (_baseline_scores(corpus) if baselines else {})
        validated = _cross_validated(corpus) if cross_validate else {}
        if per_user is not None:
            numbered = scores.with_row_index("user", offset=1).drop("user_id")
            numbered.rename({"keywords": "queries", "true_clusters": "missions"}).write_csv(per_user)
        if threshold_curve is not None:
            from journeys_dagster.evaluation.plots import threshold_curve as draw

            trees = journey_trees(corpus, settings.clusters), embedding_trees(corpus)
            title = "Agreement with annotated search missions"
            threshold_curve.write_bytes(draw(*trees, shipped=settings.clusters.distance_threshold, title=title))
        title = f"{report['users']} users, {report['queries']:,} distinct queries"
        _say(report, ways, validated, title=title, as_json=as_json)


@evaluate.command("world")
@click.option("--users", default=500, show_default=True, type=click.IntRange(1))
@click.option("--days", default=60, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=23, show_default=True, type=int)
@_baselines
@_json
def world_command(*, users: int, days: int, seed: int, baselines: bool, as_json: bool) -> None:
    """Journeys against those of a simulated world."""
    from journeys_dagster.evaluation.clusterers import journeys
    from journeys_dagster.evaluation.metrics import agreement
    from journeys_dagster.evaluation.world import world_corpus
    from journeys_dagster.simulation.world import build_world

    with _plain_errors():
        settings = load_settings()
        with progress_bar("simulate", total=1.0) as advance:
            world = build_world(users=users, days=days, seed=seed, progress=advance)
        with progress_bar("keywords and embeddings", total=None):
            corpus = world_corpus(world, settings, _vectors(settings))
    scores = agreement(journeys(corpus, settings.clusters))
    report = {
        "users": len(scores),
        "keywords": int(scores["keywords"].sum()),
        "keywords_of_noise": int(corpus.keywords["truth"].null_count()),
        "seed": seed,
    }
    ways = {"journeys": scores} | (_baseline_scores(corpus) if baselines else {})
    title = f"simulated world of {users} users, seed {seed}: {report['keywords']:,} keywords"
    _say(report, ways, {}, title=title, as_json=as_json)


@evaluate.command("mixing")
@click.argument("path", type=_PATH)
@click.option("--users", default=200, show_default=True, type=click.IntRange(1), help="Mixed users.")
@click.option("--customers-per-user", default=3, show_default=True, type=click.IntRange(2))
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
@_json
def mixing_command(path: Path, *, users: int, customers_per_user: int, seed: int, as_json: bool) -> None:
    """Customers of UCI Online Retail (Parquet at PATH) poured together, and whether they are kept apart."""
    from journeys_dagster.evaluation.mixing import mix_users, mixing_report
    from journeys_dagster.importers import online_retail_frames

    with _plain_errors():
        settings = load_settings()
        with progress_bar("mix users and embed", total=None):
            mixed = mix_users(
                online_retail_frames(path),
                settings,
                _vectors(settings),
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


@evaluate.command("ranking")
@click.argument("path", type=_PATH)
@click.option("--ablations", "with_ablations", is_flag=True, help="Train again without some features.")
@click.option("--calibration-curve", type=_PATH, help="Write a PNG of stated against observed rates.")
@_json
def ranking_command(path: Path, *, with_ablations: bool, calibration_curve: Path | None, as_json: bool) -> None:
    """A ranker trained on the first months of UCI Online Retail (Parquet at PATH), against heuristics on the last."""
    from journeys_dagster.evaluation.ranking import ablations, ceiling, evaluate_ranking
    from journeys_dagster.importers import online_retail_frames
    from journeys_dagster.training.history import History

    with _plain_errors():
        settings = load_settings()
        history = History(online_retail_frames(path), settings)
        with progress_bar("replay", total=1.0) as advance:
            found = evaluate_ranking(history, settings, _vectors(settings), progress=lambda done: advance("", done))
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
    _print_numbers(comparison.table, title=f"test snapshots, {comparison.users:,} users who came back")
    out.print(
        f"NDCG@5 over {comparison.best_heuristic}: {_gain(comparison.ndcg_gain)}; MRR: {_gain(comparison.mrr_gain)}"
    )
    out.print(f"were the model's probabilities the truth, the gain in NDCG@5 would be {_gain(limit)}")
    if without is not None:
        _print_numbers(without, title="trained without")


@evaluate.command("intent")
@click.option("--users", default=1000, show_default=True, type=click.IntRange(1))
@click.option("--days", default=120, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=23, show_default=True, type=int)
@_json
def intent_command(*, users: int, days: int, seed: int, as_json: bool) -> None:
    """Rankers trained on simulated notification feedback and on returns, against what people truly are up to."""
    from journeys_dagster.evaluation.intent import evaluate_intent
    from journeys_dagster.simulation.world import build_world
    from journeys_dagster.training.bootstrap import Mean

    with _plain_errors():
        settings = load_settings()
        with progress_bar("simulate", total=1.0) as advance:
            world = build_world(users=users, days=days, seed=seed, progress=advance)
        with progress_bar("replay", total=1.0) as advance:
            found = evaluate_intent(world, settings, _vectors(settings), progress=lambda done: advance("", done))
    if as_json:
        click.echo(json.dumps({"seed": seed, "labels": found.labels, "rankers": found.table.to_dicts()}))
        return
    table = Table("ranker", "NDCG@5", "Kendall's tau-b", title=f"order of intent, {found.users} users, seed {seed}")
    for row in found.table.iter_rows(named=True):
        means = [Mean(row[name], row[f"{name}_low"], row[f"{name}_high"]) for name in ("ndcg", "tau")]
        table.add_row(row["ranker"], *map(str, means))
    out.print(table)
    for source, counts in found.labels.items():
        out.print(f"trained on {counts['labels']:,} labels of {source}, {counts['positive']:,} positive")


@evaluate.command("diversification")
@click.argument("path", type=_PATH)
@click.option("--plot", type=_PATH, help="Write a PNG of relevance against likeness within the list.")
@_json
def diversification_command(path: Path, *, plot: Path | None, as_json: bool) -> None:
    """What each way to diversify costs in relevance, on UCI Online Retail (Parquet at PATH)."""
    from journeys_dagster.evaluation.diversification import diversification_trade_off, recommend
    from journeys_dagster.evaluation.plots import trade_off
    from journeys_dagster.importers import online_retail_frames
    from journeys_dagster.training.history import History

    with _plain_errors():
        settings = load_settings()
        history = History(online_retail_frames(path), settings)
        with progress_bar("replay", total=1.0) as advance:
            points = diversification_trade_off(
                history, settings, _vectors(settings), progress=lambda done: advance("", done)
            )
    if plot is not None:
        plot.write_bytes(trade_off(points, title="Relevance against diversity"))
    strategy, parameter = recommend(points)
    if as_json:
        recommended = {"strategy": strategy, "parameter": parameter}
        click.echo(json.dumps({"points": points.to_dicts(), "recommended": recommended}))
        return
    _print_numbers(points, title="relevance (NDCG@5) and likeness (mean cosine) of the first five")
    out.print(f"most diverse at 99 % of the best relevance: {strategy}, {parameter}")


def _gain(gain: "Mean") -> str:
    return f"{gain.value:+.1%} ({gain.low:+.1%} to {gain.high:+.1%})"


def _print_numbers(rows: pl.DataFrame, *, title: str) -> None:
    table = Table(*rows.columns, title=title)
    for row in rows.iter_rows():
        table.add_row(*("" if cell is None else cell if isinstance(cell, str) else f"{cell:.3f}" for cell in row))
    out.print(table)


@evaluate.group("identity")
def identity_group() -> None:
    """Whether journeys keep their ids while their users go on."""


@identity_group.command("online-retail")
@click.argument("path", type=_PATH)
@click.option("--days", default=30, show_default=True, type=click.IntRange(1), help="Replayed days, the last ones.")
@_json
def identity_online_retail_command(path: Path, *, days: int, as_json: bool) -> None:
    """Day by day, the customers that were active."""
    from journeys_dagster.importers import online_retail_frames
    from journeys_dagster.training.history import History

    with _plain_errors():
        settings = load_settings()
        frames = online_retail_frames(path)
    if frames["engagements"].is_empty():
        raise click.ClickException(f"no line of {path} is a purchase that counts, so there is nothing to replay")
    last: date = frames["engagements"]["arrival_day"].max()  # type: ignore[assignment]
    first = last - timedelta(days=days)
    _replay(History(frames, settings), settings, first=first, last=last, every=1, as_json=as_json)


@identity_group.command("search-missions")
@click.argument("path", type=_PATH)
@_json
def identity_search_missions_command(path: Path, *, as_json: bool) -> None:
    """Week by week, the users that were active."""
    from journeys_dagster.evaluation.search_missions import read_search_missions, search_history

    with _plain_errors():
        settings = load_settings()
        missions = read_search_missions(path)
    days = missions.frames["searches"]["arrival_day"]
    first: date = days.min() + timedelta(days=6)  # type: ignore[operator]
    last: date = days.max()  # type: ignore[assignment]
    _replay(search_history(missions, settings), settings, first=first, last=last, every=7, as_json=as_json)


@evaluate.group("stages")
def stages_group() -> None:
    """Whether journeys that count as ongoing are come back to."""


@stages_group.command("online-retail")
@click.argument("path", type=_PATH)
@click.option("--test-days", default=60, show_default=True, type=click.IntRange(1), help="Newest days to forecast.")
@click.option("--topic", "topics", multiple=True, default=("christmas",), show_default=True, help="May be repeated.")
@_json
def stages_online_retail_command(path: Path, *, test_days: int, topics: tuple[str, ...], as_json: bool) -> None:
    """Trained on the first months of UCI Online Retail (Parquet at PATH); and its most evergreen names."""
    from journeys_dagster.evaluation.stages import lifecycles
    from journeys_dagster.importers import online_retail_frames
    from journeys_dagster.training.history import History

    with _plain_errors():
        settings = load_settings()
        vectors, history = _vectors(settings), History(online_retail_frames(path), settings)
        last = history.span[1]
        report = _forecasts(history, settings, vectors, test_from=last - timedelta(days=test_days), as_json=as_json)
        names, by_topic = lifecycles(history, settings, vectors, as_of=last, topics=topics)
    if as_json:
        click.echo(json.dumps({**report, "names": names.to_dicts(), "topics": by_topic.to_dicts()}))
        return
    _print_numbers(names.head(15), title="most evergreen names")
    _print_numbers(names.tail(15), title="most situational names")
    _print_numbers(by_topic, title="journeys by what their keywords say")


@stages_group.command("search-missions")
@click.argument("path", type=_PATH)
@click.option("--train-weeks", default=10, show_default=True, type=click.IntRange(1))
@_json
def stages_search_missions_command(path: Path, *, train_weeks: int, as_json: bool) -> None:
    """Trained on the first weeks of search missions (format of Webis-SMC-12)."""
    from journeys_dagster.evaluation.search_missions import read_search_missions, search_history

    with _plain_errors():
        settings = load_settings()
        history = search_history(read_search_missions(path), settings)
        test_from = history.span[0] + timedelta(days=7 * train_weeks - 1)
        report = _forecasts(history, settings, _vectors(settings), test_from=test_from, as_json=as_json)
    if as_json:
        click.echo(json.dumps(report))


def _forecasts(
    history: "History", settings: Settings, vectors: "KeywordVectors", *, test_from: date, as_json: bool
) -> dict[str, Any]:
    """Forecast returns and print how it went, unless it is wanted as JSON."""
    from journeys_dagster.evaluation.stages import evaluate_stages

    with progress_bar("replay", total=1.0) as advance:
        forecasts = evaluate_stages(
            history, settings, vectors, test_from=test_from, progress=lambda done: advance("", done)
        )
    report = {}
    for found in forecasts:
        gains = found.comparison.brier_gains
        report[f"within_{found.return_days}_days"] = {
            "seen_days": found.seen_days,
            "parts": [
                {**part, "first": str(part["first"]), "last": str(part["last"])} for part in found.parts.to_dicts()
            ],
            "test": found.comparison.table.to_dicts(),
            "brier_gains": {name: asdict(gain) for name, gain in gains.items()},
            "thresholds": found.thresholds.to_dicts(),
            "weights": dict(found.model.weights),
        }
        if as_json:
            continue
        for part in found.parts.to_dicts():
            out.print(
                f"{part['part']}: snapshots {part['first']} to {part['last']}, {part['journeys']:,} journeys, "
                f"{part['returns']:,} returns within {found.return_days} days"
            )
        seen = "" if found.seen_days == found.return_days else f" (the history holds {found.seen_days})"
        _print_numbers(found.comparison.table, title=f"return within {found.return_days} days{seen}")
        out.print("Brier score lower by " + ", ".join(f"{_gain(gain)} than {name}" for name, gain in gains.items()))
        _print_numbers(found.thresholds, title="what ends below a threshold")
    return report


@evaluate.group("naming")
def naming_group() -> None:
    """Whether journeys get the name they have, and keep it."""


@naming_group.command("world")
@click.option("--users", default=500, show_default=True, type=click.IntRange(1))
@click.option("--days", default=60, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=23, show_default=True, type=int)
@_json
def naming_world_command(*, users: int, days: int, seed: int, as_json: bool) -> None:
    """Against the true names of a simulated world, beside simpler ways to pick a keyword."""
    from journeys_dagster.evaluation.naming import MEASURES, evaluate_naming
    from journeys_dagster.evaluation.world import world_corpus, world_history
    from journeys_dagster.simulation.world import build_world
    from journeys_dagster.training.bootstrap import Mean

    with _plain_errors():
        settings = load_settings()
        with progress_bar("simulate", total=1.0) as advance:
            world = build_world(users=users, days=days, seed=seed, progress=advance)
        with progress_bar("keywords, embeddings and names", total=None):
            vectors = _vectors(settings)
            corpus = world_corpus(world, settings, vectors)
            history = world_history(world, settings)
            report, gains = evaluate_naming(corpus, history, settings, vectors.embedder)
    if as_json:
        parts = {name: asdict(gain) for name, gain in gains.items()}
        click.echo(json.dumps({"seed": seed, "namers": report.to_dicts(), "cosine_gains": parts}))
        return
    table = Table("namer", *MEASURES, title=f"journeys of three keywords and more; {users} users, seed {seed}")
    for row in report.iter_rows(named=True):
        means = [Mean(row[measure], row[f"{measure}_low"], row[f"{measure}_high"]) for measure in MEASURES]
        table.add_row(row["namer"], *map(str, means))
    out.print(table)
    out.print("cosine higher by " + ", ".join(f"{_gain(gain)} than {name}" for name, gain in gains.items()))


@naming_group.command("online-retail")
@click.argument("path", type=_PATH)
@click.option("--days", default=30, show_default=True, type=click.IntRange(1), help="Replayed days, the last ones.")
@_json
def naming_online_retail_command(path: Path, *, days: int, as_json: bool) -> None:
    """How often journeys of UCI Online Retail (Parquet at PATH) keep their name from day to day."""
    from journeys_dagster.evaluation.identity import steps_of
    from journeys_dagster.evaluation.naming import name_stability
    from journeys_dagster.importers import online_retail_frames
    from journeys_dagster.training.history import History

    with _plain_errors():
        settings = load_settings()
        history = History(online_retail_frames(path), settings)
        last = history.span[1]
    steps = steps_of(history, first=last - timedelta(days=days), last=last, days=1)
    with progress_bar("replay", total=1.0) as advance:
        found = name_stability(history, steps, settings, _vectors(settings), progress=lambda done: advance("", done))
    if as_json:
        click.echo(json.dumps(asdict(found)))
        return
    out.print(f"journeys that went on: {found.journeys:,}, with the same name: {found.kept_share:.2%}")
    out.print(
        f"of them with the same keywords: {found.unchanged_journeys:,}, with the same name: "
        f"{found.unchanged_kept_share:.2%}"
    )


def _replay(history: "History", settings: Settings, *, first: date, last: date, every: int, as_json: bool) -> None:
    from journeys_dagster.evaluation.identity import identity_report, replay, steps_of

    steps = steps_of(history, first=min(first, last), last=last, days=every)
    with progress_bar("replay", total=1.0) as advance:
        followed = replay(history, steps, settings, _vectors(settings), progress=lambda done: advance("", done))
    report = identity_report(followed)
    if as_json:
        click.echo(json.dumps({"first": str(first), "last": str(last), "days_per_step": every, **report}))
        return
    table = Table("measure", "value", title=f"{first} to {last}, a snapshot every {every} day(s)")
    for name, value in report.items():
        table.add_row(name, f"{value:.2%}" if name.endswith("_share") else f"{value:,}")
    out.print(table)


def _vectors(settings: Settings) -> "KeywordVectors":
    from journeys_dagster.inference.embedding import TextEmbedder
    from journeys_dagster.training.history import KeywordVectors

    chosen = settings.embedding
    return KeywordVectors(TextEmbedder(model=chosen.model, revision=chosen.revision, batch_size=chosen.batch_size))


def _baseline_scores(corpus: "Corpus") -> dict[str, pl.DataFrame]:
    from journeys_dagster.evaluation.clusterers import Baselines
    from journeys_dagster.evaluation.metrics import agreement

    return {name: agreement(clusters) for name, clusters in Baselines(corpus).at_fixed_thresholds().items()}


def _cross_validated(corpus: "Corpus") -> dict[str, pl.DataFrame]:
    from journeys_dagster.evaluation.validation import cross_validate

    with progress_bar("cross-validate", total=1.0) as advance:
        return cross_validate(corpus, progress=lambda done: advance("", done))


def _means(scores: pl.DataFrame) -> "dict[str, Mean]":
    """Means over users; of a user that was scored several times, its own mean counts once."""
    from journeys_dagster.evaluation.metrics import MEASURES
    from journeys_dagster.training.bootstrap import bootstrap_mean

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
    from journeys_dagster.evaluation.metrics import MEASURES

    table = Table("clusterer", *MEASURES, title=title)
    for name, of_way in means.items():
        table.add_row(name, *(str(of_way[measure]) for measure in MEASURES))
    out.print(table)
