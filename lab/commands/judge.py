"""How far judges of relevance agree with people."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
import polars as pl
from numpy.typing import NDArray
from rich.table import Table

from journeys_dagster.cli.errors import plain_errors
from journeys_dagster.cli.progress import out, progress_bar
from journeys_dagster.inference.judge import EVIDENCE
from journeys_dagster.resources.home import Home
from journeys_dagster.settings import Settings, load_settings
from lab.commands.shared import PATH, json_option, vectors_of
from lab.simulation import Half

if TYPE_CHECKING:
    from journeys_dagster.monitoring.bootstrap import Mean

_HOME = """
    select label.user_id, score.judge, score.level as judged, cast(round(avg(label.grade)) as bigint) as level
    from human_labels label
    join judge_scores score on score.user_id = label.user_id and score.journey_id = label.journey_id
        and score.as_of = label.arrival_day
    where score.level is not null
    group by label.user_id, label.journey_id, label.arrival_day, score.judge, score.level
    order by all
"""


@click.command("judge")
@click.argument("path", type=PATH, required=False)
@click.option("--world", is_flag=True, help="Against simulated annotators' grades of simulated users' journeys.")
@click.option("--human-labels", is_flag=True, help="Against the human labels of the home.")
@click.option("--llm", "asks_llm", is_flag=True, help="Also the language model of [llm], on the pairs of PATH.")
@click.option("--users", default=500, show_default=True, type=click.IntRange(10), help="Of the simulated world.")
@click.option("--seed", default=17, show_default=True, type=int)
@click.option("--half", type=click.Choice(["tune", "report"]), default="report", show_default=True)
@json_option
def judge_command(
    path: Path | None,
    *,
    world: bool,
    human_labels: bool,
    asks_llm: bool,
    users: int,
    seed: int,
    half: Half,
    as_json: bool,
) -> None:
    """Against people's grades: the evidence judge, beside an embedding-only judge and the majority class.

    PATH holds pairs of a need and a text, tab-separated: topic, task_description, title, snippet, grade. Each topic is
    judged by what others taught.
    """
    from journeys_dagster.monitoring.judge_agreement import agreement, level_tables

    if [path is not None, world, human_labels].count(True) != 1:
        raise click.UsageError("name one of PATH, --world and --human-labels")
    if asks_llm and path is None:
        raise click.UsageError("--llm goes with PATH; what it says of a home's lists is in judge_scores")
    with plain_errors():
        settings = load_settings()
        if path is not None:
            title, judged = _pairs(path, settings, asks_llm=asks_llm)
            groups = "topic"
        else:
            title, judged = _labelled(settings) if human_labels else _world(settings, users=users, seed=seed, half=half)
            groups = "user_id"
    if judged.is_empty():
        raise click.ClickException(
            "no judged journey has a human label of the same day: judge_scores needs human_labels"
        )
    # A judge is compared on what it judged.
    known = {name: judged.drop_nulls(name) for name in judged.columns if name not in {groups, "level", *EVIDENCE}}
    tables = {name: level_tables(of["level"], of[name], of[groups]) for name, of in known.items() if not of.is_empty()}
    agreements = {name: agreement(table) for name, table in tables.items()}
    if as_json:
        report = {
            name: {measure: _finite(mean) for measure, mean in of.items()}
            | {"confusion": tables[name].sum(axis=0).tolist()}
            for name, of in agreements.items()
        }
        click.echo(
            json.dumps(
                {
                    "pairs": len(judged),
                    "topics" if path is not None else "users": judged[groups].n_unique(),
                    "judges": report,
                }
            )
        )
        return
    _print(title, tables, agreements)


def _pairs(path: Path, settings: Settings, *, asks_llm: bool) -> tuple[str, pl.DataFrame]:
    from journeys_dagster.llm.answers import LLMError
    from journeys_dagster.llm.client import LLM
    from lab.evaluation.pair_judges import judge_pairs, judge_pairs_by_model, read_pairs

    pairs = read_pairs(path)
    with progress_bar("judge pairs", total=None):
        judged = judge_pairs(pairs, vectors_of(settings).embedder)
    if asks_llm:
        llm = LLM(settings.llm)
        try:
            with progress_bar("language model", total=1.0) as advance:
                levels = judge_pairs_by_model(pairs, llm, progress=lambda done, inputs: advance("", done / inputs))
        except LLMError as error:
            raise click.ClickException(str(error)) from None
        if not levels.count():
            raise click.ClickException(f"no pair got an answer: {llm.usage.stopped or llm.usage.faults}")
        judged = judged.with_columns(levels.alias(settings.llm.model))
    return f"{len(judged):,} graded pairs, {len(pairs.topics)} topics", judged


def _world(settings: Settings, *, users: int, seed: int, half: Half) -> tuple[str, pl.DataFrame]:
    from lab.evaluation.judge_world import judged_world
    from lab.simulation.world import build_world

    with progress_bar("simulate", total=1.0) as advance:
        world = build_world(users=users, days=120, seed=seed, half=half, progress=advance)
    with progress_bar("judge", total=None):
        judged = judged_world(world, settings, vectors_of(settings), seed=seed)
    return f"{len(judged):,} journeys of {judged['user_id'].n_unique():,} simulated users, {half} half", judged


def _labelled(settings: Settings) -> tuple[str, pl.DataFrame]:
    warehouse = Home.from_environment().warehouse(settings)
    if not all(warehouse.has_table(name) for name in ("human_labels", "judge_scores")):
        raise click.ClickException("this home has no human_labels or no judge_scores yet: run its days first")
    rows = warehouse.query(_HOME).cast({"judged": pl.Int64, "level": pl.Int64})
    by_judge = [
        pl.when(pl.col("judge") == judge).then("judged").alias(judge) for judge in rows["judge"].unique().sort()
    ]
    return f"{len(rows):,} journeys with human labels", rows.select("user_id", "level", *by_judge)


def _print(title: str, tables: Mapping[str, NDArray[np.int64]], agreements: Mapping[str, Mapping[str, "Mean"]]) -> None:
    from journeys_dagster.monitoring.judge_agreement import LEVELS, MEASURES

    table = Table("judge", *MEASURES, title=title)
    for name, of in agreements.items():
        table.add_row(name, *("–" if math.isnan(mean.value) else str(mean) for mean in of.values()))
    out.print(table)
    for name, of_groups in tables.items():
        confusion = Table("people", *(f"judge {level}" for level in LEVELS), title=name)
        for level, row in zip(LEVELS, of_groups.sum(axis=0).tolist(), strict=True):
            confusion.add_row(str(level), *map(str, row))
        out.print(confusion)


def _finite(mean: "Mean") -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in asdict(mean).items()}
