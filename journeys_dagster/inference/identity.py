"""Journey ids that stay: a cluster continues an earlier journey where their keywords overlap most."""

import hashlib

import polars as pl

_PAIR = ["user_id", "cluster", "journey_id"]


def continue_journeys(current: pl.DataFrame, previous: pl.DataFrame) -> pl.DataFrame:
    """Give every cluster of today the id of the journey it continues, or a new one.

    Overlap is the weight, today, of the keywords that a cluster shares with an earlier journey. Pairs are taken from
    the largest overlap down, one to one per user; ties go to the smaller id and cluster number. A cluster left over
    gets an id made from its user and its oldest keyword, so that the same history gives the same id.

    Parameters
    ----------
    current : DataFrame
        Columns ``user_id``, ``keyword``, ``cluster`` (int), ``weight`` (float64), ``first_seen`` (datetime); each
        keyword once per user.
    previous : DataFrame
        Columns ``user_id``, ``keyword``, ``journey_id``: the user's newest earlier snapshot.

    Returns
    -------
    DataFrame
        Columns ``user_id``, ``cluster``, ``journey_id``, ``continued`` (bool), ``overlap`` (float64, share of the
        cluster's weight that was in the journey it continues; 0 for a new one), sorted by user and cluster.
    """
    # Whole millionths add up to the same sum in any order.
    weighted = current.with_columns(mass=(pl.col("weight") * 1e6).round().cast(pl.Int64))
    pairs = weighted.join(previous, on=["user_id", "keyword"]).group_by(_PAIR).agg(overlap=pl.col("mass").sum())
    matched = _match(pairs)
    is_oldest = pl.col("first_seen") == pl.col("first_seen").min()
    clusters = (
        weighted.group_by("user_id", "cluster")
        .agg(mass=pl.col("mass").sum(), founding_keyword=pl.col("keyword").filter(is_oldest).min())
        .sort("user_id", "cluster")
        .join(matched.drop("order"), on=["user_id", "cluster"], how="left", maintain_order="left")
    )
    return clusters.with_columns(
        journey_id=_with_new_ids(clusters, previous),
        continued=pl.col("journey_id").is_not_null(),
        overlap=(pl.col("overlap").fill_null(0) / pl.max_horizontal("mass", 1)).cast(pl.Float64),
    ).select("user_id", "cluster", "journey_id", "continued", "overlap")


def _match(pairs: pl.DataFrame) -> pl.DataFrame:
    """Largest overlap first, one to one: pairs that are each other's best are settled together, then the rest."""
    # One running number orders all pairs, so the first pair left is always settled and the loop ends.
    pairs = pairs.sort("overlap", "user_id", "journey_id", "cluster", descending=[True, False, False, False])
    pairs = pairs.with_row_index("order")
    settled = [pairs.clear()]
    while not pairs.is_empty():
        best = pairs.filter(
            (pl.col("order") == pl.col("order").min().over("user_id", "cluster"))
            & (pl.col("order") == pl.col("order").min().over("user_id", "journey_id"))
        )
        settled.append(best)
        pairs = pairs.join(best, on=["user_id", "cluster"], how="anti").join(
            best, on=["user_id", "journey_id"], how="anti"
        )
    return pl.concat(settled)


def _with_new_ids(clusters: pl.DataFrame, previous: pl.DataFrame) -> pl.Series:
    ids: list[str | None] = clusters["journey_id"].to_list()
    missing = clusters.with_row_index("row").filter(pl.col("journey_id").is_null())
    # An id that the user had is not given to something else, even where nothing continues it today.
    had = previous.join(missing, on="user_id", how="semi").select("user_id", "journey_id").unique()
    taken: dict[str, set[str]] = {
        user: set(of_user) for user, of_user in had.group_by("user_id").agg("journey_id").iter_rows()
    }
    for row, user_id, keyword in missing.select("row", "user_id", "founding_keyword").iter_rows():
        of_user = taken.setdefault(user_id, set())
        attempt, journey_id = 0, _journey_id(user_id, keyword, 0)
        while journey_id in of_user:
            attempt += 1
            journey_id = _journey_id(user_id, keyword, attempt)
        of_user.add(journey_id)
        ids[row] = journey_id
    return pl.Series("journey_id", ids, dtype=pl.String)


def _journey_id(user_id: str, founding_keyword: str, attempt: int) -> str:
    text = f"{user_id}\x1f{founding_keyword}\x1f{attempt}".encode()
    return hashlib.blake2b(text, digest_size=8).hexdigest()
