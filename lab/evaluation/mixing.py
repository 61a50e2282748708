"""Mixing test: the histories of several real people poured into one user, which needs no annotation.

Good clusters do not mix the people, and keep together what was together when each person stood alone.
"""

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from journeys_dagster.errors import ExpectedError
from journeys_dagster.settings import Settings
from journeys_dagster.training.history import History, KeywordVectors
from lab.evaluation.clusterers import Baselines, journeys, sessions
from lab.evaluation.corpus import Corpus, corpus_of

MIN_KEYWORDS = 10


class MixingError(ExpectedError, ValueError, carries_user_text=False):
    """A test that cannot be made of this data; the message says why."""


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
    MixingError
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
        raise MixingError(f"{len(people)} people have {MIN_KEYWORDS} to {limit} keywords; {people_per_user} are needed")
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
        One row per way of clustering: ``clusterer``, ``clusters`` (mean per mixed user), ``same_person`` (share of
        the pairs clustered together that are one person's), ``by_chance`` (the same share of all pairs),
        ``kept_together`` (share of the pairs that were together when their person stood alone, and still are), and
        ``purity`` (share of keywords whose person has most of their cluster).
    """
    found = journeys(users.mixed, settings.clusters)
    granularity = _clusters_per_user(found)
    alone = journeys(users.alone, settings.clusters)
    baselines_mixed = Baselines(users.mixed)
    baselines_alone = Baselines(users.alone)
    per_person = _clusters_per_user(alone)
    ways = {"journeys": (found, alone)}
    for (name, mixed), by_itself in zip(
        baselines_mixed.at_granularity(granularity).items(),
        baselines_alone.at_granularity(per_person).values(),
        strict=True,
    ):
        ways[name] = (mixed, by_itself)
    ways["sessions (30-minute gap)"] = (sessions(users.mixed), sessions(users.alone))
    chance = _same_person(found.with_columns(cluster=pl.lit(0)))
    rows = [
        {
            "clusterer": name,
            "clusters": _clusters_per_user(mixed),
            "same_person": _same_person(mixed),
            "by_chance": chance,
            "kept_together": _kept_together(mixed, by_itself),
            "purity": _purity(mixed),
        }
        for name, (mixed, by_itself) in ways.items()
    ]
    return pl.DataFrame(rows)


def _clusters_per_user(clusters: pl.DataFrame) -> float:
    return clusters.group_by("user_id").agg(pl.col("cluster").n_unique())["cluster"].mean()  # type: ignore[return-value]


def _pairs(groups: pl.DataFrame) -> float:
    return float((groups["len"].cast(pl.Float64) * (groups["len"].cast(pl.Float64) - 1)).sum())


def _same_person(clusters: pl.DataFrame) -> float:
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
