"""Benchmarks of clusters: whether keywords are grouped as people would group them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import click
import polars as pl

from lab.benchmark import FILE, HALF, HALF_HELP, Result, Run, argument, option
from lab.evaluation.clusterers import Baselines, journey_trees, journeys
from lab.evaluation.corpora import Corpus, search_corpus, world_corpus
from lab.evaluation.metrics import MEASURES, agreement
from lab.evaluation.plots import threshold_curve
from lab.evaluation.statistics import intervals
from lab.evaluation.validation import cross_validate
from lab.importers.search_missions import read_search_missions
from lab.simulation.journey_types import Half

_BASELINES = "The same for sessions, tf-idf and the embedding alone."


@dataclass(frozen=True)
class SearchMissions:
    """Journeys against the missions that annotators drew in search logs (format of Webis-SMC-12)."""

    name: ClassVar[str] = "search-missions"
    path: Path = argument()
    baselines: bool = option(default=False, help=_BASELINES)
    cross_validate: bool = option(default=False, help="Fit settings on some users and score the others, five-fold.")
    per_user: Path | None = option(None, "Write one CSV line per user, without texts.", type=FILE)

    def measure(self, run: Run) -> Result:
        """Cluster queries, and compare them with missions."""
        clusters = run.settings.clusters
        with run.step("keywords and embeddings"):
            corpus = search_corpus(read_search_missions(self.path), run.settings, run.vectors)
        scores = agreement(journeys(corpus, clusters))
        if self.per_user is not None:
            numbered = scores.with_row_index("user", offset=1).drop("user_id")
            numbered.rename({"keywords": "queries", "true_clusters": "missions"}).write_csv(self.per_user)
        validated: dict[str, pl.DataFrame] = {}
        if self.cross_validate:
            with run.step("cross-validate") as advance:
                validated = cross_validate(corpus, progress=advance)
        report = {"users": len(scores), "queries": int(scores["keywords"].sum())}

        def curve() -> bytes:
            trees = journey_trees(corpus, clusters), Baselines(corpus).embedding_only
            title = "Agreement with annotated search missions"
            return threshold_curve(*trees, shipped=clusters.distance_threshold, title=title)

        title = f"{report['users']} users, {report['queries']:,} distinct queries"
        found = _result(report, _compared(corpus, scores, baselines=self.baselines), validated, title=title)
        return Result(found.figures, found.tables, plots={"threshold-curve": curve})


@dataclass(frozen=True)
class Clusters:
    """Clusters of keywords against the journeys of a simulated world, in memory."""

    name: ClassVar[str] = "clusters"
    users: int = option(500, type=click.IntRange(1))
    days: int = option(60, type=click.IntRange(1))
    seed: int = option(23, type=int)
    half: Half | None = option(None, HALF_HELP, type=HALF)
    baselines: bool = option(default=False, help=_BASELINES)

    def measure(self, run: Run) -> Result:
        """Cluster keywords, and compare them with true journeys."""
        world = run.world(users=self.users, days=self.days, seed=self.seed, half=self.half)
        with run.step("keywords and embeddings"):
            corpus = world_corpus(world, run.settings, run.vectors)
        scores = agreement(journeys(corpus, run.settings.clusters))
        report = {
            "users": len(scores),
            "keywords": int(scores["keywords"].sum()),
            "keywords_of_noise": int(corpus.keywords["truth"].null_count()),
            "seed": self.seed,
            "half": self.half,
        }
        title = f"simulated world of {self.users} users, seed {self.seed}: {report['keywords']:,} keywords"
        return _result(report, _compared(corpus, scores, baselines=self.baselines), {}, title=title)


def _compared(corpus: Corpus, ours: pl.DataFrame, *, baselines: bool) -> dict[str, pl.DataFrame]:
    others = Baselines(corpus).at_fixed_thresholds() if baselines else {}
    return {"journeys": ours} | {name: agreement(clusters) for name, clusters in others.items()}


def _result(
    report: Mapping[str, Any],
    methods: Mapping[str, pl.DataFrame],
    validated: Mapping[str, pl.DataFrame],
    *,
    title: str,
) -> Result:
    """Agreement by method, the journeys' means at the top of the figures."""
    rows, left_out = _means(methods), _means(validated)
    ours = rows.row(0, named=True)
    ends = {m: {"value": ours[m], "low": ours[f"{m}_low"], "high": ours[f"{m}_high"]} for m in MEASURES}
    figures: dict[str, Any] = {**report, **{measure: ours[measure] for measure in MEASURES}, "intervals": ends}
    tables = {f"{title}; shipped settings (95 % interval over users)": rows}
    if len(rows) > 1:
        figures["baselines"] = _by_name(rows[1:])
    if validated:
        figures["cross_validation"] = _by_name(left_out)
        tables["five-fold cross-validation, three times: fitted on the other users"] = left_out
    return Result(figures, tables)


def _means(methods: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Means over users; of a user that was scored several times, its own mean counts once."""
    of_users = {
        name: scores.group_by("user_id").agg(pl.col(MEASURES).mean()).sort("user_id")
        for name, scores in methods.items()
    }
    return pl.DataFrame([{"clusterer": name, **intervals(scores, MEASURES)} for name, scores in of_users.items()])


def _by_name(rows: pl.DataFrame) -> dict[str, dict[str, float]]:
    return {row["clusterer"]: {measure: row[measure] for measure in MEASURES} for row in rows.iter_rows(named=True)}
