"""Users' keywords to cluster, with what is known to be right."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.training.history import KeywordVectors


@dataclass(frozen=True)
class Corpus:
    """Users' keywords to cluster, with what is known to be right.

    Attributes
    ----------
    keywords : DataFrame
        Rows of the model `keywords` with ``code`` (int64, row of `vectors`), and ``truth`` (str; null: unknown, not
        scored), sorted by user and keyword.
    vectors : array of shape (distinct keywords, dimensions), float32
    """

    keywords: pl.DataFrame
    vectors: NDArray[np.float32]

    def of_users(self, users: Sequence[str]) -> "Corpus":
        """The corpus of some users only."""
        return Corpus(self.keywords.filter(pl.col("user_id").is_in(list(users))), self.vectors)

    @property
    def users(self) -> list[str]:
        """All users, sorted."""
        return self.keywords["user_id"].unique().sort().to_list()


def corpus_of(keywords: pl.DataFrame, truth: pl.DataFrame, vectors: KeywordVectors) -> Corpus:
    """Put keywords, truth and vectors together.

    Parameters
    ----------
    truth : DataFrame
        Columns ``user_id``, ``keyword``, ``truth``, at most one row per user and keyword.
    """
    coded = vectors.code(keywords).join(truth, on=["user_id", "keyword"], how="left", maintain_order="left")
    return Corpus(coded, vectors.vectors)
