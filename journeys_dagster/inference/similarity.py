"""Similarity of two keywords of a user: meaning, spelling, closeness in time, and shared items.

The parts add up to logits of a logistic curve, which is what `linkage` compares. Meaning and spelling are one dot
product: a keyword's vector is its embedding beside its hashed character n-grams, scaled to logits. Of what the
embedding model cannot read, spelling stands in for the meaning.
"""

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.inference.linkage import KeywordRows, PairModel
from journeys_dagster.inference.ngrams import ngram_vectors
from journeys_dagster.inference.readable_text import READ_WHOLE
from journeys_dagster.inference.segments import over_segments, segment_starts
from journeys_dagster.settings import ClusterSettings

_Number = TypeVar("_Number", np.float64, np.int64)
LEXICAL_DIMENSIONS = 128
"""Hashed n-grams collide in so few dimensions, and still cluster as well as exact ones (docs/experiments.md)."""


@dataclass(frozen=True)
class Similarity:
    """Everything that `linkage` compares users' keywords by.

    Attributes
    ----------
    vectors : array of shape (distinct keywords, dimensions), float32
        In logits.
    rows : KeywordRows
        One row per user and keyword.
    model : PairModel
        The logistic curve.
    distance_threshold : float
        The settings' threshold on the scale of the curve's distances, 0 to 1.
    settings : ClusterSettings
    """

    vectors: NDArray[np.float32]
    rows: KeywordRows
    model: PairModel
    distance_threshold: float
    settings: ClusterSettings

    def as_distance(self, heights: NDArray[np.float64]) -> NDArray[np.float64]:
        """The curve's distances in the unit of the settings' threshold, 1 - similarity, at least 0."""
        near_one = np.finfo(np.float64).eps
        odds = np.clip(heights, near_one, 1 - near_one)
        logits = np.log(odds / (1 - odds))
        return np.maximum(1.0 - self.settings.saturation + logits / self.settings.sharpness, 0.0)


def keyword_similarity(keywords: pl.DataFrame, vectors: NDArray[np.float32], settings: ClusterSettings) -> Similarity:
    """Prepare users' keywords for comparison.

    Parameters
    ----------
    keywords : DataFrame
        Columns ``user_id``, ``keyword``, ``code`` (row of `vectors`), ``recent_times`` (list of datetime, ascending)
        and ``recent_items`` (list of str), sorted by user.
    vectors : array of shape (distinct keywords, dimensions), float32
        Embeddings, of squared length 1 or, where not all of a text was read, of the share that was.
    """
    slope = settings.sharpness
    starts = segment_starts(keywords.select("user_id"))
    return Similarity(
        vectors=_logit_vectors(keywords, vectors, settings),
        rows=KeywordRows(
            starts=starts,
            codes=keywords["code"].to_numpy(),
            times=_hours(keywords["recent_times"]),
            time_weights=_time_weights(keywords["recent_times"], starts, settings) * slope,
            items=_item_numbers(keywords["recent_items"]),
        ),
        model=PairModel(
            offset=-slope * settings.saturation,
            item_weight=slope * settings.shared_item_weight,
            kind_weight=slope * settings.other_kind_weight,
            time_scale=settings.time_scale_hours,
        ),
        distance_threshold=_curve_distance(settings),
        settings=settings,
    )


def _curve_distance(settings: ClusterSettings) -> float:
    similarity = 1.0 - settings.distance_threshold
    return 1.0 / (1.0 + math.exp(settings.sharpness * (similarity - settings.saturation)))


def _logit_vectors(
    keywords: pl.DataFrame, vectors: NDArray[np.float32], settings: ClusterSettings
) -> NDArray[np.float32]:
    """Embeddings and hashed n-grams side by side; the dot product of two is their part of the logit."""
    scaled = vectors * np.float32(math.sqrt(settings.sharpness))
    unread = _unread(vectors)
    if not len(vectors) or (settings.lexical_weight == 0 and not unread.any()):
        return scaled
    texts = keywords.select("code", "keyword").unique("code").sort("code")
    lexical = np.zeros((len(vectors), LEXICAL_DIMENSIONS), dtype=np.float32)
    lexical[texts["code"].to_numpy()] = ngram_vectors(texts["keyword"], dimensions=LEXICAL_DIMENSIONS)
    lexical *= np.sqrt(settings.sharpness * (settings.lexical_weight + unread), dtype=np.float32)[:, None]
    return np.hstack([scaled, lexical])


def _unread(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Of each text, the share that the model could not read."""
    read = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    return np.where(read < READ_WHOLE, 1.0 - read, 0.0)


def _time_weights(recent_times: pl.Series, users: NDArray[np.int64], settings: ClusterSettings) -> NDArray[np.float64]:
    """Many keywords at one time, as in a basket, say less about each two of them."""
    from journeys_dagster.inference.similarity_kernel import fill_mean_crowds

    times = recent_times.explode(empty_as_null=False).to_physical().to_numpy(writable=True)
    starts = np.concatenate([[0], np.cumsum(recent_times.list.len().to_numpy(), dtype=np.int64)])
    crowds = np.empty(len(recent_times))
    over_segments(users, lambda run: fill_mean_crowds(times, starts, users[run.start : run.stop + 1], crowds))
    return settings.time_weight * np.minimum(settings.crowded_moment / crowds, 1.0)


def _hours(times: pl.Series) -> NDArray[np.float64]:
    hours = times.explode(empty_as_null=False).dt.epoch("us").to_numpy() / 3.6e9
    return _padded(hours.astype(np.float64), times.list.len().to_numpy(), np.nan)


def _item_numbers(items: pl.Series) -> NDArray[np.int64]:
    """Equal numbers for equal items, ascending within a row: 63 bits of a hash."""
    numbers = (items.explode(empty_as_null=False).hash(seed=0).to_numpy() >> 1).astype(np.int64)
    ragged = _padded(numbers, items.list.len().to_numpy(), np.iinfo(np.int64).max)
    ragged.sort(axis=1)
    ragged[ragged == np.iinfo(np.int64).max] = -1
    return ragged


def _padded(values: NDArray[_Number], lengths: NDArray[np.uint32], fill: float) -> NDArray[_Number]:
    """Lists laid out as rows of one table, filled up at their ends."""
    table = np.full((len(lengths), int(lengths.max(initial=0))), fill, dtype=values.dtype)
    table[np.arange(table.shape[1]) < lengths[:, None]] = values
    return table
