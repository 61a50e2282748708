"""Whether keywords are grouped as they truly belong together, beside simple methods to group them."""

from collections.abc import Collection

import polars as pl

from journeys_dagster.training.history import KeywordVectors
from lab.evaluation.clusterers import Baselines, sessions
from lab.evaluation.corpora import Corpus
from lab.evaluation.home.report import PIPELINE, values
from lab.evaluation.metrics import agreement

_AGREEMENT = ("b3_f", "pair_f", "b3_precision", "b3_recall")
SESSIONS = "30-minute sessions"


def grouping_values(
    keywords: pl.DataFrame, domains: pl.DataFrame, vectors: KeywordVectors, sampled: Collection[str]
) -> pl.DataFrame:
    """Agreement and purity of every user, overall and by domain.

    Parameters
    ----------
    keywords : DataFrame
        `Part.keywords`.
    domains : DataFrame
        Columns ``journey``, ``domain``.
    sampled : collection of str
        Users for whom the costly baselines are computed too.

    Returns
    -------
    DataFrame
        As `report.values` makes it.
    """
    clustered = keywords.filter(pl.col("journey_id").is_not_null())
    grouped = {
        PIPELINE: clustered.with_columns(cluster="journey_id"),
        "every keyword by itself": clustered.with_columns(cluster="keyword"),
        "all keywords together": clustered.with_columns(cluster=pl.lit("")),
        SESSIONS: sessions(Corpus(clustered.with_columns(code=pl.lit(0, dtype=pl.Int64)), vectors.vectors)),
    }
    few = clustered.filter(pl.col("user_id").is_in(list(sampled)))
    if not few.is_empty():
        coded, used = vectors.only(few)
        baselines = Baselines(Corpus(coded, used)).at_fixed_thresholds()
        grouped |= {name.partition(", ")[0]: rows for name, rows in baselines.items() if not name.startswith("session")}
    found = []
    for method, rows in grouped.items():
        scores = agreement(rows)
        found += [values(scores, measure, method, pl.col(measure)) for measure in _AGREEMENT]
        found.append(purity(rows, domains, method, by_domain=method in {PIPELINE, SESSIONS}))
    return pl.concat(found)


def purity(clusters: pl.DataFrame, domains: pl.DataFrame, method: str, *, by_domain: bool) -> pl.DataFrame:
    """Purity and inverse purity (Amigó et al. 2009) of every user's clusters, overall and by domain.

    Purity is the share of keywords that lie with a majority of their own kind in their cluster; inverse purity the
    share of keywords that lie in the cluster that holds most of their true journey. A cluster is of the domain of its
    majority.
    """
    rows = clusters.filter(pl.col("truth").is_not_null())
    cells = rows.group_by("user_id", "cluster", "truth").agg(both=pl.len())
    ordered = cells.sort("both", "truth", "cluster", descending=[True, False, False])
    domain = domains.select(truth="journey", domain="domain")
    sides = {
        "purity": (ordered, ["user_id", "cluster"]),
        "inverse_purity": (ordered, ["user_id", "truth"]),
    }
    found = []
    for measure, (table, key) in sides.items():
        best = (
            table.group_by(key, maintain_order=True)
            .agg(pl.col("both").first().alias("right"), pl.col("both").sum().alias("all"), main=pl.col("truth").first())
            .join(domain.rename({"truth": "main"}), on="main")
        )
        share = pl.col("right").sum() / pl.col("all").sum()
        found.append(values(best.group_by("user_id").agg(share=share), measure, method, pl.col("share")))
        if by_domain:
            of_domain = best.group_by("user_id", "domain").agg(share=share)
            found.append(values(of_domain, measure, method, pl.col("share"), domain=pl.col("domain")))
    return pl.concat(found)
