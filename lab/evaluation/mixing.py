"""Mixing test: the histories of several real people poured into one user, which needs no annotation.

Good clusters do not mix the people, and keep together what was together when each person stood alone.
"""

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import ClassVar

import click
import numpy as np
import polars as pl

from journeys_dagster.settings import Settings
from journeys_dagster.training.history import History, KeywordVectors
from lab.benchmark import BenchmarkError, Result, Run, argument, option
from lab.evaluation.clusterers import Baselines, journeys
from lab.evaluation.corpora import Corpus, corpus_of
from lab.importers import online_retail_frames

MIN_KEYWORDS = 10


@dataclass(frozen=True)
class Mixing:
    """Customers of UCI Online Retail (Parquet at PATH) poured together, and whether they are kept apart."""

    name: ClassVar[str] = "mixing"
    path: Path = argument()
    users: int = option(200, "Mixed users.", type=click.IntRange(1))
    customers_per_user: int = option(3, type=click.IntRange(2))
    seed: int = option(0, type=click.IntRange(0))

    def measure(self, run: Run) -> Result:
        """Mix, cluster, and compare."""
        with run.step("mix users and embed"):
            mixed = mix_users(
                online_retail_frames(self.path),
                run.settings,
                run.vectors,
                mixed_users=self.users,
                people_per_user=self.customers_per_user,
                seed=self.seed,
            )
        with run.step("cluster"):
            report = mixing_report(mixed, run.settings)
        figures = {
            "users": len(mixed.mixed.users),
            "customers_per_user": self.customers_per_user,
            "keywords": len(mixed.mixed.keywords),
            "keywords_of_several": int(mixed.mixed.keywords["truth"].null_count()),
            "seed": self.seed,
        }
        title = f"{figures['users']} users mixed of {self.customers_per_user} customers each"
        note = (
            f"{figures['keywords']:,} keywords; {figures['keywords_of_several']:,} that several customers of a user "
            "have are clustered and not scored."
        )
        return Result(figures | {"clusterers": report}, {title: report}, [note])


@dataclass(frozen=True)
class MixedUsers:
    """The same people mixed and alone.

    Attributes
    ----------
    mixed : Corpus
        One user per group of people; truth is the person, null for a keyword that several of the group have.
    alone : Corpus
        The people themselves; truth is null.
    """

    mixed: Corpus
    alone: Corpus


def mix_users(
    frames: dict[str, pl.DataFrame],
    settings: Settings,
    vectors: KeywordVectors,
    *,
    mixed_users: int,
    people_per_user: int,
    seed: int,
) -> MixedUsers:
    """Draw people with enough keywords, group them, and pour each group's activity into one user.

    Parameters
    ----------
    frames : dict of str to DataFrame
        Landing rows: ``engagements`` and ``items``.
    mixed_users, people_per_user : int
        Nobody is drawn twice; where there are too few people, there are fewer mixed users.

    Raises
    ------
    BenchmarkError
        Not even one group can be drawn.
    """
    engagements = frames["engagements"]
    as_of: date = engagements["arrival_day"].max()  # type: ignore[assignment]
    history = History(frames, settings)
    alone = history.keywords(as_of)
    sizes = alone.group_by("user_id").len()
    limit = settings.clusters.max_keywords_per_user // people_per_user
    people = sizes.filter(pl.col("len").is_between(MIN_KEYWORDS, limit))["user_id"].sort().to_list()
    drawn = np.random.default_rng(seed).permutation(people)[: mixed_users * people_per_user]
    groups = len(drawn) // people_per_user
    if groups == 0:
        raise BenchmarkError(
            f"{len(people)} people have {MIN_KEYWORDS} to {limit} keywords; {people_per_user} are needed"
        )
    drawn = drawn[: groups * people_per_user].tolist()
    membership = pl.DataFrame(
        {"person": drawn, "mixed": [f"mixed {place // people_per_user:04}" for place in range(len(drawn))]}
    )
    poured = engagements.join(membership, left_on="user_id", right_on="person").with_columns(user_id="mixed")
    mixed = History({**frames, "engagements": poured}, settings).keywords(as_of)
    of_people = alone.join(membership, left_on="user_id", right_on="person")
    owners = (
        of_people.group_by("mixed", "keyword")
        .agg(truth=pl.when(pl.len() == 1).then(pl.col("user_id").first()))
        .rename({"mixed": "user_id"})
    )
    nothing = of_people.select("user_id", "keyword", truth=pl.lit(None, dtype=pl.String))
    mixed_corpus = corpus_of(mixed, owners, vectors)
    alone_corpus = corpus_of(of_people.drop("mixed").sort("user_id", "keyword"), nothing, vectors)
    return MixedUsers(mixed_corpus, alone_corpus)


def mixing_report(users: MixedUsers, settings: Settings) -> pl.DataFrame:
    """How well the journeys and the baselines keep people apart, and their own things together.

    Baselines are cut into as many clusters per mixed user as the journeys have, or coarse would look mixed and fine
    would look pure; sessions cannot be, and stand beside.

    Returns
    -------
    DataFrame
        One row per method: ``clusterer``, ``clusters`` (mean per mixed user), ``same_person`` (share of
        the pairs clustered together that are one person's), ``by_chance`` (the same share of all pairs),
        ``kept_together`` (share of the pairs that were together when their person stood alone, and still are), and
        ``purity`` (share of keywords whose person has most of their cluster).
    """
    found, alone = (journeys(corpus, settings.clusters) for corpus in (users.mixed, users.alone))
    baselines = (
        Baselines(corpus).at_granularity(clusters_per_user(clusters))
        for corpus, clusters in ((users.mixed, found), (users.alone, alone))
    )
    of_mixed, of_alone = ({"journeys": own, **others} for own, others in zip((found, alone), baselines, strict=True))
    chance = same_person(found.with_columns(cluster=pl.lit(0)))
    rows = [
        {
            "clusterer": name,
            "clusters": clusters_per_user(mixed),
            "same_person": same_person(mixed),
            "by_chance": chance,
            "kept_together": _kept_together(mixed, of_alone[name]),
            "purity": _purity(mixed),
        }
        for name, mixed in of_mixed.items()
    ]
    return pl.DataFrame(rows)


def mixed_corpus(path: Path, run: Run) -> Corpus:
    """Customers of Online Retail poured together as the command does it by default; the truth is the customer."""
    usual = Mixing(path)
    users = {"mixed_users": usual.users, "people_per_user": usual.customers_per_user, "seed": usual.seed}
    return mix_users(online_retail_frames(path), run.settings, run.vectors, **users).mixed


def clusters_per_user(clusters: pl.DataFrame) -> float:
    """Mean number of clusters of a user."""
    return clusters.group_by("user_id").agg(pl.col("cluster").n_unique())["cluster"].mean()  # type: ignore[return-value]


def _pairs(groups: pl.DataFrame) -> float:
    return float((groups["len"].cast(pl.Float64) * (groups["len"].cast(pl.Float64) - 1)).sum())


def same_person(clusters: pl.DataFrame) -> float:
    """Share of the pairs clustered together that are one person's."""
    owned = clusters.filter(pl.col("truth").is_not_null())
    together = _pairs(owned.group_by("user_id", "cluster").len())
    return _pairs(owned.group_by("user_id", "cluster", "truth").len()) / together if together else 1.0


def _kept_together(mixed: pl.DataFrame, alone: pl.DataFrame) -> float:
    by_person = mixed.filter(pl.col("truth").is_not_null()).select("keyword", "cluster", user_id="truth")
    both = by_person.join(alone.select("user_id", "keyword", own="cluster"), on=["user_id", "keyword"])
    before = _pairs(both.group_by("user_id", "own").len())
    return _pairs(both.group_by("user_id", "own", "cluster").len()) / before if before else 1.0


def _purity(clusters: pl.DataFrame) -> float:
    owned = clusters.filter(pl.col("truth").is_not_null())
    most = owned.group_by("user_id", "cluster", "truth").len().group_by("user_id", "cluster").agg(pl.col("len").max())
    return float(most["len"].sum() / max(len(owned), 1))
