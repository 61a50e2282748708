"""Journeys related to a journey: by who has both and by meaning, without a language model; and then for one user.

Texts leave their user here: a related journey is offered under a name that several users have as a keyword.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.inference.segments import check_codes, over_segments, pair_similarity, segment_starts
from journeys_dagster.settings import ExpansionSettings

EXPANDER = "co-occurrence and nearness"
"""What the column ``expander`` says: no language model took part."""
RELATED_SCHEMA = {
    "journey": pl.String,
    "related": pl.String,
    "users": pl.Int64,
    "together": pl.Int64,
    "lift": pl.Float64,
    "similarity": pl.Float64,
    "share": pl.Float64,
    "score": pl.Float64,
    "rank": pl.Int32,
    "expander": pl.String,
}
EXPANSION_SCHEMA = {
    "user_id": pl.String,
    "rank": pl.Int32,
    "related": pl.String,
    "score": pl.Float64,
    "because_of": pl.String,
    "expander": pl.String,
}


def related_journeys(members: pl.DataFrame, vectors: NDArray[np.float32], settings: ExpansionSettings) -> pl.DataFrame:
    """Journeys related to each distinct journey, a journey being what its name's keyword says.

    A journey that users with the keyword of another have as well, more often than by chance, is related to it; so is
    one that is near to it in meaning. One that is nearer than ``same_similarity`` is the same journey.

    Parameters
    ----------
    members : DataFrame
        Columns ``user_id`` and ``journey_id`` (texts or numbers, the latter distinct within a user), ``keyword``,
        ``is_name`` (bool), ``code`` (int64, row of `vectors`): every keyword of every user's journeys, each once per
        user.
    vectors : array of shape (distinct keywords, dimensions), float32
        Unit vectors.

    Returns
    -------
    DataFrame
        Columns of `RELATED_SCHEMA`, sorted by journey and rank: ``users`` who have the related journey, ``together``
        those who also have the journey's keyword; ``lift`` over chance, drawn towards 1 by ``prior_users``;
        ``similarity``, the cosine of both; ``share`` of all users who have the related journey; ``score``, logarithm
        of the lift plus ``similarity_weight`` × similarity.
    """
    population = members["user_id"].n_unique()
    known = _held_by_enough(members, settings)
    names = members.filter("is_name").join(known, on="keyword")
    if names.is_empty():
        return pl.DataFrame(schema=RELATED_SCHEMA)
    named = names.group_by("keyword").agg(
        users=pl.len().cast(pl.Int64), holders=pl.col("holders").first(), code=pl.col("code").first()
    )
    together = _together(members.join(named, on="keyword", how="semi"), len(vectors))
    near = _near(named, vectors, settings).to_frame("pair").with_columns(together=pl.lit(0, dtype=pl.Int64))
    expected = pl.col("holders") * pl.col("users") / population
    prior, weight = settings.prior_users, settings.similarity_weight
    counted = (
        pl.concat([together, near])
        .group_by("pair")
        .agg(pl.col("together").sum())
        .with_columns(journey_code=pl.col("pair") // len(vectors), related_code=pl.col("pair") % len(vectors))
        .join(named.select("holders", journey="keyword", journey_code="code"), on="journey_code")
        .join(named.select("users", related="keyword", related_code="code"), on="related_code")
        .with_columns(lift=(pl.col("together") + prior) / (expected + prior), share=pl.col("users") / population)
    )
    similarity = pair_similarity(vectors, counted["journey_code"].to_numpy(), counted["related_code"].to_numpy())
    return (
        counted.with_columns(similarity=pl.Series(similarity))
        .filter(pl.col("similarity") < settings.same_similarity)
        .with_columns(score=pl.col("lift").log() + weight * pl.col("similarity"))
        .filter(pl.col("score") > 0)
        # Few are kept, and only these need be put in order.
        .filter(pl.col("score") >= pl.col("score").top_k(settings.related_per_journey).min().over("journey_code"))
        .sort("journey", "score", "related", descending=[False, True, False])
        .with_columns(rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int32).over("journey"), expander=pl.lit(EXPANDER))
        .filter(pl.col("rank") <= settings.related_per_journey)
        .select(*RELATED_SCHEMA)
        .cast(pl.Schema(RELATED_SCHEMA))  # type: ignore[arg-type]
    )


def known_journeys(members: pl.DataFrame, settings: ExpansionSettings) -> pl.DataFrame:
    """Names of journeys that enough users have as a keyword: ``keyword``, each once."""
    known = _held_by_enough(members, settings)
    return members.filter("is_name").join(known, on="keyword", how="semi").select("keyword").unique()


def _together(members: pl.DataFrame, codes: int) -> pl.DataFrame:
    """For each two journeys how many users have the keyword of the one and the other: ``pair``, ``together``."""
    # Numbers are joined and grouped in half of the time that texts take, and one number quicker than two.
    ids = ("user_id", "journey_id")
    rows = members.select("is_name", "code", *ids).with_columns(
        pl.col(name).cast(pl.Categorical).to_physical() for name in ids if members.schema[name] == pl.String
    )
    others = rows.filter("is_name").select("user_id", other_id="journey_id", related_code="code")
    return (
        rows.join(others, on="user_id")
        .filter(pl.col("journey_id") != pl.col("other_id"), pl.col("code") != pl.col("related_code"))
        .select(pair=pl.col("code") * codes + pl.col("related_code"))
        .group_by("pair")
        .agg(together=pl.len().cast(pl.Int64))
    )


def _held_by_enough(members: pl.DataFrame, settings: ExpansionSettings) -> pl.DataFrame:
    holders = members.group_by("keyword").agg(holders=pl.len().cast(pl.Int64))
    return holders.filter(pl.col("holders") >= settings.min_users)


def _near(named: pl.DataFrame, vectors: NDArray[np.float32], settings: ExpansionSettings) -> pl.Series:
    """For each journey those nearest to it in meaning, the same journey left out; as pairs."""
    ordered = named.sort("keyword")
    matrix = vectors[ordered["code"].to_numpy()]
    found = []
    for start in range(0, len(ordered), 1024):
        cosines = matrix[start : start + 1024] @ matrix.T
        # Few are near, and to put these in order is quicker than to look for the nearest of all.
        rows, others = np.nonzero((cosines > settings.near_similarity) & (cosines < settings.same_similarity))
        near = pl.DataFrame({"row": rows + start, "other": others, "cosine": cosines[rows, others]})
        found.append(
            near.sort("row", "cosine", "other", descending=[False, True, False])
            .filter(pl.int_range(pl.len()).over("row") < settings.related_per_journey)
            .select("row", "other")
        )
    places, codes = pl.concat(found), ordered["code"]
    return codes.gather(places["row"]) * len(vectors) + codes.gather(places["other"])


def expand_users(
    journeys: pl.DataFrame,
    centres: NDArray[np.float32],
    related: pl.DataFrame,
    near: NDArray[np.float32],
    *,
    held: pl.DataFrame,
    settings: ExpansionSettings,
) -> pl.DataFrame:
    """Related journeys of each user, best first, without what the user already has.

    A related journey counts by how many have it and, for each of the user's journeys that it is related to, by the
    score of that relation times the probability that the user comes back to the journey.

    Parameters
    ----------
    journeys : DataFrame
        Columns ``user_id``, ``journey`` (its name's keyword), ``return_probability``; each once per user, a user's
        together. Of one that the user does not want to see the probability is null: nothing is offered because of it.
    centres : array of shape (journeys, dimensions), float32
        Centroids of the journeys, in their order.
    related : DataFrame
        Columns of `RELATED_SCHEMA` and ``code`` (int64, row of `near`).
    near : array of shape (distinct related journeys, dimensions), float32
    held : DataFrame
        Columns ``user_id``, ``keyword``: what the user already has.

    Returns
    -------
    DataFrame
        Columns of `EXPANSION_SCHEMA`, sorted by user and rank; ``because_of`` is the user's journey that counts most,
        ``expander`` what related the two.
    """
    texts = related.select("related", "code").unique("related").sort("related").with_row_index("place")
    users = journeys["user_id"].rle_id()
    # Numbers in place of texts, in the same order: they are sorted and joined in half of the time.
    own = journeys.select("journey", "return_probability", user=users, order=pl.col("journey").rank("dense") - 1)
    own = own.drop_nulls("return_probability")
    relations = related.join(texts.select("related", "place"), on="related")
    has = (
        held.join(texts.select("place", keyword="related"), on="keyword")
        .join(pl.DataFrame({"user_id": journeys["user_id"], "user": users}).unique(), on="user_id")
        .select("user", "place")
    )
    # Whole millionths add up to the same sum in any order.
    part = (pl.col("return_probability") * pl.col("score") * 1e6).round().cast(pl.Int64)
    found = (
        own.join(relations.select("journey", "place", "score", "share", "expander"), on="journey")
        .join(has, on=["user", "place"], how="anti")
        .with_columns(part=part)
        .sort("user", "place", "part", "order", descending=[False, False, True, False])
        .group_by("user", "place", maintain_order=True)
        .agg(pl.col("part").sum(), pl.col("share", "order", "expander").first())
        .with_columns(score=pl.col("part") * 1e-6 + settings.popularity_weight * pl.col("share").log())
        .sort("user", "score", "place", descending=[False, True, False])
        .join(texts.select("place", "code"), on="place", how="left", maintain_order="left")
    )
    offered = found.filter(_is_new(found, near, centres, segment_starts(users.to_frame()), settings))
    return pl.DataFrame(
        {
            "user_id": journeys["user_id"].unique(maintain_order=True).gather(offered["user"]),
            "rank": offered.select(pl.int_range(1, pl.len() + 1).over("user")).to_series(),
            "related": texts["related"].gather(offered["place"]),
            "score": offered["score"],
            "because_of": journeys["journey"].unique().sort().gather(offered["order"]),
            "expander": offered["expander"],
        }
    ).cast(pl.Schema(EXPANSION_SCHEMA))  # type: ignore[arg-type]


def _is_new(
    found: pl.DataFrame,
    near: NDArray[np.float32],
    centres: NDArray[np.float32],
    centre_starts: NDArray[np.int64],
    settings: ExpansionSettings,
) -> pl.Series:
    """Whether each offer is one of its user's best that the user does not have under another name."""
    from journeys_dagster.inference.expansions_kernel import choose_new

    starts = segment_starts(found.select("user"))
    offers, users = found["code"].to_numpy(), found["user"].gather(starts[:-1]).cast(pl.Int64).to_numpy()
    check_codes(offers, len(near))
    is_new = np.zeros(len(found), dtype=np.bool_)
    over_segments(
        starts,
        lambda run: choose_new(
            near,
            offers,
            starts[run.start : run.stop + 1],
            users[run],
            centres,
            centre_starts,
            settings.same_similarity,
            settings.max_per_user,
            is_new,
        ),
    )
    return pl.Series(is_new)
