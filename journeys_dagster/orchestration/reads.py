"""What several steps read alike: users' events, the keywords of their journeys, and the vectors of keywords."""

import polars as pl

from journeys_dagster.errors import JourneysError
from journeys_dagster.inference.embedding import model_revision
from journeys_dagster.inference.frames import Frames
from journeys_dagster.inference.segments import is_in_order, sort_rows
from journeys_dagster.orchestration.snapshot_asset import Snapshot
from journeys_dagster.resources.warehouse import Warehouse

EVENTS = """
    select user_id, source, action, query, item_id, occurred_at
    from user_events where as_of = $as_of and {of_batch}
"""
ITEM_KEYWORDS = """
    select item_id, keyword, share
    from item_keywords
    where valid_from <= $as_of
        and valid_until > $as_of
        and item_id in (select item_id from user_events where as_of = $as_of and {of_batch})
"""
JOURNEYS = """
    select user_id, cluster, journey_id
    from journey_identities where as_of = $as_of and {of_batch}
"""
SPELLINGS = "select word, shown from spellings where as_of = $as_of order by word"


def in_order(events: pl.DataFrame) -> pl.DataFrame:
    """Events by user and time, as the table has them."""
    columns = "user_id", "occurred_at"
    return events if is_in_order(events, *columns) else events.sort(columns, maintain_order=True)


def members(columns: str) -> str:
    """A query for the keywords of users' clusters, with columns of `clusters`, ``keyword`` among them.

    A member has the user's cluster, and no text that names its journey; that is found by number.
    """
    return f"select user_id, cluster, {columns} from clusters where as_of = $as_of and {{of_batch}}"


def members_in_order(frames: Frames) -> dict[str, pl.DataFrame]:
    """The same frames, ``journeys`` (of `JOURNEYS`) by user and cluster, ``members`` by user and keyword."""
    return {
        **frames,
        "journeys": sort_rows(frames["journeys"], "user_id", "cluster"),
        "members": sort_rows(frames["members"], "user_id", "keyword"),
    }


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
