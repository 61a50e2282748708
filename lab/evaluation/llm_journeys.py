"""The pipeline's journeys beside those that a language model lists from the same history, on the simulated truth."""

from dataclasses import dataclass
from typing import ClassVar

import click
import numpy as np
import polars as pl

from journeys_dagster.inference.clustering import cluster_keywords, strongest_keywords
from journeys_dagster.inference.embedding import TextEmbedder
from journeys_dagster.inference.llm_journeys import LIST_PROMPT, HistoryInput, JourneysAnswer, Lists, history_inputs
from journeys_dagster.llm.client import LLM, Progress
from journeys_dagster.llm.prompts import load_prompt
from journeys_dagster.settings import Settings
from journeys_dagster.training.history import History
from lab.benchmark import BenchmarkError, Result, Run, option
from lab.evaluation.corpora import Corpus, world_corpus, world_history
from lab.evaluation.metrics import agreement
from lab.evaluation.naming import name_in
from lab.evaluation.statistics import intervals

MEASURES = ("b3_precision", "b3_recall", "b3_f", "found_share", "name_cosine", "journeys")
PIPELINE = "pipeline"
MIN_KEYWORDS = 2
"""Of a true journey, for it to count as one that can be found."""
_JOURNEY = ["user_id", "journey_id"]


@dataclass(frozen=True)
class LlmJourneys:
    """Journeys of the pipeline beside those of the language model of [llm], on the simulated truth.

    One call for each user, within the budget of a run and without a cache.
    """

    name: ClassVar[str] = "llm-journeys"
    users: int = option(100, type=click.IntRange(1))
    days: int = option(60, type=click.IntRange(1))
    seed: int = option(23, type=int)
    rules: bool = option(
        default=False, help="The answers come from rules, as of a test server, and not from a model; say so."
    )

    def measure(self, run: Run) -> Result:
        """List journeys both methods, and compare them with the truth."""
        settings, llm = run.settings, LLM(run.settings.llm)
        world = run.world(users=self.users, days=self.days, seed=self.seed)
        with run.step("keywords and embeddings"):
            corpus, history = world_corpus(world, settings, run.vectors), world_history(world, settings)
            of_pipeline = pipeline_journeys(corpus, history, settings)
        with run.step("language model") as advance:
            of_model, lists, answered = model_journeys(
                corpus, llm, settings, history, progress=lambda done, inputs: advance(done / inputs)
            )
        if not answered:
            raise BenchmarkError(f"no user got an answer: {llm.usage.stopped or llm.usage.faults}")
        model = f"{settings.llm.model} (rules, no model)" if self.rules else settings.llm.model
        # Who got no answer is left out of both.
        report = compare(corpus.of_users(answered), {PIPELINE: of_pipeline, model: of_model}, run.vectors.embedder)
        invented, usage = lists.invented / max(lists.keywords, 1), llm.usage
        figures = {"seed": self.seed, "answers_from": "rules" if self.rules else "model", "invented_share": invented}
        note = (
            f"keywords that the model invented: {invented:.2%} of {lists.keywords:,}; {usage.calls:,} calls, "
            f"{usage.prompt_tokens + usage.completion_tokens:,} tokens, cost {usage.cost:.4f}, "
            f"{usage.failed:,} failed, {usage.left:,} left" + "".join(f"; {fault}" for fault in usage.faults_by_count())
        )
        source = "answers come from rules, not from a model" if self.rules else f"answers by {settings.llm.model}"
        title = f"simulated world, seed {self.seed}; {source}"
        return Result(figures | usage.figures() | {"methods": report}, {title: report}, [note])


def pipeline_journeys(corpus: Corpus, history: History, settings: Settings) -> pl.DataFrame:
    """Keywords with the journey that the pipeline puts them in, and its name.

    Returns
    -------
    DataFrame
        Columns ``user_id``, ``journey_id``, ``keyword``, ``name``.
    """
    strongest = strongest_keywords(corpus.keywords, limit=settings.clusters.max_keywords_per_user)
    members = (
        cluster_keywords(strongest, corpus.vectors, settings.clusters)
        .rename({"cluster": "journey_id"})
        .with_columns(pl.col("journey_id").cast(pl.String))
        .sort(*_JOURNEY, "keyword")
    )
    everyone = members.with_columns(as_of=pl.lit(history.span[1]))
    history.keep("clusters", everyone.select("as_of", "user_id", "keyword", "centroid_similarity"))
    names = name_in(history, members, settings).select(*_JOURNEY, "name")
    return members.select(*_JOURNEY, "keyword").join(names, on=_JOURNEY)


def model_journeys(
    corpus: Corpus, llm: LLM, settings: Settings, history: History, *, progress: Progress | None = None
) -> tuple[pl.DataFrame, Lists, list[str]]:
    """The same by the language model, with all of its lists and the users that got one."""
    users: list[HistoryInput] = list(history_inputs(corpus.keywords, history.span[1]))
    outcomes = llm.complete(load_prompt(LIST_PROMPT), [user.data for user in users], JourneysAnswer, progress=progress)
    lists, answered = Lists(), []
    for user, outcome in zip(users, outcomes, strict=True):
        if outcome.answer is not None:
            lists.add(user, outcome.answer.journeys, model=settings.llm.model)
            answered.append(user.user_id)
    rows = lists.frame().select("user_id", "name", journey_id=pl.col("rank").cast(pl.String), keyword="keywords")
    return rows.explode("keyword").select(*_JOURNEY, "keyword", "name"), lists, answered


def compare(corpus: Corpus, methods: dict[str, pl.DataFrame], embedder: TextEmbedder) -> pl.DataFrame:
    """One row per method to infer journeys, with means over users and their intervals.

    A keyword that a method leaves out is a journey of its own. ``found_share``: of the true journeys of
    `MIN_KEYWORDS` and more: those that most of the keywords of some journey belong to. ``name_cosine`` is between a
    journey's name and that of the true journey most of its keywords belong to, over journeys of `MIN_KEYWORDS` and
    more.

    Returns
    -------
    DataFrame
        Columns ``method``, ``users`` and for each of `MEASURES` its mean, with ``_low`` and ``_high``.
    """
    scored = {name: _scores(corpus, members, embedder) for name, members in methods.items()}
    return pl.DataFrame(
        [{"method": name, "users": len(scores), **intervals(scores, MEASURES)} for name, scores in scored.items()]
    )


def _scores(corpus: Corpus, members: pl.DataFrame, embedder: TextEmbedder) -> pl.DataFrame:
    truth = corpus.keywords.select("user_id", "keyword", "truth")
    alone = pl.concat_str(pl.lit("alone "), "keyword")
    placed = truth.join(members, on=["user_id", "keyword"], how="left", maintain_order="left").with_columns(
        cluster=pl.coalesce("journey_id", alone)
    )
    agreed = agreement(placed).select("user_id", "b3_precision", "b3_recall", "b3_f")
    majority = (
        placed.filter(pl.col("journey_id").is_not_null(), pl.col("truth").is_not_null())
        .group_by(*_JOURNEY, "truth", "name")
        .agg(keywords=pl.len())
        .filter(pl.col("keywords") >= MIN_KEYWORDS)
        .sort("keywords", "truth", descending=[True, False])
        .unique(_JOURNEY, keep="first", maintain_order=True)
        .sort(_JOURNEY)
    )
    to_find = truth.drop_nulls().group_by("user_id", "truth").agg(n=pl.len()).filter(pl.col("n") >= MIN_KEYWORDS)
    found = (
        to_find.join(
            majority.select("user_id", "truth", found=pl.lit(1.0)).unique(), on=["user_id", "truth"], how="left"
        )
        .group_by("user_id")
        .agg(found_share=pl.col("found").fill_null(0.0).mean())
    )
    named = majority.with_columns(name_cosine=_cosines(majority["name"], majority["truth"], embedder))
    counts = members.group_by("user_id").agg(journeys=pl.col("journey_id").n_unique().cast(pl.Float64))
    return (
        agreed.join(found, on="user_id", how="left")
        .join(named.group_by("user_id").agg(pl.col("name_cosine").mean()), on="user_id", how="left")
        .join(counts, on="user_id", how="left")
        .with_columns(pl.col("journeys").fill_null(0.0))
        .sort("user_id")
    )


def _cosines(names: pl.Series, truths: pl.Series, embedder: TextEmbedder) -> pl.Series:
    if names.is_empty():
        return pl.Series(dtype=pl.Float64)
    texts = sorted({*names.str.to_lowercase(), *truths.str.to_lowercase()})
    vectors = dict(zip(texts, embedder.embed(texts), strict=True))
    pairs = zip(names.str.to_lowercase(), truths.str.to_lowercase(), strict=True)
    return pl.Series([float(np.dot(vectors[name], vectors[truth])) for name, truth in pairs], dtype=pl.Float64)
