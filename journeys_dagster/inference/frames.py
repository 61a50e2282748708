"""What steps compute from: frames by name, the day and the settings. And the vectors of a frame's keywords."""

from collections.abc import Mapping
from datetime import date
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.settings import Settings

Frames = Mapping[str, pl.DataFrame]


class Compute(Protocol):
    """What a step computes for a batch of users, in the run's own process or on a worker that has no warehouse."""

    __name__: str
    __module__: str

    def __call__(self, frames: Frames, as_of: date, settings: Settings) -> pl.DataFrame:
        """The step's new rows; pure."""
        ...


def with_codes(rows: pl.DataFrame, embeddings: pl.DataFrame) -> tuple[pl.DataFrame, NDArray[np.float32]]:
    """Add to each row the place of its keyword's vector.

    Parameters
    ----------
    rows : DataFrame
        Has a column ``keyword``.
    embeddings : DataFrame
        Columns ``keyword``, of each keyword of `rows` once, and ``embedding`` (list of float32).

    Returns
    -------
    rows : DataFrame
        In the same order, with ``code`` (int64).
    vectors : array of shape (distinct keywords, dimensions), float32
    """
    coded = rows.join(
        embeddings.select("keyword").with_row_index("code").cast({"code": pl.Int64}),
        on="keyword",
        how="left",
        maintain_order="left",
    )
    if embeddings.is_empty():
        return coded, np.zeros((0, 1), dtype=np.float32)
    vectors = embeddings["embedding"].explode(empty_as_null=True, keep_nulls=True).to_numpy()
    return coded, np.ascontiguousarray(vectors.reshape(len(embeddings), -1), dtype=np.float32)
