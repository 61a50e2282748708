"""Clusters of users' keywords: by the method that is shipped, and by the baselines it has to beat."""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.inference.clustering import cluster_keywords, cluster_tree, strongest_keywords
from journeys_dagster.settings import ClusterSettings
from lab.evaluation.corpora import Corpus

SESSION_GAP = timedelta(minutes=30)
SESSIONS = "sessions (30-minute gap)"
EMBEDDING_ONLY_THRESHOLD = 0.68
"""Cosine distance; what this project shipped before its similarity had other parts."""
CHARACTER_TFIDF_THRESHOLD = 0.85
"""Cosine distance; a usual choice, not fitted to any of the corpora."""


def journeys(corpus: Corpus, settings: ClusterSettings) -> pl.DataFrame:
    """Clusters by the production code: columns ``user_id``, ``keyword``, ``cluster``, ``truth``.

    Keywords beyond ``max_keywords_per_user`` are left out by it, and here too.
    """
    strongest = strongest_keywords(corpus.keywords, limit=settings.max_keywords_per_user)
    clusters = cluster_keywords(strongest, corpus.vectors, settings)
    return with_truth(clusters.select("user_id", "keyword", "cluster"), corpus)


def sessions(corpus: Corpus) -> pl.DataFrame:
    """Each keyword in the session of its first use; a pause of 30 minutes or more begins a new session."""
    times = (
        corpus.keywords.select("user_id", time=pl.concat_list("first_seen", "recent_times"))
        .explode("time", empty_as_null=False)
        .unique()
        .sort("user_id", "time")
        .with_columns(begins=(pl.col("time").diff().over("user_id") >= SESSION_GAP).fill_null(value=True))
        .with_columns(cluster=pl.col("begins").cast(pl.Int32).cum_sum().over("user_id"))
    )
    first = corpus.keywords.select("user_id", "keyword", time="first_seen")
    clusters = first.join(times, on=["user_id", "time"], how="left", maintain_order="left")
    return with_truth(clusters.select("user_id", "keyword", "cluster"), corpus)


@dataclass(frozen=True)
class Trees:
    """Every user's tree of merges, to be cut anywhere.

    Attributes
    ----------
    merges : list of arrays of shape (keywords - 1, 4), float64
        In the order of `Corpus.users`, as `scipy.cluster.hierarchy.linkage` gives them.
    """

    corpus: Corpus
    merges: list[NDArray[np.float64]]

    def cut(self, distance_threshold: float) -> pl.DataFrame:
        """Clusters at a threshold: columns ``user_id``, ``keyword``, ``cluster``, ``truth``."""
        from scipy.cluster.hierarchy import fcluster

        labels = [
            fcluster(merges, distance_threshold, "distance") if len(merges) else np.ones(1, dtype=np.int32)
            for merges in self.merges
        ]
        flat = np.concatenate(labels) if labels else np.zeros(0, dtype=np.int32)
        clusters = self.corpus.keywords.select("user_id", "keyword", cluster=pl.Series(flat, dtype=pl.Int32))
        return with_truth(clusters, self.corpus)

    def clusters_per_user(self, distance_threshold: float) -> float:
        """Mean number of clusters of a user at a threshold."""
        counts = [1 + int((merges[:, 2] > distance_threshold).sum()) for merges in self.merges]
        return float(np.mean(counts))

    def threshold_for(self, clusters_per_user: float) -> float:
        """The lowest threshold at which users have at most so many clusters on average."""
        heights = np.unique(np.concatenate([merges[:, 2] for merges in self.merges]))
        # The more is merged, the fewer clusters; a tree that is merged whole has one.
        place = bisect_left(heights[:-1], -clusters_per_user, key=lambda height: -self.clusters_per_user(height))
        return float(heights[place])


def journey_trees(corpus: Corpus, settings: ClusterSettings) -> Trees:
    """Trees of the production similarity, in units of its ``distance_threshold``."""
    return Trees(corpus, [cluster_tree(rows, corpus.vectors, settings) for rows in corpus.by_user()])


@dataclass(frozen=True)
class Baselines:
    """The baselines of a corpus; trees are grown when first asked for."""

    corpus: Corpus

    @cached_property
    def embedding_only(self) -> Trees:
        """Average linkage on the cosine distance of embeddings."""
        vectors = self.corpus.vectors
        return _cosine_trees(self.corpus, lambda rows: vectors[rows["code"].to_numpy()].astype(np.float64))

    @cached_property
    def character_tfidf(self) -> Trees:
        """Average linkage on the cosine distance of character n-grams (3 and 4, within words), tf-idf weighted."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        texts = self.corpus.keywords["keyword"].unique().sort().to_list()
        tfidf = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 4), sublinear_tf=True).fit(texts)
        return _cosine_trees(self.corpus, lambda rows: tfidf.transform(rows["keyword"].to_list()).toarray())

    def at_fixed_thresholds(self) -> dict[str, pl.DataFrame]:
        """Clusters by name of the baseline, with thresholds that were not fitted to the corpus."""
        return {
            SESSIONS: sessions(self.corpus),
            f"character tf-idf, threshold {CHARACTER_TFIDF_THRESHOLD}": self.character_tfidf.cut(
                CHARACTER_TFIDF_THRESHOLD
            ),
            f"embedding only, threshold {EMBEDDING_ONLY_THRESHOLD}": self.embedding_only.cut(EMBEDDING_ONLY_THRESHOLD),
        }

    def at_granularity(self, clusters_per_user: float) -> dict[str, pl.DataFrame]:
        """Clusters by name of the baseline, cut into as many clusters per user as given; sessions as they are."""
        trees = {"character tf-idf": self.character_tfidf, "embedding only": self.embedding_only}
        return {SESSIONS: sessions(self.corpus)} | {
            f"{name}, same number of clusters": grown.cut(grown.threshold_for(clusters_per_user))
            for name, grown in trees.items()
        }


def with_truth(clusters: pl.DataFrame, corpus: Corpus) -> pl.DataFrame:
    """Add the truth of each keyword, and ``code``."""
    truth = corpus.keywords.select("user_id", "keyword", "code", "truth")
    return clusters.join(truth, on=["user_id", "keyword"], how="left", maintain_order="left")


def _cosine_trees(corpus: Corpus, features: Callable[[pl.DataFrame], NDArray[np.float64]]) -> Trees:
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    merges = []
    for rows in corpus.by_user():
        vectors = features(rows)
        distances = np.maximum(1.0 - vectors @ vectors.T, 0.0)
        np.fill_diagonal(distances, 0.0)
        condensed = squareform(distances, checks=False)
        merges.append(linkage(condensed, "average") if len(condensed) else np.zeros((0, 4)))
    return Trees(corpus, merges)
