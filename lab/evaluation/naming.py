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
from journeys_dagster.inference.embedding import BUNDLED_MODEL, TextEmbedder, embedder_of_process
from journeys_dagster.inference.members import journey_weight_units, number_journeys
from journeys_dagster.inference.naming import name_journeys
from journeys_dagster.inference.titles import apply_titles
from journeys_dagster.monitoring.bootstrap import Mean
from journeys_dagster.settings import Settings
from journeys_dagster.training.history import History, KeywordVectors
from lab.benchmark import FILE, HALF, HALF_HELP, Result, Run, argument, option
from lab.evaluation.corpora import Corpus, read_log, world_corpus, world_history
from lab.evaluation.identity import Step, snapshots, steps_of
from lab.evaluation.naming_quality import SHIPPED, Found
from lab.evaluation.statistics import majority
from lab.naming.fit import Pairs, examples_of, fit_chooser, save_library
from lab.naming.name_candidates import LIBRARY, PHRASE, name_candidates
from lab.naming.name_chooser import MODEL, chosen_titles, named_members
from lab.naming.title_library import GRID, TitleLibrary, bundled_library, library_of
from lab.simulation.journey_types import Half
from lab.teacher.pairs import load_pairs

ALIKE = 0.7
"""Cosine from which a picked name counts as meaning the true one."""
MIN_KEYWORDS = 3
"""Of journeys with one keyword or two there is little to choose."""
_WORLDS = 3
LIBRARY_AND_TREES = "library and trees"
_JOURNEY = ["user_id", "journey_id"]
_COMPARED = ("name", "name_before", "members", "members_before")


@dataclass(frozen=True)
class Naming:
    """Whether journeys get the name they have, and keep it.

    Against the true names of a simulated world, beside simpler methods to pick a keyword; or, of UCI Online Retail
    (Parquet at PATH), how often journeys keep their name from day to day.

    With --refit-to, the library of titles is made anew from the pairs by hand, and the trees that choose learn from
    these and from simulated people. The shipped ones are of `--half tune --seed 41`.
    """

    name: ClassVar[str] = "naming"
    path: Path | None = argument(required=False)
    users: int = option(500, "Of the simulated world.", type=click.IntRange(1))
    days: int = option(60, "Of the simulated world, or the last ones of PATH.", type=click.IntRange(1))
    seed: int = option(31, type=int)
    half: Half | None = option(None, HALF_HELP, type=HALF)
    refit_to: Path | None = option(
        None, "Make library and trees anew, from this seed's world and the next two, into this folder.", type=FILE
    )

    def measure(self, run: Run) -> Result:
        """Name journeys, and compare the names."""
        if self.path is not None:
            history = read_log(self.path, run.settings)
            last = history.span[1]
            steps = steps_of(history, first=last - timedelta(days=self.days), last=last, days=1)
            with run.step("replay") as advance:
                found = name_stability(history, steps, run.settings, run.vectors, progress=advance)
            return Result(found, {f"the days up to {last}": pl.DataFrame([found])})
        if self.refit_to is not None:
            return self._refit(run, self.refit_to)
        world = run.world(users=self.users, days=self.days, seed=self.seed, half=self.half)
        with run.step("keywords, embeddings and names"):
            corpus = world_corpus(world, run.settings, run.vectors)
            found = evaluate_naming(corpus, world_history(world, run.settings), run.settings, run.vectors)
        reports = {
            "all": found.report(),
            "covered": found.report(covered=True),
            "not covered": found.report(covered=False),
        }
        gains = {
            types: found.gains(LIBRARY_AND_TREES, covered=covered)
            for types, covered in (("all", None), ("covered", True), ("not covered", False))
        }
        title = f"journeys of three keywords and more; {self.users} users, seed {self.seed}"
        return Result(
            {"seed": self.seed, "half": self.half, "namers": reports["all"], "by_types": reports, "gains": gains},
            {f"{title}: {types}": report for types, report in reports.items()},
            [f"{LIBRARY_AND_TREES} above what is shipped, {types}: {_gain_text(of)}" for types, of in gains.items()],
        )

    def _refit(self, run: Run, folder: Path) -> Result:
        """Make what chooses names anew."""
        with run.step("pairs"):
            pairs = Pairs(load_pairs(), run.vectors.embedder, run.settings)
            library = save_library(pairs.library(), folder)
            examples = [pairs.examples()]
        for seed in range(self.seed, self.seed + _WORLDS):
            world = run.world(users=self.users, days=self.days, seed=seed, half=self.half)
            with run.step("keywords, embeddings and candidates"):
                corpus = world_corpus(world, run.settings, run.vectors)
                keywords = _truly_named(clustered_keywords(corpus, run.settings), corpus, run.vectors.embedder)
                history = world_history(world, run.settings)
                _keep_clusters(history, keywords)
                found = _candidates(history, keywords, run.settings, run.vectors, library)
                examples.append(_known_examples(found, keywords, run.vectors.embedder))
        fit_chooser(examples).save_model(folder / MODEL.name)
        figures = {"titles": len(library.titles), "pairs": len(library.keys), "candidates": sum(map(len, examples))}
        return Result(figures, {f"written to {folder}": pl.DataFrame([figures])})


def _known_examples(found: pl.DataFrame, keywords: pl.DataFrame, embedder: TextEmbedder) -> pl.DataFrame:
    """Candidates of journeys that have a true name, as examples."""
    true = keywords.select(*_JOURNEY, "true_name").drop_nulls().unique().sort(_JOURNEY)
    known = found.drop("journey").join(true, on=_JOURNEY, maintain_order="left")
    numbers, numbered = number_journeys(known)
    names = numbers.join(true, on=_JOURNEY, how="left", maintain_order="left")["true_name"]
    return examples_of(numbered, names, embedder)


def _gain_text(gains: Mapping[str, Mean]) -> str:
    return ", ".join(f"{name} {gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})" for name, gain in gains.items())


def name_in(
    history: History,
    members: pl.DataFrame,
    settings: Settings,
    vectors: KeywordVectors | None = None,
    former: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Name journeys of a history, with everyone's clusters that are kept in it.

    Parameters
    ----------
    members : DataFrame
        As `name_journeys` takes it, with ``sources`` (list of str) in place of ``is_searched``.
    vectors : KeywordVectors, optional
        Names are chosen by library and trees, in place of the product's way.
    former : DataFrame, optional
        What this gave for the snapshots before.
    """
    newest = history.query("select max(as_of) as as_of from clusters", {})["as_of"][0]
    known = history.rows_of("keyword_centrality", newest)
    usual: float = known["usual"].max() or 0.0  # type: ignore[assignment]
    searched = members.with_columns(is_searched=pl.col("sources").list.contains("search"))
    journeys, keywords = number_journeys(searched)
    named = name_journeys(journeys, keywords, settings.naming, known=known, usual=usual, former=former)
    if vectors is None:
        return named
    titles = chosen_titles(
        *(journeys, vectors.code(keywords), vectors.vectors, named, settings.naming),
        library=library_of(_titles_by(vectors)),
        known=known,
        usual=usual,
        former=former,
    )
    weights = journeys.with_columns(weight_units=pl.Series(journey_weight_units(keywords, len(journeys))))
    return apply_titles(named, titles, weights, namer=LIBRARY_AND_TREES)


def _titles_by(vectors: KeywordVectors) -> pl.DataFrame:
    """Vectors of the library's titles by another model than the bundled one."""
    is_bundled = vectors.embedder.identity == embedder_of_process(BUNDLED_MODEL).identity
    texts = [] if is_bundled else list(bundled_library().texts)
    coded = vectors.code(pl.DataFrame({"keyword": texts}, schema={"keyword": pl.String}))
    embedding = pl.Series(vectors.vectors[coded["code"].to_numpy()].tolist(), dtype=pl.List(pl.Float32))
    return coded.select("keyword").with_columns(embedding=embedding)


def evaluate_naming(corpus: Corpus, history: History, settings: Settings, vectors: KeywordVectors) -> Found:
    """Name the journeys found in a corpus by each method, and compare with what they truly are.

    The true name of a journey is that of most of its keywords' weight. Journeys of `MIN_KEYWORDS` and more count.
    """
    embedder = vectors.embedder
    keywords = _truly_named(clustered_keywords(corpus, settings), corpus, embedder)
    _keep_clusters(history, keywords)
    counted = keywords.filter(pl.col("true_name").is_not_null(), pl.col("keywords") >= MIN_KEYWORDS)
    journeys = counted.select(*_JOURNEY, "true_name").unique().sort(_JOURNEY)
    shipped = name_in(history, keywords, settings)
    candidates = _candidates(history, keywords, settings, vectors, library_of(_titles_by(vectors)))
    methods = {
        SHIPPED: shipped,
        LIBRARY_AND_TREES: name_in(history, keywords, settings, vectors),
    }
    methods |= {name: _picked(keywords, score) for name, score in _baseline_scores(keywords, corpus, embedder).items()}
    methods |= {f"{source} where there is one": rows for source, rows in _by_source(candidates, shipped).items()}
    names = {
        name: journeys.join(rows.select(*_JOURNEY, "name"), on=_JOURNEY, how="left") for name, rows in methods.items()
    }
    judged = judged_names(names, embedder)
    judged["best possible"] = _best_possible(candidates, journeys, embedder)
    covered = _covered(journeys["true_name"], vectors)
    return Found({name: rows.with_columns(is_covered=covered) for name, rows in judged.items()})


def _keep_clusters(history: History, keywords: pl.DataFrame) -> None:
    everyone = keywords.with_columns(as_of=pl.lit(history.span[1]))
    history.keep("clusters", everyone.select("as_of", "user_id", "keyword", "centroid_similarity"))


def _candidates(
    history: History,
    keywords: pl.DataFrame,
    settings: Settings,
    vectors: KeywordVectors,
    library: TitleLibrary,
) -> pl.DataFrame:
    """The chooser's candidates of a corpus, with user and journey."""
    newest = history.query("select max(as_of) as as_of from clusters", {})["as_of"][0]
    known = history.rows_of("keyword_centrality", newest)
    searched = keywords.with_columns(is_searched=pl.col("sources").list.contains("search"))
    journeys, numbered = number_journeys(searched)
    usual: float = known["usual"].max() or 0.0  # type: ignore[assignment]
    coded = vectors.code(numbered)
    members, numbers = named_members(coded, vectors.vectors, settings.naming, known=known, usual=usual)
    found = name_candidates(members, library)
    return pl.concat([journeys[numbers][found["journey"]], found], how="horizontal")


def _by_source(candidates: pl.DataFrame, best: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """The nearest phrase, and the nearest title, of each journey that has one; else its best keyword."""
    rows = {}
    for number, source in enumerate((PHRASE, LIBRARY), start=1):
        chosen = (
            candidates.filter(pl.col("source") == number)
            .sort(*_JOURNEY, "closeness", "name", descending=[False, False, True, False])
            .unique(_JOURNEY, keep="first", maintain_order=True)
            .select(*_JOURNEY, chosen="name")
        )
        rows[source] = best.join(chosen, on=_JOURNEY, how="left").with_columns(name=pl.coalesce("chosen", "name"))
    return rows


def judged_names(names: Mapping[str, pl.DataFrame], embedder: TextEmbedder) -> dict[str, pl.DataFrame]:
    """Each journey's name by each method, with `MEASURES`; whatever the capitals."""
    lower = {name: rows.with_columns(pl.col("name").str.to_lowercase()) for name, rows in names.items()}
    texts = pl.concat([pl.concat([rows["name"], rows["true_name"]]) for rows in lower.values()]).unique().sort()
    vectors = embedder.embed(texts.to_list())
    judged = {}
    for name, rows in lower.items():
        places = (texts.search_sorted(rows[column]).to_numpy() for column in ("name", "true_name"))
        cosine = np.einsum("ij,ij->i", *(vectors[place] for place in places), dtype=np.float64)
        is_exact = rows["name"] == rows["true_name"]
        judged[name] = rows.with_columns(
            exact=is_exact.cast(pl.Float64),
            cosine=pl.Series(cosine),
            alike=(is_exact | pl.Series(cosine >= ALIKE)).cast(pl.Float64),
        )
    return judged


def _best_possible(candidates: pl.DataFrame, journeys: pl.DataFrame, embedder: TextEmbedder) -> pl.DataFrame:
    """The candidate that is nearest to the true name."""
    rows = candidates.select(*_JOURNEY, "name").join(journeys, on=_JOURNEY)
    return (
        judged_names({"": rows}, embedder)[""]
        .sort(*_JOURNEY, "exact", "cosine", "name", descending=[False, False, True, True, False])
        .unique(_JOURNEY, keep="first", maintain_order=True)
    )


def _covered(true_names: pl.Series, vectors: KeywordVectors) -> pl.Series:
    """Whether the library has a title like the name."""
    names = true_names.unique().sort()
    titles = library_of(_titles_by(vectors)).vectors / GRID
    is_covered = (vectors.embedder.embed(names.to_list()) @ titles.T).max(axis=1) >= ALIKE
    return pl.Series(is_covered[names.search_sorted(true_names).to_numpy()])


def clustered_keywords(corpus: Corpus, settings: Settings) -> pl.DataFrame:
    """The keywords of a corpus with ``journey_id``, and ``keywords``, how many the journey has."""
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
        "best keyword possible": pl.col("cosine"),
    }


def _picked(keywords: pl.DataFrame, score: pl.Expr | NDArray[np.float64]) -> pl.DataFrame:
    scored = keywords.with_columns(score=score if isinstance(score, pl.Expr) else pl.Series(score))
    best = scored.sort(*_JOURNEY, "score", "keyword", descending=[False, False, True, False])
    return best.unique(_JOURNEY, keep="first", maintain_order=True).with_columns(name="keyword")


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
        before = None if first else names
        named = name_in(history, members, settings, former=before).select(*_JOURNEY, "name", "keyword")
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
