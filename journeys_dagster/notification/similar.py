"""How much of what was sent lately resembles what may be sent now."""

from datetime import date

import numpy as np
import polars as pl

from journeys_dagster.inference.frames import with_codes
from journeys_dagster.inference.segments import centroids, pair_similarity
from journeys_dagster.settings import Settings

HALF_LIVES = 4
"""After so many, what was sent no longer counts."""


def similar_lately(
    listed: pl.DataFrame, sent: pl.DataFrame, embeddings: pl.DataFrame, *, day: date, settings: Settings
) -> pl.DataFrame:
    """Sends that resemble each listed journey, each counted by half after `fatigue_half_life_days`.

    As the diversifier has it: two are similar from `diversification.similarity_threshold` on, by the cosine of the
    means of their keywords' vectors.

    Parameters
    ----------
    listed : DataFrame
        Columns ``user_id``, ``journey_id``, ``keywords`` (list).
    sent : DataFrame
        Columns ``user_id``, ``day``, ``keywords`` (list; null where not known).
    embeddings : DataFrame
        Columns ``keyword``, each once, and ``embedding``; keywords without one are left out.
    day : date
        On which notifications are to be sent.

    Returns
    -------
    DataFrame
        Columns ``user_id``, ``journey_id``, ``similar_lately`` (float64, above 0), for journeys of which there is any.
    """
    half_life = settings.notifications.fatigue_half_life_days
    age = (pl.lit(day) - pl.col("day")).dt.total_days()
    recent = sent.drop_nulls("keywords").filter(age.is_between(0, HALF_LIVES * half_life))
    texts = pl.concat(
        [
            listed.select("user_id", "journey_id", "keywords", age=pl.lit(None, dtype=pl.Int64)),
            recent.select("user_id", pl.lit(None, dtype=pl.String).alias("journey_id"), "keywords", age=age),
        ]
    ).with_row_index("text")
    words = texts.select("text", keyword="keywords").explode("keyword", empty_as_null=True, keep_nulls=True)
    coded, vectors = with_codes(words, embeddings)
    coded = coded.drop_nulls("code")
    starts = np.searchsorted(coded["text"].to_numpy(), np.arange(len(texts) + 1))
    means = centroids(vectors, coded["code"].to_numpy(), np.ones(len(coded)), starts)
    now, then = texts.filter(pl.col("age").is_null()), texts.filter(pl.col("age").is_not_null())
    pairs = now.select("user_id", "journey_id", now="text").join(
        then.select("user_id", "age", then="text"), on="user_id"
    )
    cosine = pair_similarity(means, *(pairs[name].cast(pl.Int64).to_numpy() for name in ("now", "then")))
    # Whole millionths add up to the same sum in any order.
    worth = (1e6 * 0.5 ** (pl.col("age") / half_life)).round().cast(pl.Int64)
    return (
        pairs.filter(pl.Series(cosine >= settings.diversification.similarity_threshold, dtype=pl.Boolean))
        .group_by("user_id", "journey_id")
        .agg(similar_lately=worth.sum() / 1e6)
        .sort("user_id", "journey_id")
    )
