"""How far judges of relevance agree with people."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from journeys_dagster.cli_evaluate.shared import PATH, json_option, plain_errors
from journeys_dagster.cli_progress import out, progress_bar
from journeys_dagster.settings import load_settings

if TYPE_CHECKING:
    from journeys_dagster.training.bootstrap import Mean


@click.command("judge")
@click.argument("path", type=PATH)
@json_option
def judge_command(path: Path, *, as_json: bool) -> None:
    """Against people's grades of pairs of a need and a text, without a language model.

    PATH is tab-separated: topic, task_description, title, snippet, grade. Each topic is judged by what others taught.
    """
    from journeys_dagster.evaluation.judge_agreement import LEVELS, MEASURES, agreement
    from journeys_dagster.evaluation.pair_judges import judge_pairs, read_pairs, tables_of
    from journeys_dagster.inference.embedding import TextEmbedder

    with plain_errors():
        chosen = load_settings().embedding
        embedder = TextEmbedder(model=chosen.model, revision=chosen.revision, batch_size=chosen.batch_size)
        pairs = read_pairs(path)
        with progress_bar("judge pairs", total=None):
            tables = tables_of(judge_pairs(pairs, embedder))
    agreements = {name: agreement(table) for name, table in tables.items()}
    if as_json:
        judges = {
            name: {measure: _finite(mean) for measure, mean in of.items()}
            | {"confusion": tables[name].sum(axis=0).tolist()}
            for name, of in agreements.items()
        }
        click.echo(json.dumps({"pairs": len(pairs.rows), "topics": len(pairs.topics), "judges": judges}))
        return
    table = Table(
        "judge (no language model)", *MEASURES, title=f"{len(pairs.rows):,} graded pairs, {len(pairs.topics)} topics"
    )
    for name, of in agreements.items():
        table.add_row(name, *("–" if math.isnan(mean.value) else str(mean) for mean in of.values()))
    out.print(table)
    for name, of_topics in tables.items():
        confusion = Table("people", *(f"judge {level}" for level in LEVELS), title=name)
        for level, row in zip(LEVELS, of_topics.sum(axis=0).tolist(), strict=True):
            confusion.add_row(str(level), *map(str, row))
        out.print(confusion)


def _finite(mean: "Mean") -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in asdict(mean).items()}
