"""Whether the name that is picked is the one the journey has, on the simulated world; and whether names rest."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

import click
import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.inference.clustering import cluster_keywords, strongest_keywords
from journeys_dagster.inference.embedding import TextEmbedder
from journeys_dagster.inference.members import number_journeys
from journeys_dagster.inference.naming import name_journeys
from journeys_dagster.monitoring.bootstrap import Mean, bootstrap_gain
from journeys_dagster.settings import Settings
from journeys_dagster.training.history import History, KeywordVectors
from lab.benchmark import HALF, HALF_HELP, Result, Run, argument, option
from lab.evaluation.corpora import Corpus, read_log, world_corpus, world_history
from lab.evaluation.identity import Step, snapshots, steps_of
from lab.evaluation.statistics import gain_text, intervals, majority
from lab.simulation.journey_types import Half

MEASURES = ("exact", "cosine", "alike")
SHIPPED = "shipped"
ALIKE = 0.7
"""Cosine from which a picked name counts as meaning the true one."""
MIN_KEYWORDS = 3
"""Of journeys with one keyword or two there is little to choose."""
_JOURNEY = ["user_id", "journey_id"]
_COMPARED = ("name", "name_before", "members", "members_before")


@dataclass(frozen=True)
class Naming:
    """Whether journeys get the name they have, and keep it.

    Against the true names of a simulated world, beside simpler methods to pick a keyword; or, of UCI Online Retail
    (Parquet at PATH), how often journeys keep their name from day to day.
    """

    name: ClassVar[str] = "naming"
    path: Path | None = argument(required=False)
    users: int = option(500, "Of the simulated world.", type=click.IntRange(1))
    days: int = option(60, "Of the simulated world, or the last ones of PATH.", type=click.IntRange(1))
    seed: int = option(31, type=int)
    half: Half | None = option(None, HALF_HELP, type=HALF)

    def measure(self, run: Run) -> Result:
        """Name journeys, and compare the names."""
        if self.path is not None:
            history = read_log(self.path, run.settings)
            last = history.span[1]
            steps = steps_of(history, first=last - timedelta(days=self.days), last=last, days=1)
            with run.step("replay") as advance:
                found = name_stability(history, steps, run.settings, run.vectors, progress=advance)
            return Result(found, {f"the days up to {last}": pl.DataFrame([found])})
        world = run.world(users=self.users, days=self.days, seed=self.seed, half=self.half)
        with run.step("keywords, embeddings and names"):
            corpus = world_corpus(world, run.settings, run.vectors)
            history = world_history(world, run.settings)
            report, gains = evaluate_naming(corpus, history, run.settings, run.vectors.embedder)
        return Result(
            {"seed": self.seed, "half": self.half, "namers": report, "cosine_gains": gains},
            {f"journeys of three keywords and more; {self.users} users, seed {self.seed}": report},
            ["cosine higher by " + ", ".join(f"{gain_text(gain)} than {name}" for name, gain in gains.items())],
        )


def name_in(
    history: History, members: pl.DataFrame, settings: Settings, former: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Name journeys of a history, with everyone's clusters that are kept in it.

    Parameters
    ----------
    members : DataFrame
        As `name_journeys` takes it, with ``sources`` (list of str) in place of ``is_searched``.
    former : DataFrame, optional
        As `name_journeys` takes it.
    """
    newest = history.query("select max(as_of) as as_of from clusters", {})["as_of"][0]
    known = history.rows_of("keyword_centrality", newest)
    usual = known["usual"].max() or 0.0
    searched = members.with_columns(is_searched=pl.col("sources").list.contains("search"))
    journeys, keywords = number_journeys(searched)
    return name_journeys(journeys, keywords, settings.naming, known=known, usual=usual, former=former)  # type: ignore[arg-type]


def evaluate_naming(
    corpus: Corpus, history: History, settings: Settings, embedder: TextEmbedder
) -> tuple[pl.DataFrame, dict[str, Mean]]:
    """Name the journeys found in a corpus by each method to pick a keyword, and compare with what they truly are.

    The true name of a journey is that of most of its keywords' weight. Journeys of `MIN_KEYWORDS` and more count.

    Returns
    -------
    report : DataFrame
        One row per method: ``namer``, ``journeys``, and for each of `MEASURES` its mean over users with ``_low`` and
        ``_high``: ``exact`` (the true name, whatever its capitals), ``cosine`` (of the embeddings of both names) and
        ``alike`` (a cosine of `ALIKE` or more). ``best possible`` always picks the keyword nearest to the true name.
    gains : dict of str to Mean
        How much larger the cosine of what is shipped is than each other's, as a share.
    """
    keywords = _truly_named(_clustered(corpus, settings), corpus, embedder)
    everyone = keywords.with_columns(as_of=pl.lit(history.span[1]))
    history.keep("clusters", everyone.select("as_of", "user_id", "keyword", "centroid_similarity"))
    shipped = name_in(history, keywords, settings).select(*_JOURNEY, "keyword")
    methods = {SHIPPED: keywords.join(shipped, on=[*_JOURNEY, "keyword"], how="semi", maintain_order="left")}
    others = _baseline_scores(keywords, corpus, embedder)
    methods |= {name: _picked(keywords, score) for name, score in others.items()}
    qualities = {name: _quality(rows) for name, rows in methods.items()}
    report = [
        {"namer": name, "journeys": int(quality["journeys"].sum()), **intervals(quality, MEASURES)}
        for name, quality in qualities.items()
    ]
    ours = qualities.pop(SHIPPED)["cosine"]
    return pl.DataFrame(report), {name: bootstrap_gain(ours, other["cosine"]) for name, other in qualities.items()}


def _clustered(corpus: Corpus, settings: Settings) -> pl.DataFrame:
    strongest = strongest_keywords(corpus.keywords, limit=settings.clusters.max_keywords_per_user)
    return (
        cluster_keywords(strongest, corpus.vectors, settings.clusters)
        .rename({"cluster": "journey_id"})
        .with_columns(pl.col("journey_id").cast(pl.String), keywords=pl.len().over("user_id", "journey_id"))
        .sort(*_JOURNEY, "keyword")
    )


def _truly_named(keywords: pl.DataFrame, corpus: Corpus, embedder: TextEmbedder) -> pl.DataFrame:
    """Keywords with ``true_name`` of their journey and ``cosine`` to it; journeys of nothing but noise have none."""
    true = majority(keywords, _JOURNEY, pl.col("weight").sum()).select(
        *_JOURNEY, true_name=pl.col("truth").str.to_lowercase()
    )
    rows = keywords.join(true, on=_JOURNEY, how="left", maintain_order="left")
    names = true["true_name"].unique().sort()
    vectors = embedder.embed(names.to_list())
    places = names.search_sorted(rows["true_name"].fill_null(names[0])).to_numpy()
    cosine = np.einsum("ij,ij->i", corpus.vectors[rows["code"].to_numpy()], vectors[places], dtype=np.float64)
    return rows.with_columns(cosine=pl.Series(cosine))


def _baseline_scores(
    keywords: pl.DataFrame, corpus: Corpus, embedder: TextEmbedder
) -> Mapping[str, pl.Expr | NDArray[np.float64]]:
    """Simple methods to score a journey's keywords."""
    users = keywords["user_id"].n_unique()
    rarity = (users / pl.col("user_id").n_unique().over("keyword")).log()
    # KeyBERT (Grootendorst 2020): candidates by their cosine to the whole text's embedding.
    texts = keywords.group_by(_JOURNEY, maintain_order=True).agg(text=pl.col("keyword").str.join(", "))
    documents = embedder.embed(texts["text"].to_list())
    place = keywords.select(place=pl.struct(_JOURNEY).rle_id())["place"].to_numpy()
    keybert = np.einsum("ij,ij->i", corpus.vectors[keywords["code"].to_numpy()], documents[place], dtype=np.float64)
    return {
        "nearest to the centroid": pl.col("centroid_similarity"),
        "most frequent": pl.col("weight"),
        "tf-idf": pl.col("weight") * rarity,
        "KeyBERT": keybert,
        "best possible": pl.col("cosine"),
    }


def _picked(keywords: pl.DataFrame, score: pl.Expr | NDArray[np.float64]) -> pl.DataFrame:
    scored = keywords.with_columns(score=score if isinstance(score, pl.Expr) else pl.Series(score))
    return scored.sort(*_JOURNEY, "score", "keyword", descending=[False, False, True, False]).unique(
        _JOURNEY, keep="first", maintain_order=True
    )


def _quality(picked: pl.DataFrame) -> pl.DataFrame:
    return (
        picked.filter(pl.col("true_name").is_not_null(), pl.col("keywords") >= MIN_KEYWORDS)
        .group_by("user_id")
        .agg(
            journeys=pl.len(),
            exact=(pl.col("keyword") == pl.col("true_name")).mean(),
            cosine=pl.col("cosine").mean(),
            alike=(pl.col("cosine") >= ALIKE).mean(),
        )
        .sort("user_id")
    )


def name_stability(
    history: History,
    steps: Sequence[Step],
    settings: Settings,
    vectors: KeywordVectors,
    *,
    progress: Callable[[float], None] | None = None,
) -> dict[str, float]:
    """How often a journey that goes on keeps its name from one snapshot of its user to the next.

    What is known of everyone is that of the first step. ``unchanged_journeys`` have the same keywords as before.
    """
    names = pl.DataFrame()
    compared = []
    for step, snapshot, _ in snapshots(history, steps, settings, vectors, progress=progress):
        first = names.is_empty()
        if first:
            history.keep("clusters", snapshot.with_columns(as_of=pl.lit(step.as_of)))
        members = snapshot.select(*_JOURNEY, "keyword", "weight", "events", "sources", "centroid_similarity")
        kept = pl.col("keyword").sort().str.join("\n").alias("members")
        named = name_in(history, members, settings, None if first else names).select(*_JOURNEY, "name", "keyword")
        new = named.join(members.group_by(_JOURNEY).agg(kept), on=_JOURNEY)
        if first:
            names = new
            continue
        compared.append(new.join(names, on=_JOURNEY, suffix="_before"))
        names = pl.concat([names.join(new.select("user_id").unique(), on="user_id", how="anti"), new])
    rows = pl.concat(compared) if compared else pl.DataFrame(schema=dict.fromkeys(_COMPARED, pl.String))
    same = pl.col("name") == pl.col("name_before")
    unchanged = rows.filter(pl.col("members") == pl.col("members_before"))
    return {
        "journeys": len(rows),
        "kept_share": len(rows.filter(same)) / max(len(rows), 1),
        "unchanged_journeys": len(unchanged),
        "unchanged_kept_share": len(unchanged.filter(same)) / max(len(unchanged), 1),
    }
