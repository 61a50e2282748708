"""Whether a student's titles are better than the keyword that names a journey, on journeys whose true name is known."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import click
import polars as pl

from journeys_dagster.inference.embedding import TextEmbedder
from journeys_dagster.inference.student import Student, Written
from journeys_dagster.inference.titles import is_grounded, title_keywords, well_formed
from journeys_dagster.monitoring.bootstrap import bootstrap_mean
from lab.benchmark import FILE, HALF, HALF_HELP, Result, Run, argument, option
from lab.evaluation.corpora import world_corpus, world_history
from lab.evaluation.naming import ALIKE, clustered_keywords, evaluate_naming, judged_names
from lab.evaluation.naming_quality import MEASURES, SHIPPED
from lab.evaluation.statistics import intervals
from lab.simulation.journey_types import Half, read_catalogue

STUDENT, HINDSIGHT = "student", "best keyword or student, by the truth"
_JOURNEY = ["user_id", "journey_id"]


@dataclass(frozen=True)
class StudentNaming:
    """A student's titles beside keywords and a library of titles, on journeys of a simulated world.

    Where a student writes no title, or none that may be shown, the keyword stays. To be fair, it must not have learnt
    from titles like these types: train it with --unlike and the same half.
    """

    name: ClassVar[str] = "evaluate"
    student: Path = argument()
    users: int = option(500, "Of the simulated world.", type=click.IntRange(1))
    days: int = option(60, type=click.IntRange(1))
    seed: int = option(31, type=int)
    half: Half | None = option(None, HALF_HELP, type=HALF)
    per_type: int = option(4, "Journeys of a type, at most.", type=click.IntRange(1))
    surer_than: tuple[float, ...] = option(
        (), "Show the student's title where its mean log-probability is above this, too.", multiple=True, type=float
    )
    names: Path | None = option(None, "File for all names, as tab-separated text.", type=FILE)

    def measure(self, run: Run) -> Result:
        """Name journeys by each method, and compare with what they truly are."""
        world = run.world(users=self.users, days=self.days, seed=self.seed, half=self.half)
        embedder = run.vectors.embedder
        with run.step("keywords and their names"):
            corpus = world_corpus(world, run.settings, run.vectors)
            found = evaluate_naming(corpus, world_history(world, run.settings), run.settings, run.vectors).names
            keywords = clustered_keywords(corpus, run.settings)
            journeys = drawn_journeys(found[SHIPPED], keywords, per_type=self.per_type)
        with run.step("student") as advance:
            student = Student(self.student.resolve())
            asked = journeys["title_keywords"].to_list()
            written = student.write(asked, progress=lambda done: advance(done / len(asked)))
        names = _names(journeys, found[SHIPPED], written, surer_than=self.surer_than)
        scored = _scored(journeys, found, names, embedder)
        if self.names is not None:
            _write_names(self.names, scored, written, journeys)
        report = _report(scored)
        faults = _faults(journeys, written)
        gains = _gains(scored)
        notes = [
            f"{faults['no_title']:.1%} said to be no journey, {faults['malformed']:.1%} malformed, "
            f"{faults['ungrounded']:.1%} of the others ungrounded"
        ]
        figures = {"seed": self.seed, "half": self.half, "types": journeys["true_name"].n_unique(), **faults}
        title = f"{len(journeys)} journeys of {figures['types']} types, seed {self.seed}; means over types"
        return Result(
            figures | {"namers": report, "gains": gains}, {title: report, "more than what is shipped": gains}, notes
        )


def unlike_types(pairs: pl.DataFrame, *, half: Half, embedder: TextEmbedder) -> pl.DataFrame:
    """Pairs whose title is not alike, at a cosine of `ALIKE` and more, to any journey type of a half."""
    types = [kind.name.lower() for kind in read_catalogue().journeys if kind.half == half]
    titles = pairs["title"].str.to_lowercase().unique().drop_nulls().sort()
    nearest = (embedder.embed(titles.to_list()) @ embedder.embed(types).T).max(axis=1)
    alike = titles.filter(pl.Series(nearest >= ALIKE))
    return pairs.filter(~pl.col("title").str.to_lowercase().is_in(alike.implode()).fill_null(value=False))


def drawn_journeys(named: pl.DataFrame, keywords: pl.DataFrame, *, per_type: int) -> pl.DataFrame:
    """Journeys whose true name is known, so many of each type.

    Parameters
    ----------
    named : DataFrame
        Columns ``user_id``, ``journey_id``, ``true_name``, ``is_covered``.
    keywords : DataFrame
        As `title_keywords` takes it.

    Returns
    -------
    DataFrame
        The columns of both, sorted.
    """
    return (
        named.select(*_JOURNEY, "true_name", "is_covered")
        .join(title_keywords(keywords), on=_JOURNEY)
        .sort(_JOURNEY)
        .filter(pl.int_range(pl.len()).shuffle(seed=0).over("true_name") < per_type)
    )


def _names(
    journeys: pl.DataFrame, best: pl.DataFrame, written: list[Written], *, surer_than: tuple[float, ...]
) -> dict[str, list[str]]:
    """The student's name of each journey: all of its titles, and those that it is surer of; else the best keyword."""
    words = journeys.join(best.select(*_JOURNEY, "name"), on=_JOURNEY, how="left", maintain_order="left")["name"]
    titles = [well_formed(each.title) for each in written]
    limits = {STUDENT: -math.inf, **{f"student above {limit:g}": limit for limit in surer_than}}
    return {
        namer: [
            title if title and each.log_probability > limit else word
            for title, each, word in zip(titles, written, words, strict=True)
        ]
        for namer, limit in limits.items()
    }


def _scored(
    journeys: pl.DataFrame, found: Mapping[str, pl.DataFrame], names: Mapping[str, list[str]], embedder: TextEmbedder
) -> pl.DataFrame:
    """One row per namer and journey: ``true_name``, ``name``, ``is_covered``, and the measures."""
    columns = [*_JOURNEY, "true_name", "name", *MEASURES]
    own = {namer: journeys.select(*_JOURNEY, "true_name", name=pl.Series(texts)) for namer, texts in names.items()}
    judged = {**found, **judged_names(own, embedder)}
    scored = pl.concat(
        [
            journeys.select(*_JOURNEY, "is_covered", namer=pl.lit(namer)).join(
                rows.select(columns), on=_JOURNEY, how="left", maintain_order="left"
            )
            for namer, rows in judged.items()
        ]
    )
    both = scored.filter(pl.col("namer").is_in([SHIPPED, STUDENT]))
    hindsight = both.sort("cosine", descending=True, maintain_order=True).unique(_JOURNEY, keep="first")
    return pl.concat([scored, hindsight.with_columns(namer=pl.lit(HINDSIGHT))])


def _by_type(scored: pl.DataFrame) -> pl.DataFrame:
    return (
        scored.group_by("namer", "is_covered", "true_name", maintain_order=True)
        .agg(pl.len().alias("journeys"), *(pl.col(measure).mean() for measure in MEASURES))
        .sort("namer", "true_name")
    )


_TYPES = {"all types": pl.lit(value=True), "covered": pl.col("is_covered"), "not covered": ~pl.col("is_covered")}
"""Types by whether the library holds a title like their name."""


def _report(scored: pl.DataFrame) -> pl.DataFrame:
    """Means over types of each namer, of all types and by whether the library covers them."""
    by_type = _by_type(scored)
    rows = [
        {"namer": namer, "types": part, "journeys": int(of["journeys"].sum()), **intervals(of, MEASURES)}
        for namer in scored["namer"].unique(maintain_order=True)
        for part, chosen in _TYPES.items()
        if len(of := by_type.filter(chosen, pl.col("namer") == namer))
    ]
    return pl.DataFrame(rows)


def _gains(scored: pl.DataFrame) -> pl.DataFrame:
    """What each namer has more than the keyword, over types, with intervals."""
    by_type = _by_type(scored)
    words = by_type.filter(pl.col("namer") == SHIPPED)
    rows = []
    for namer in scored["namer"].unique(maintain_order=True):
        for part, chosen in _TYPES.items():
            ours, theirs = (of.filter(chosen) for of in (by_type.filter(pl.col("namer") == namer), words))
            if namer == SHIPPED or ours.is_empty():
                continue
            row: dict[str, object] = {"namer": namer, "types": part}
            for measure in MEASURES:
                gain = bootstrap_mean(ours[measure] - theirs[measure])
                row |= {measure: gain.value, f"{measure}_low": gain.low, f"{measure}_high": gain.high}
            rows.append(row)
    return pl.DataFrame(rows)


def _faults(journeys: pl.DataFrame, written: list[Written]) -> dict[str, float]:
    """Shares of what a student wrote: no title, malformed, and, of what is left, ungrounded."""
    shown = [well_formed(each.title) for each in written]
    titles = [(title, words) for title, words in zip(shown, journeys["title_keywords"], strict=True) if title]
    malformed = sum(title is None and each.title is not None for title, each in zip(shown, written, strict=True))
    return {
        "no_title": sum(each.title is None for each in written) / len(written),
        "malformed": malformed / len(written),
        "ungrounded": sum(not is_grounded(title, words.to_list()) for title, words in titles) / max(len(titles), 1),
    }


def _write_names(file: Path, scored: pl.DataFrame, written: list[Written], journeys: pl.DataFrame) -> None:
    columns = {namer: scored.filter(namer=namer)["name"] for namer in (SHIPPED, STUDENT)}
    journeys.select(
        "true_name",
        **columns,
        log_probability=pl.Series([each.log_probability for each in written]),
        keywords=pl.col("title_keywords").list.join(" | "),
    ).write_csv(file, separator="\t")
