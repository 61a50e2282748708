"""Reading the vectors of keywords."""

import polars as pl

from journeys_dagster.errors import JourneysError
from journeys_dagster.inference.embedding import model_revision
from journeys_dagster.orchestration.snapshots import Snapshot
from journeys_dagster.resources.warehouse import Warehouse


class MissingEmbeddingsError(JourneysError, RuntimeError, carries_user_text=False):
    """Keywords without an embedding of the configured model."""


def read_embeddings(snapshot: Snapshot, rows: pl.DataFrame) -> pl.DataFrame:
    """The vectors of the keywords of some rows.

    Parameters
    ----------
    rows : DataFrame
        Has a column ``keyword``.

    Returns
    -------
    DataFrame
        Columns ``keyword`` and ``embedding`` (list of float32), one row per distinct keyword, sorted.

    Raises
    ------
    MissingEmbeddingsError
        `keyword_embeddings` has not been materialised for this snapshot and model.
    """
    embedding = snapshot.settings.embedding
    revision = model_revision(embedding.model, embedding.revision)
    distinct = rows["keyword"].unique()
    found = embeddings_of(snapshot.warehouse, distinct, revision)
    if len(found) != len(distinct):
        raise MissingEmbeddingsError(
            f"{len(distinct) - len(found)} of {len(distinct)} keywords as of {snapshot.as_of} have no embedding of "
            f"{revision}: materialise keyword_embeddings for this day first"
        )
    return found


def embeddings_of(warehouse: Warehouse, keywords: pl.Series, revision: str) -> pl.DataFrame:
    """Those of distinct keywords that have a vector, sorted: columns ``keyword`` and ``embedding``."""
    with warehouse.read() as connection:
        connection.register("wanted", pl.DataFrame({"keyword": keywords}, schema={"keyword": pl.String}))
        return connection.sql(
            "select keyword, embedding from keyword_embeddings semi join wanted using (keyword) "
            "where model_revision = $revision order by keyword",
            params={"revision": revision},
        ).pl()
