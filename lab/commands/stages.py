"""Whether users come back to what is called ongoing."""

import json
from dataclasses import asdict
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from journeys_dagster.cli.errors import plain_errors
from journeys_dagster.cli.progress import out, progress_bar
from journeys_dagster.settings import Settings, load_settings
from lab.commands.shared import PATH, gain_text, json_option, print_numbers, vectors_of

if TYPE_CHECKING:
    from journeys_dagster.training.history import History, KeywordVectors


@click.group("stages")
def stages_group() -> None:
    """Whether journeys that count as ongoing are come back to."""


@stages_group.command("online-retail")
@click.argument("path", type=PATH)
@click.option("--test-days", default=60, show_default=True, type=click.IntRange(1), help="Newest days to forecast.")
@click.option("--topic", "topics", multiple=True, default=("christmas",), show_default=True, help="May be repeated.")
@json_option
def stages_online_retail_command(path: Path, *, test_days: int, topics: tuple[str, ...], as_json: bool) -> None:
    """Trained on the first months of UCI Online Retail (Parquet at PATH); and its most evergreen names."""
    from journeys_dagster.training.history import History
    from lab.evaluation.stages import lifecycles
    from lab.importers import online_retail_frames

    with plain_errors():
        settings = load_settings()
        vectors, history = vectors_of(settings), History(online_retail_frames(path), settings)
        last = history.span[1]
        report = _forecasts(history, settings, vectors, test_from=last - timedelta(days=test_days), as_json=as_json)
        names, by_topic = lifecycles(history, settings, vectors, as_of=last, topics=topics)
    if as_json:
        click.echo(json.dumps({**report, "names": names.to_dicts(), "topics": by_topic.to_dicts()}))
        return
    print_numbers(names.head(15), title="most evergreen names")
    print_numbers(names.tail(15), title="most situational names")
    print_numbers(by_topic, title="journeys by what their keywords say")


@stages_group.command("search-missions")
@click.argument("path", type=PATH)
@click.option("--train-weeks", default=10, show_default=True, type=click.IntRange(1))
@json_option
def stages_search_missions_command(path: Path, *, train_weeks: int, as_json: bool) -> None:
    """Trained on the first weeks of search missions (format of Webis-SMC-12)."""
    from lab.evaluation.search_missions import read_search_missions, search_history

    with plain_errors():
        settings = load_settings()
        history = search_history(read_search_missions(path), settings)
        test_from = history.span[0] + timedelta(days=7 * train_weeks - 1)
        report = _forecasts(history, settings, vectors_of(settings), test_from=test_from, as_json=as_json)
    if as_json:
        click.echo(json.dumps(report))


def _forecasts(
    history: "History", settings: Settings, vectors: "KeywordVectors", *, test_from: date, as_json: bool
) -> dict[str, Any]:
    """Forecast returns and print how it went, unless it is wanted as JSON."""
    from lab.evaluation.stages import evaluate_stages

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
        print_numbers(found.comparison.table, title=f"return within {found.return_days} days{seen}")
        out.print("Brier score lower by " + ", ".join(f"{gain_text(gain)} than {name}" for name, gain in gains.items()))
        print_numbers(found.thresholds, title="what ends below a threshold")
    return report
