"""Journey ids that stay: a cluster continues an earlier journey where their keywords overlap most."""

import hashlib
import itertools

import numpy as np
import polars as pl

from journeys_dagster.inference.members import number_groups, whole_millionths
from journeys_dagster.inference.segments import sort_rows

_PAIR = ["user_id", "cluster", "journey_id"]
_NAMED = "{}\x1f{}\x1f{}"
"""What a new id is the hash of: user, oldest keyword, and how many ids of these two are taken."""


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
    weighted = sort_rows(current, "user_id")
    weighted = weighted.with_columns(weight_units=pl.Series(whole_millionths(weighted["weight"])))
    pairs = weighted.join(previous, on=["user_id", "keyword"]).group_by(_PAIR).agg(overlap=pl.col("weight_units").sum())
    matched = _match(pairs)
    clusters = _clusters(weighted).join(
        matched.drop("order"), on=["user_id", "cluster"], how="left", maintain_order="left"
    )
    return clusters.with_columns(
        journey_id=_with_new_ids(clusters, previous),
        continued=pl.col("journey_id").is_not_null(),
        overlap=(pl.col("overlap").fill_null(0) / pl.max_horizontal("weight_units", 1)).cast(pl.Float64),
    ).select("user_id", "cluster", "journey_id", "continued", "overlap")


def _clusters(weighted: pl.DataFrame) -> pl.DataFrame:
    """Weight and oldest keyword, the first of several, of each cluster of rows that are sorted by user."""
    users, numbers = weighted["user_id"].rle_id().cast(pl.Int64).to_numpy(), weighted["cluster"].to_numpy()
    groups, seen = number_groups(users, numbers.astype(np.int64)), weighted["first_seen"].to_physical().to_numpy()
    weight_units = np.zeros(groups.max(initial=-1) + 1, dtype=np.int64)
    np.add.at(weight_units, groups, weighted["weight_units"].to_numpy())
    oldest = np.full(len(weight_units), np.iinfo(np.int64).max)
    np.minimum.at(oldest, groups, seen)
    is_oldest = np.flatnonzero(seen == oldest[groups])
    of_group = groups[is_oldest]
    # Whichever row is put there last: right where a cluster has one, as most have.
    founding = np.empty(len(weight_units), dtype=np.int64)
    founding[of_group] = is_oldest
    tied = is_oldest[np.bincount(of_group, minlength=len(weight_units))[of_group] > 1]
    first = pl.DataFrame({"group": groups[tied], "row": tied, "keyword": weighted["keyword"][tied]})
    first = first.group_by("group").agg(pl.col("row").sort_by("keyword").first())
    founding[first["group"].to_numpy()] = first["row"].to_numpy()
    rows = weighted.select("user_id", "cluster", founding_keyword="keyword")[founding]
    return rows.with_columns(weight_units=pl.Series(weight_units))


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
    rows = clusters["journey_id"].is_null().arg_true()
    missing = clusters[rows].select("user_id", "cluster", "founding_keyword", row=rows)
    named = missing.select(pl.format(_NAMED, "user_id", "founding_keyword", pl.lit(0)).cast(pl.Binary)).to_series()
    missing = missing.with_columns(new_id=pl.Series([_hashed(name) for name in named.to_list()], dtype=pl.String))
    # An id that the user had is not given to something else, even where nothing continues it today.
    had = previous.join(missing, on="user_id", how="semi").select("user_id", new_id="journey_id").unique()
    ids = pl.concat([had["new_id"], missing["new_id"]])
    # Few ids are there twice, even among all users.
    if ids.n_unique() < len(ids):
        twice = pl.concat([had, missing.select("user_id", "new_id")]).filter(ids.is_duplicated())
        contested = twice.filter(twice.is_duplicated())["user_id"].unique()
        is_contested = pl.col("user_id").is_in(contested.implode())
        unsettled = missing.filter(is_contested)
        free = _free_ids(unsettled, had.filter(is_contested))
        missing = pl.concat([missing.filter(~is_contested), unsettled.with_columns(new_id=free)])
    return clusters["journey_id"].scatter(missing["row"], missing["new_id"])


def _free_ids(clusters: pl.DataFrame, had: pl.DataFrame) -> pl.Series:
    """The first id of each cluster that its user neither had nor got for another one."""
    taken = set(had.iter_rows())
    ids: list[str] = []
    for user_id, keyword in clusters.select("user_id", "founding_keyword").iter_rows():
        attempts = (_hashed(_NAMED.format(user_id, keyword, attempt).encode()) for attempt in itertools.count())
        ids.append(next(journey_id for journey_id in attempts if (user_id, journey_id) not in taken))
        taken.add((user_id, ids[-1]))
    return pl.Series(ids, dtype=pl.String)


def _hashed(named: bytes) -> str:
    return hashlib.blake2b(named, digest_size=8).hexdigest()
