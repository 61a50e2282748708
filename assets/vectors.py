"""Reading rows of keywords together with the keywords' vectors."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from assets.snapshots import Snapshot
from journeys_dagster.inference.embedding import model_revision
from journeys_dagster.resources.warehouse import Warehouse


class MissingEmbeddingsError(RuntimeError):
    """Keywords without an embedding of the configured model."""


def read_with_vectors(snapshot: Snapshot, rows: pl.DataFrame) -> tuple[pl.DataFrame, NDArray[np.float32]]:
    """Add to each row the place of its keyword's vector.

    Parameters
    ----------
    rows : DataFrame
        Has a column ``keyword``.

    Returns
    -------
    rows : DataFrame
        In the same order, with ``code`` (int64).
    vectors : array of shape (distinct keywords, dimensions), float32

    Raises
    ------
    MissingEmbeddingsError
        `keyword_embeddings` has not been materialised for this snapshot and model.
    """
    embedding = snapshot.settings.embedding
    revision = model_revision(embedding.model, embedding.revision)
    distinct = rows["keyword"].unique().sort()
    found, vectors = vectors_of(snapshot.warehouse, distinct, revision)
    if len(found) != len(distinct):
        raise MissingEmbeddingsError(
            f"{len(distinct) - len(found)} of {len(distinct)} keywords as of {snapshot.as_of} have no embedding of "
            f"{revision}: materialise keyword_embeddings for this day first"
        )
    return rows.join(found, on="keyword", how="left", maintain_order="left"), vectors


def vectors_of(warehouse: Warehouse, keywords: pl.Series, revision: str) -> tuple[pl.DataFrame, NDArray[np.float32]]:
    """Those of distinct keywords that have a vector, sorted, with ``code`` (int64); and the vectors."""
    with warehouse.read() as connection:
        connection.register("wanted", pl.DataFrame({"keyword": keywords}, schema={"keyword": pl.String}))
        found = connection.sql(
            "select keyword, embedding from keyword_embeddings semi join wanted using (keyword) "
            "where model_revision = $revision order by keyword",
            params={"revision": revision},
        ).pl()
    coded = found.select("keyword").with_row_index("code").select("keyword", pl.col("code").cast(pl.Int64))
    if found.is_empty():
        return coded, np.zeros((0, 1), dtype=np.float32)
    vectors = found["embedding"].explode(empty_as_null=True, keep_nulls=True).to_numpy().reshape(len(found), -1)
    return coded, np.ascontiguousarray(vectors, dtype=np.float32)
