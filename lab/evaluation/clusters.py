"""Benchmarks of clusters: whether keywords are grouped as people would group them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import click
import polars as pl

from lab.benchmark import FILE, HALF, HALF_HELP, Result, Run, argument, option
from lab.evaluation.clusterers import Baselines, journey_trees, journeys
from lab.evaluation.corpora import Corpus, is_purchases, search_corpus, world_corpus
from lab.evaluation.metrics import MEASURES, agreement
from lab.evaluation.mixing import clusters_per_user, mixed_corpus, same_person
from lab.evaluation.plots import threshold_curve
from lab.evaluation.statistics import intervals
from lab.evaluation.validation import leave_one_out, methods
from lab.importers.search_missions import read_search_missions
from lab.simulation.journey_types import Half

_BASELINES = "The same for sessions, tf-idf and the embedding alone."


@dataclass(frozen=True)
class SearchMissions:
    """Journeys against the missions that annotators drew in search logs (format of Webis-SMC-12)."""

    name: ClassVar[str] = "search-missions"
    path: Path = argument()
    baselines: bool = option(default=False, help=_BASELINES)
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
        report = {"users": len(scores), "queries": int(scores["keywords"].sum())}

        def curve() -> bytes:
            trees = journey_trees(corpus, clusters), Baselines(corpus).embedding_only
            title = "Agreement with annotated search missions"
            return threshold_curve(*trees, shipped=clusters.distance_threshold, title=title)

        title = f"{report['users']} users, {report['queries']:,} distinct queries"
        found = _result(report, _compared(corpus, scores, baselines=self.baselines), title=title)
        return Result(found.figures, found.tables, plots={"threshold-curve": curve})


@dataclass(frozen=True)
class Clusters:
    """Clusters of keywords against the journeys of a simulated world, in memory; or several corpora, each left out.

    With PATHS (search missions as tab-separated text; Online Retail as Parquet, mixed) the corpora are those files and
    the world, whose tune half is chosen on and whose report half is told. What is told of a corpus was chosen on the
    others; the mixed customers, who have no truth to choose by, are told what was chosen on all.
    """

    name: ClassVar[str] = "clusters"
    paths: tuple[Path, ...] = argument(nargs=-1, required=False)
    users: int = option(500, type=click.IntRange(1))
    days: int = option(60, type=click.IntRange(1))
    seed: int = option(23, type=int)
    half: Half | None = option(None, f"{HALF_HELP} Both with PATHS.", type=HALF)
    baselines: bool = option(default=False, help=_BASELINES)

    def measure(self, run: Run) -> Result:
        """Cluster keywords, and compare them with true journeys."""
        if self.paths:
            return self._left_out(run)
        corpus = self._world(run, self.half)
        scores = agreement(journeys(corpus, run.settings.clusters))
        report = {
            "users": len(scores),
            "keywords": int(scores["keywords"].sum()),
            "keywords_of_noise": int(corpus.keywords["truth"].null_count()),
            "seed": self.seed,
            "half": self.half,
        }
        title = f"simulated world of {self.users} users, seed {self.seed}: {report['keywords']:,} keywords"
        return _result(report, _compared(corpus, scores, baselines=self.baselines), title=title)

    def _world(self, run: Run, half: Half | None) -> Corpus:
        world = run.world(users=self.users, days=self.days, seed=self.seed, half=half)
        with run.step("keywords and embeddings"):
            return world_corpus(world, run.settings, run.vectors)

    def _left_out(self, run: Run) -> Result:
        missions = [path for path in self.paths if not is_purchases(path)]
        with run.step("keywords and embeddings"):
            # Files of one name in several folders are told apart by the folder.
            corpora = {
                f"{path.parent.name}/{path.stem}": search_corpus(read_search_missions(path), run.settings, run.vectors)
                for path in missions
            }
            purchases = [mixed_corpus(path, run) for path in self.paths if is_purchases(path)]
        corpora["world"], told = self._world(run, "tune"), {"world": self._world(run, "report")}
        rows, kept_apart = [], []
        candidates = methods(run.settings.clusters)
        with run.step("choose and leave out") as advance:
            for place, (method, choices) in enumerate(candidates.items(), start=1):
                found = leave_one_out(corpora, told, choices)
                for name, scores in found.scores.items():
                    row = {"corpus": name, "method": method, **intervals(scores, MEASURES[2:])}
                    rows.append(row | {"chosen": str(found.chosen[name])})
                for mixed in purchases:
                    cut = found.overall.grow(mixed).cut(found.overall.threshold)
                    apart = {"method": method, "same_person": same_person(cut), "clusters": clusters_per_user(cut)}
                    kept_apart.append(apart | {"chosen": str(found.overall)})
                advance(place / len(candidates))
        table, mixing = pl.DataFrame(rows), pl.DataFrame(kept_apart)
        means = table.group_by("method", maintain_order=True).agg(pl.col(MEASURES[2:]).mean())
        sizes = {name: {"users": len(of.users), "keywords": len(of.keywords)} for name, of in (corpora | told).items()}
        tables = {
            f"{name}, left out ({size['users']} users)": table.filter(corpus=name).drop("corpus")
            for name, size in sizes.items()
        }
        tables |= {"mean over corpora": means} | ({"customers mixed": mixing} if purchases else {})
        return Result({"corpora": sizes, "left_out": table, "means": means, "mixing": mixing}, tables)


def _compared(corpus: Corpus, ours: pl.DataFrame, *, baselines: bool) -> dict[str, pl.DataFrame]:
    others = Baselines(corpus).at_fixed_thresholds() if baselines else {}
    return {"journeys": ours} | {name: agreement(clusters) for name, clusters in others.items()}


def _result(report: Mapping[str, Any], found: Mapping[str, pl.DataFrame], *, title: str) -> Result:
    """Agreement by method, the journeys' means at the top of the figures."""
    rows = pl.DataFrame([{"clusterer": name, **intervals(scores, MEASURES)} for name, scores in found.items()])
    ours = rows.row(0, named=True)
    ends = {m: {"value": ours[m], "low": ours[f"{m}_low"], "high": ours[f"{m}_high"]} for m in MEASURES}
    figures: dict[str, Any] = {**report, **{measure: ours[measure] for measure in MEASURES}, "intervals": ends}
    tables = {f"{title}; shipped settings (95 % interval over users)": rows}
    if len(rows) > 1:
        figures["baselines"] = _by_name(rows[1:])
    return Result(figures, tables)


def _by_name(rows: pl.DataFrame) -> dict[str, dict[str, float]]:
    return {row["clusterer"]: {measure: row[measure] for measure in MEASURES} for row in rows.iter_rows(named=True)}
