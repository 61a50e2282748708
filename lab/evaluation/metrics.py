"""How well clusters agree with what is known to be right, user by user."""

import polars as pl

MEASURES = ("b3_precision", "b3_recall", "b3_f", "pair_f")


def agreement(clusters: pl.DataFrame) -> pl.DataFrame:
    """Compare clusters with the truth.

    B³ (Bagga and Baldwin 1998; Amigó et al. 2009, section 3.5) asks each keyword which share of its cluster belongs
    with it (precision), and which share of what belongs with it is in its cluster (recall), and takes means over the
    user's keywords; F is their harmonic mean. The pairwise F counts pairs of keywords that are together in both.

    Parameters
    ----------
    clusters : DataFrame
        Columns ``user_id``, ``cluster`` (any type) and ``truth``, one row per user and keyword. Rows without truth
        are left out.

    Returns
    -------
    DataFrame
        One row per user with a row that counts, sorted: ``user_id``, ``keywords``, ``true_clusters``, ``clusters``
        (int64), ``b3_precision``, ``b3_recall``, ``b3_f``, ``pair_f`` (float64; 1 where there is no pair
        to find and none found).
    """
    rows = clusters.filter(pl.col("truth").is_not_null()).select("user_id", "cluster", "truth")
    cells = (
        rows.group_by("user_id", "cluster", "truth")
        .agg(both=pl.len().cast(pl.Float64))
        .with_columns(
            cluster_size=pl.col("both").sum().over("user_id", "cluster"),
            truth_size=pl.col("both").sum().over("user_id", "truth"),
        )
    )
    n = pl.col("both").sum()
    pairs = (pl.col("both") * (pl.col("both") - 1)).sum()
    found = (pl.col("both") * (pl.col("cluster_size") - 1)).sum()
    right = (pl.col("both") * (pl.col("truth_size") - 1)).sum()
    return (
        cells.group_by("user_id")
        .agg(
            keywords=n.cast(pl.Int64),
            true_clusters=pl.col("truth").n_unique().cast(pl.Int64),
            clusters=pl.col("cluster").n_unique().cast(pl.Int64),
            b3_precision=(pl.col("both") ** 2 / pl.col("cluster_size")).sum() / n,
            b3_recall=(pl.col("both") ** 2 / pl.col("truth_size")).sum() / n,
            pair_f=pl.when(found + right == 0).then(1.0).otherwise(2 * pairs / (found + right)),
        )
        .with_columns(
            b3_f=2 * pl.col("b3_precision") * pl.col("b3_recall") / (pl.col("b3_precision") + pl.col("b3_recall"))
        )
        .select("user_id", "keywords", "true_clusters", "clusters", *MEASURES)
        .sort("user_id")
    )
