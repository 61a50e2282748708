"""Benchmark of judges: how far the levels that they give agree with people's grades."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import click
import polars as pl

from journeys_dagster.inference.judge import EVIDENCE
from journeys_dagster.llm.client import LLM
from journeys_dagster.monitoring.bootstrap import RESAMPLES
from journeys_dagster.monitoring.judge_agreement import LEVELS, agreement
from journeys_dagster.resources.home import Home
from journeys_dagster.settings import Settings
from lab.benchmark import HALF, BenchmarkError, Result, Run, argument, option
from lab.evaluation.graded_pairs import grade_by_model, grade_pairs, read_pairs
from lab.evaluation.judge_world import judged_world
from lab.simulation.journey_types import Half

_HOME = """
    select label.user_id, score.judge, score.level as judged, cast(round(avg(label.grade)) as bigint) as level
    from human_labels label
    join judge_scores score on score.user_id = label.user_id and score.journey_id = label.journey_id
        and score.as_of = label.arrival_day
    where score.level is not null
    group by label.user_id, label.journey_id, label.arrival_day, score.judge, score.level
    order by all
"""


@dataclass(frozen=True)
class Judge:
    """Against people's grades: the evidence judge, beside the embedding only and the majority class.

    PATH holds pairs of a need and a text, tab-separated: topic, task_description, title, snippet, grade. Each topic is
    judged by what others taught.
    """

    name: ClassVar[str] = "judge"
    path: Path | None = argument(required=False)
    world: bool = option(default=False, help="Against simulated annotators' grades of simulated users' journeys.")
    human_labels: bool = option(default=False, help="Against the human labels of the home.")
    llm: bool = option(default=False, help="Also the language model of [llm], on the pairs of PATH.")
    users: int = option(500, "Of the simulated world.", type=click.IntRange(10))
    seed: int = option(17, type=int)
    half: Half = option("report", type=HALF)

    def measure(self, run: Run) -> Result:
        """Judge, and compare with grades."""
        if [self.path is not None, self.world, self.human_labels].count(True) != 1:
            raise click.UsageError("name one of PATH, --world and --human-labels")
        if self.llm and self.path is None:
            raise click.UsageError("--llm goes with PATH; what it says of a home's lists is in judge_scores")
        if self.path is not None:
            groups, (title, judged) = "topic", self._of_pairs(self.path, run)
        else:
            groups, (title, judged) = "user_id", _of_home(run.settings) if self.human_labels else self._of_world(run)
        if judged.is_empty():
            raise BenchmarkError("no judged journey has a human label of the same day: judge_scores needs human_labels")
        judges, rows, tables = {}, [], {}
        for name in [name for name in judged.columns if name not in {groups, "level", *EVIDENCE}]:
            # A judge is compared on what it judged.
            known = judged.drop_nulls(name)
            if known.is_empty():
                continue
            found = agreement(known["level"], known[name], known[groups], resamples=RESAMPLES)
            confusion = _confusion(known["level"], known[name])
            judges[name] = {**found, "confusion": confusion.drop("people").rows()}
            ends = {f"{m}_{end}": getattr(mean, end) for m, mean in found.items() for end in ("low", "high")}
            rows.append({"judge": name, **{measure: mean.value for measure, mean in found.items()}, **ends})
            tables[f"{name}; rows: people's level, columns: the judge's"] = confusion
        units = {"topics" if self.path is not None else "users": judged[groups].n_unique()}
        return Result({"pairs": len(judged), **units, "judges": judges}, {title: pl.DataFrame(rows), **tables})

    def _of_pairs(self, path: Path, run: Run) -> tuple[str, pl.DataFrame]:
        pairs = read_pairs(path)
        with run.step("judge pairs"):
            judged = grade_pairs(pairs, run.vectors.embedder)
        if self.llm:
            llm = LLM(run.settings.llm)
            with run.step("language model") as advance:
                levels = grade_by_model(pairs, llm, progress=lambda done, inputs: advance(done / inputs))
            if not levels.count():
                raise BenchmarkError(f"no pair got an answer: {llm.usage.stopped or llm.usage.faults}")
            judged = judged.with_columns(levels.alias(run.settings.llm.model))
        return f"{len(judged):,} graded pairs, {pairs['topic'].n_unique()} topics", judged

    def _of_world(self, run: Run) -> tuple[str, pl.DataFrame]:
        world = run.world(users=self.users, days=120, seed=self.seed, half=self.half)
        with run.step("judge"):
            judged = judged_world(world, run.settings, run.vectors, seed=self.seed)
        users = judged["user_id"].n_unique()
        return f"{len(judged):,} journeys of {users:,} simulated users, {self.half} half", judged


def _of_home(settings: Settings) -> tuple[str, pl.DataFrame]:
    warehouse = Home.from_environment().warehouse(settings)
    if not all(warehouse.has_table(name) for name in ("human_labels", "judge_scores")):
        raise BenchmarkError("this home has no human_labels or no judge_scores yet: run its days first")
    rows = warehouse.query(_HOME).cast({"judged": pl.Int64, "level": pl.Int64})
    judges = rows["judge"].unique().sort()
    by_judge = [pl.when(pl.col("judge") == judge).then("judged").alias(judge) for judge in judges]
    return f"{len(rows):,} journeys with human labels", rows.select("user_id", "level", *by_judge)


def _confusion(human: pl.Series, judged: pl.Series) -> pl.DataFrame:
    from sklearn.metrics import confusion_matrix

    counts = confusion_matrix(human, judged, labels=list(LEVELS))
    table = pl.DataFrame(counts, schema=[f"judge {level}" for level in LEVELS], orient="row")
    return table.select(pl.Series("people", LEVELS), pl.all())
