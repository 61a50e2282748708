"""Training what chooses names: the library of titles from pairs by hand, and trees from pairs and simulated people."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.inference.embedding import TextEmbedder
from journeys_dagster.inference.safety import check_texts
from journeys_dagster.inference.safety_classifier import safety_classifier
from journeys_dagster.inference.safety_policy import ALLOW, load_policy
from journeys_dagster.inference.segments import centroid_similarity, centroids
from journeys_dagster.settings import Settings
from lab.naming.name_candidates import FEATURES, Members, name_candidates
from lab.naming.title_library import TITLES, VECTORS, TitleLibrary, make_library

if TYPE_CHECKING:
    import xgboost

ALIKE = 0.7
"""Cosine from which a name counts as meaning another."""
_EXACT, _ALIKE = 0.6, 0.8
_FOLDS = 5
_SEED = 1
_PAIRS_WEIGHT = 0.7
_ROUNDS = 160
_TREES = {
    **{"objective": "reg:squarederror", "max_depth": 4, "eta": 0.06, "subsample": 0.7, "colsample_bytree": 0.6},
    **{"min_child_weight": 20, "reg_lambda": 5.0, "seed": _SEED, "nthread": 2},
}


class Pairs:
    """Pairs of keywords and a title with their vectors; unsafe titles are left out."""

    def __init__(self, pairs: pl.DataFrame, embedder: TextEmbedder, settings: Settings) -> None:
        rows = pairs.drop_nulls("title").with_columns(text=pl.col("title").str.to_lowercase())
        shown = rows.unique("text", keep="first", maintain_order=True).sort("text")
        vectors = embedder.embed(shown["text"].to_list())
        policy = load_policy(settings.safety.policy)
        verdicts = check_texts(shown["text"], vectors, policy, safety_classifier(policy, embedder), settings.safety)
        allowed = (verdicts["outcome"] == ALLOW).to_numpy()
        self.titles = shown.filter(pl.Series(allowed))["title"].to_list()
        self.title_vectors = vectors[allowed]
        texts = shown.filter(pl.Series(allowed))["text"]
        kept = rows.filter(pl.col("text").is_in(texts.implode()))
        self.title_of = texts.search_sorted(kept["text"]).to_numpy().astype(np.int64)
        lower = kept["keywords"].list.eval(pl.element().str.to_lowercase().str.strip_chars()).list.unique().list.sort()
        self.words = lower.explode().unique().sort()
        self.word_vectors = embedder.embed(self.words.to_list())
        self.word = self.words.search_sorted(lower.explode()).to_numpy().astype(np.int64)
        self.starts = np.concatenate([[0], np.cumsum(lower.list.len().to_numpy())]).astype(np.int64)

    def library(self, kept: NDArray[np.bool_] | None = None) -> TitleLibrary:
        """The library of all titles, or of those that are kept."""
        kept = np.ones(len(self.titles), dtype=np.bool_) if kept is None else kept
        number = np.cumsum(kept) - 1
        of = kept[self.title_of]
        middles = centroids(self.word_vectors, self.word, np.ones(len(self.word)), self.starts)
        titles = tuple(title for title, keep in zip(self.titles, kept, strict=True) if keep)
        return make_library(titles, self.title_vectors[kept], middles[of], number[self.title_of[of]])

    def examples(self) -> pl.DataFrame:
        """Candidates of the pairs as `examples_of` gives them, with libraries that lack the titles of a pair's fold."""
        fold = np.random.default_rng(_SEED).integers(0, _FOLDS, len(self.titles))
        parts = []
        for number in range(_FOLDS):
            chosen = np.flatnonzero(fold[self.title_of] == number)
            rows = np.concatenate([np.arange(self.starts[pair], self.starts[pair + 1]) for pair in chosen])
            sizes = (self.starts[1:] - self.starts[:-1])[chosen]
            starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
            word, even = self.word[rows], np.ones(len(rows))
            nothing = pl.Series([None] * len(rows), dtype=pl.Float64)
            frame = pl.DataFrame(
                {
                    "journey": np.repeat(np.arange(len(chosen)), sizes),
                    "word": word,
                    "weight": even,
                    "closeness": centroid_similarity(self.word_vectors, word, even, starts),
                    **dict.fromkeys(("centrality", "frequency", "share", "rule"), nothing),
                    # Phrases keep the number that they have.
                    "search": even,
                }
            )
            members = Members(frame, self.words, self.word_vectors)
            found = name_candidates(members, self.library(fold != number)).with_columns(search=pl.lit(None, pl.Float32))
            own = self.title_of[chosen]
            known = dict(zip(self.words, self.word_vectors, strict=True))
            known |= {title.lower(): vector for title, vector in zip(self.titles, self.title_vectors, strict=True)}
            found = found.filter(pl.col("name").is_in(list(known)))
            vectors = np.stack([known[text] for text in found["name"]])
            true = own[found["journey"].to_numpy()]
            cosine = np.einsum("ij,ij->i", vectors, self.title_vectors[true], dtype=np.float64)
            is_exact = found["name"] == pl.Series([self.titles[number].lower() for number in true])
            parts.append(
                found.with_columns(is_exact=is_exact, cosine=pl.Series(cosine), weight_of=pl.lit(_PAIRS_WEIGHT))
            )
        return pl.concat(parts)


def examples_of(found: pl.DataFrame, true_names: pl.Series, embedder: TextEmbedder) -> pl.DataFrame:
    """Candidates with how near they are to the true name, and what each counts.

    Parameters
    ----------
    found : DataFrame
        From `name_candidates`.
    true_names : Series of str
        Of each journey, in lower case.

    Returns
    -------
    DataFrame
        With ``is_exact``, ``cosine`` and ``weight_of``: what many journeys are counts less often than it is met.
    """
    true = true_names.gather(found["journey"])
    texts = pl.concat([found["name"], true_names]).unique().sort()
    vectors = embedder.embed(texts.to_list())
    one, other = texts.search_sorted(found["name"]).to_numpy(), texts.search_sorted(true).to_numpy()
    cosine = np.einsum("ij,ij->i", vectors[one], vectors[other], dtype=np.float64)
    times = true_names.to_frame("true").with_columns(times=pl.len().over("true"))["times"].gather(found["journey"])
    weight = 1.0 / times.sqrt()
    return found.with_columns(
        is_exact=found["name"] == true, cosine=pl.Series(cosine), weight_of=weight / weight.mean()
    )


def fit_chooser(examples: Sequence[pl.DataFrame]) -> "xgboost.Booster":
    """Trees that expect how near a candidate is to what a person would say: the same words, or the same meaning."""
    import xgboost

    rows = pl.concat([part.select(*FEATURES, "is_exact", "cosine", "weight_of") for part in examples])
    cosine = pl.when("is_exact").then(1.0).otherwise("cosine")
    means = _ALIKE * (cosine >= ALIKE).cast(pl.Float64) + (1.0 - _ALIKE) * cosine
    target = rows.select(_EXACT * pl.col("is_exact").cast(pl.Float64) + (1.0 - _EXACT) * means).to_series()
    matrix = xgboost.DMatrix(
        rows.select(FEATURES).to_numpy(), label=target.to_numpy(), weight=rows["weight_of"].to_numpy()
    )
    return xgboost.train(_TREES, matrix, _ROUNDS)


def save_library(library: TitleLibrary, folder: Path) -> TitleLibrary:
    """Write a library under the names that the package looks for; what is read back is what counts."""
    titles, vectors = folder / TITLES.name, folder / VECTORS.name
    library.save(titles, vectors)
    return TitleLibrary.of(titles, vectors)
