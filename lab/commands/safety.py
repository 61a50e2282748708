"""Whether the safety check tells harmful names from harmless look-alikes."""

import json
from pathlib import Path

import click
import polars as pl

from journeys_dagster.cli.errors import plain_errors
from journeys_dagster.cli.progress import out, progress_bar
from journeys_dagster.settings import Settings, load_settings
from lab.commands.shared import PATH, json_option, print_numbers


@click.command("safety")
@click.option("--online-retail", "retail", type=PATH, help="List what is flagged of UCI Online Retail (Parquet) too.")
@click.option("--world", is_flag=True, help="List what is flagged of all texts of the simulated platform too.")
@click.option("--refit", is_flag=True, help="First fit the classifier of meanings anew, and write it to a file.")
@click.option("--to", "fitted_file", type=click.Path(path_type=Path), help="The file for --refit, which is a new one.")
@json_option
def safety_command(*, retail: Path | None, world: bool, refit: bool, fitted_file: Path | None, as_json: bool) -> None:
    """On names written by hand, half of them harmless look-alikes: recall and false alarms by the shipped policy."""
    from journeys_dagster.inference.embedding import TextEmbedder
    from journeys_dagster.inference.safety_classifier import fit_classifier, safety_classifier
    from journeys_dagster.inference.safety_policy import load_policy
    from lab.evaluation.safety import confusion, evaluate_safety, flagged_texts, safety_report

    if refit != (fitted_file is not None):
        raise click.UsageError("--refit and --to FILE go together")
    if fitted_file is not None and fitted_file.exists():
        raise click.UsageError(f"{fitted_file} exists already: name a new file")
    with plain_errors():
        settings = load_settings()
        policy, chosen = load_policy(settings.safety.policy), settings.embedding
        embedder = TextEmbedder(model=chosen.model, revision=chosen.revision, batch_size=chosen.batch_size)
        classifier = fit_classifier(policy, embedder) if refit else safety_classifier(policy, embedder)
        if fitted_file is not None:
            classifier.save(fitted_file)
        with progress_bar("check names", total=None):
            verdicts = evaluate_safety(policy, settings.safety, embedder, classifier)
            corpora = _corpora(retail, world=world, settings=settings)
            flagged = {
                name: flagged_texts(texts, policy, settings.safety, embedder, classifier)
                for name, texts in corpora.items()
            }
    reports = {
        "halves": safety_report(verdicts, by=["half"]),
        "written": safety_report(verdicts, by=["written", "half"]),
        "categories": safety_report(verdicts.filter(pl.col("half") == "report"), by=["category"]),
        "confusion": confusion(verdicts.filter(pl.col("half") == "report")),
    }
    if as_json:
        found = {name: {"texts": len(corpora[name]), "flagged": rows.to_dicts()} for name, rows in flagged.items()}
        reported = {name: rows.to_dicts() for name, rows in reports.items()}
        click.echo(json.dumps({"policy": policy.revision, "names": len(verdicts), **reported, "corpora": found}))
        return
    print_numbers(reports["halves"], title=f"{len(verdicts)} names written by hand, by half")
    print_numbers(
        reports["written"],
        title="by when they were written: before or during the making of the policy, after it, after the classifier",
    )
    print_numbers(reports["categories"], title="half to report, by category")
    print_numbers(reports["confusion"], title="half to report, expected (rows) and given outcome")
    for name, rows in flagged.items():
        print_numbers(
            rows.with_columns(pl.col("reasons").list.join("; ")),
            title=f"{name}: {len(rows)} of {len(corpora[name]):,} distinct texts flagged",
        )
    out.print(f"policy {policy.revision}; recall: outcome at least as strict as expected; noticed: not allowed")


def _corpora(retail: Path | None, *, world: bool, settings: Settings) -> dict[str, pl.Series]:
    """Distinct texts of public and of simulated activity."""
    from journeys_dagster.training.history import History
    from lab.importers import online_retail_frames
    from lab.simulation.catalogue import load_catalogue

    corpora = {}
    if retail is not None:
        history = History(online_retail_frames(retail), settings)
        corpora["online_retail"] = history.query("select distinct keyword from keyword_events", {})["keyword"]
    if world:
        catalogue = load_catalogue()
        texts = [*catalogue.queries, *catalogue.mixed_boards]
        for journey in catalogue.journeys:
            texts += [journey.name, *journey.interests, *journey.boards]
        texts += [text for item in catalogue.items for text in (item.title, *item.annotations)]
        corpora["world"] = pl.Series(texts).str.to_lowercase()
    return {name: texts.unique().sort() for name, texts in corpora.items()}
