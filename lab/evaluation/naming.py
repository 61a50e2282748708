"""Whether the name that is picked is the one the journey has, on the simulated world; and whether names rest."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.inference.clustering import cluster_keywords, strongest_keywords
from journeys_dagster.inference.embedding import TextEmbedder
from journeys_dagster.inference.members import number_journeys
from journeys_dagster.inference.naming import name_journeys
from journeys_dagster.monitoring.bootstrap import Mean, bootstrap_gain, bootstrap_mean
from journeys_dagster.settings import Settings
from journeys_dagster.training.history import History, KeywordVectors
from lab.evaluation.corpus import Corpus
from lab.evaluation.identity import Step, infer_step

MEASURES = ("exact", "cosine", "alike")
SHIPPED = "shipped"
ALIKE = 0.7
"""Cosine from which a picked name counts as meaning the true one."""
MIN_KEYWORDS = 3
"""Of journeys with one keyword or two there is little to choose."""
_JOURNEY = ["user_id", "journey_id"]


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
    """Name the journeys found in a corpus by each way to pick a keyword, and compare with what they truly are.

    The true name of a journey is that of most of its keywords' weight. Journeys of `MIN_KEYWORDS` and more count.

    Returns
    -------
    report : DataFrame
        One row per way: ``namer``, ``journeys``, and for each of `MEASURES` its mean over users with ``_low`` and
        ``_high``: ``exact`` (the true name, whatever its capitals), ``cosine`` (of the embeddings of both names) and
        ``alike`` (a cosine of `ALIKE` or more). ``best possible`` always picks the keyword nearest to the true name.
    gains : dict of str to Mean
        How much larger the cosine of what is shipped is than each other way's, as a share.
    """
    keywords = _truly_named(_clustered(corpus, settings), corpus, embedder)
    everyone = keywords.with_columns(as_of=pl.lit(history.span[1]))
    history.keep("clusters", everyone.select("as_of", "user_id", "keyword", "centroid_similarity"))
    shipped = name_in(history, keywords, settings).select(*_JOURNEY, "keyword")
    ways = {SHIPPED: keywords.join(shipped, on=[*_JOURNEY, "keyword"], how="semi", maintain_order="left")}
    ways |= {name: _picked(keywords, score) for name, score in _rival_scores(keywords, corpus, embedder).items()}
    qualities = {name: _quality(rows) for name, rows in ways.items()}
    report = []
    for name, quality in qualities.items():
        row: dict[str, str | int | float] = {"namer": name, "journeys": int(quality["journeys"].sum())}
        for measure in MEASURES:
            mean = bootstrap_mean(quality[measure])
            row |= {measure: mean.value, f"{measure}_low": mean.low, f"{measure}_high": mean.high}
        report.append(row)
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
    true = (
        keywords.filter(pl.col("truth").is_not_null())
        .group_by(*_JOURNEY, "truth")
        .agg(pl.col("weight").sum())
        .sort("weight", "truth", descending=[True, False])
        .unique(_JOURNEY, keep="first", maintain_order=True)
        .select(*_JOURNEY, true_name=pl.col("truth").str.to_lowercase())
    )
    rows = keywords.join(true, on=_JOURNEY, how="left", maintain_order="left")
    names = true["true_name"].unique().sort()
    vectors = embedder.embed(names.to_list())
    places = names.search_sorted(rows["true_name"].fill_null(names[0])).to_numpy()
    cosine = np.einsum("ij,ij->i", corpus.vectors[rows["code"].to_numpy()], vectors[places], dtype=np.float64)
    return rows.with_columns(cosine=pl.Series(cosine))


def _rival_scores(
    keywords: pl.DataFrame, corpus: Corpus, embedder: TextEmbedder
) -> Mapping[str, pl.Expr | NDArray[np.float64]]:
    """Simple ways to score a journey's keywords."""
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


@dataclass(frozen=True)
class NameStability:
    """How often a journey that goes on keeps its name from one snapshot of its user to the next.

    Attributes
    ----------
    journeys, unchanged_journeys : int
        Journeys that went on; those with the same keywords as before.
    kept_share, unchanged_kept_share : float
        Of them, the share with the same name.
    """

    journeys: int
    kept_share: float
    unchanged_journeys: int
    unchanged_kept_share: float


def name_stability(
    history: History,
    steps: Sequence[Step],
    settings: Settings,
    vectors: KeywordVectors,
    *,
    progress: Callable[[float], None] | None = None,
) -> NameStability:
    """Infer and name step by step, as the daily runs do; what is known of everyone is that of the first step."""
    latest = pl.DataFrame(schema={"user_id": pl.String, "keyword": pl.String, "journey_id": pl.String})
    names = pl.DataFrame()
    compared = []
    for done, step in enumerate(steps, start=1):
        if step.users:
            snapshot = infer_step(history, step, settings, vectors, latest)
            if names.is_empty():
                history.keep("clusters", snapshot.with_columns(as_of=pl.lit(step.as_of)))
            members = snapshot.select(*_JOURNEY, "keyword", "weight", "events", "sources", "centroid_similarity")
            kept = pl.col("keyword").sort().str.join("\n").alias("members")
            former = None if names.is_empty() else names
            named = name_in(history, members, settings, former).select(*_JOURNEY, "name", "keyword")
            new = named.join(members.group_by(_JOURNEY).agg(kept), on=_JOURNEY)
            if not names.is_empty():
                compared.append(new.join(names, on=_JOURNEY, suffix="_before"))
                names = names.join(new.select("user_id").unique(), on="user_id", how="anti")
            names = pl.concat([names, new]) if not names.is_empty() else new
            others = latest.join(snapshot.select("user_id").unique(), on="user_id", how="anti")
            latest = pl.concat([others, snapshot.select("user_id", "keyword", "journey_id")])
        if progress is not None:
            progress(done / len(steps))
    if not compared:
        return NameStability(0, 0.0, 0, 0.0)
    rows = pl.concat(compared)
    same = pl.col("name") == pl.col("name_before")
    unchanged = rows.filter(pl.col("members") == pl.col("members_before"))
    return NameStability(
        journeys=len(rows),
        kept_share=_share(rows, same),
        unchanged_journeys=len(unchanged),
        unchanged_kept_share=_share(unchanged, same),
    )


def _share(rows: pl.DataFrame, condition: pl.Expr) -> float:
    return len(rows.filter(condition)) / max(len(rows), 1)
