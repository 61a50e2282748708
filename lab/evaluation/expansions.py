"""Whether users later take up the journeys that they were offered: recall against popularity, on held-out time."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import ClassVar

import click
import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.inference.clustering import cluster_keywords, strongest_keywords
from journeys_dagster.inference.confidence import with_confidence
from journeys_dagster.inference.expansions import expand_users, related_journeys
from journeys_dagster.inference.identity import continue_journeys
from journeys_dagster.inference.members import number_journeys
from journeys_dagster.inference.naming import name_journeys
from journeys_dagster.inference.ranking import rank_by_heuristic
from journeys_dagster.inference.segments import centroids, segment_starts
from journeys_dagster.monitoring.bootstrap import Mean, bootstrap_mean
from journeys_dagster.settings import Settings
from journeys_dagster.training.history import History, KeywordVectors
from lab.benchmark import HALF, Result, Run, argument, option
from lab.evaluation.corpora import keyword_truth, read_log, world_history
from lab.evaluation.statistics import majority
from lab.simulation.journey_types import Half
from lab.simulation.world import World

OFFERED = 10
EXPANSIONS, BY_MEANING, POPULARITY, RANDOM = "expansions", "nearness only", "popularity", "random"
_NO_JOURNEYS = pl.DataFrame(schema={"user_id": pl.String, "keyword": pl.String, "journey_id": pl.String})


@dataclass(frozen=True)
class Expansions:
    """Recall@10 of related journeys against popularity, on held-out later journeys.

    On the simulated world, whose later journeys are known; or on UCI Online Retail (Parquet at PATH).
    """

    name: ClassVar[str] = "expansions"
    path: Path | None = argument(required=False)
    users: int = option(6000, "Of the simulated world.", type=click.IntRange(10))
    days: int = option(120, type=click.IntRange(10))
    seed: int = option(31, type=int)
    half: Half = option("report", type=HALF)
    held_out_days: int = option(40, type=click.IntRange(1))

    def measure(self, run: Run) -> Result:
        """Offer journeys to everyone, and see what they take up."""
        if self.path is not None:
            history = read_log(self.path, run.settings)
            with run.step("expand"):
                found = evaluate_on_log(history, run.settings, run.vectors, held_out_days=self.held_out_days)
        else:
            world = run.world(users=self.users, days=self.days, seed=self.seed, half=self.half)
            with run.step("expand"):
                found = evaluate_on_world(world, run.settings, run.vectors, held_out_days=self.held_out_days)
        recall = pl.DataFrame(
            [
                {"offered by (no language model)": name, "recall@10": str(mean)}
                for name, mean in [*found.recall.items(), ("expansions less popularity", found.gain)]
            ]
        )
        title = f"{found.users:,} users with {found.later:.2f} journeys each from {found.as_of} to {found.until}"
        corpus = "online_retail" if self.path else f"world, {self.half} half"
        return Result({"corpus": corpus, **asdict(found)}, {title: recall})


@dataclass(frozen=True)
class ExpansionEvaluation:
    """What users took up of the ten journeys that they were offered by a day, after it.

    Attributes
    ----------
    recall, gain
        By method, the share of a user's ``later`` journeys that were offered; and the gain of expansions over
        popularity. Means over users with later journeys.
    """

    recall: Mapping[str, Mean]
    gain: Mean
    users: int
    later: float
    as_of: date
    until: date


@dataclass(frozen=True)
class _Snapshot:
    """Everyone's journeys on a day, sorted by user and journey: members with code, journeys with name, centroids."""

    members: pl.DataFrame
    journeys: pl.DataFrame
    centres: NDArray[np.float32]
    vectors: NDArray[np.float32]


def evaluate_on_world(
    world: World, settings: Settings, vectors: KeywordVectors, *, held_out_days: int
) -> ExpansionEvaluation:
    """On a simulated world, where the journeys that a person begins later are known.

    What is offered counts as the true journey that most events of its keyword are part of, over all users.
    """
    history = world_history(world, settings)
    as_of = world.last_day - timedelta(days=held_out_days)
    snapshot = _snapshot(history, as_of, settings, vectors)
    truth = majority(keyword_truth(world, history, settings), ["keyword"], pl.len()).select(
        related="keyword", target="truth"
    )
    later = (
        world.journeys.filter(pl.col("starts") > as_of, pl.col("starts") <= world.last_day)
        .select("user_id", target="journey")
        .unique()
    )
    return _evaluated(snapshot, settings, later, truth, as_of=as_of, until=world.last_day)


def evaluate_on_log(
    history: History, settings: Settings, vectors: KeywordVectors, *, held_out_days: int
) -> ExpansionEvaluation:
    """On a log without truth: a later journey is a keyword that the user has later and had not before."""
    until = history.span[1]
    as_of = until - timedelta(days=held_out_days)
    after = history.keywords(until).filter(pl.col("first_seen").dt.date() > as_of).select("user_id", target="keyword")
    snapshot = _snapshot(history, as_of, settings, vectors)
    names = snapshot.members.filter("is_name")["keyword"].unique()
    # What nobody's journey was called by then cannot be offered by anyone.
    later = after.filter(pl.col("target").is_in(names.implode()))
    return _evaluated(
        snapshot, settings, later, pl.DataFrame({"related": names, "target": names}), as_of=as_of, until=until
    )


def _snapshot(history: History, as_of: date, settings: Settings, vectors: KeywordVectors) -> _Snapshot:
    """Cluster, name and rank everyone as the assets do on a first run."""
    keywords = history.keywords(as_of)
    coded, used = vectors.only(strongest_keywords(keywords, limit=settings.clusters.max_keywords_per_user))
    clusters = cluster_keywords(coded, used, settings.clusters)
    members = clusters.join(continue_journeys(clusters, _NO_JOURNEYS), on=["user_id", "cluster"]).sort(
        "user_id", "journey_id", "keyword"
    )
    searched = members.with_columns(is_searched=pl.col("sources").list.contains("search"))
    names = name_journeys(*number_journeys(searched), settings.naming)
    named = members.join(names.select("user_id", "journey_id", journey="keyword"), on=["user_id", "journey_id"])
    named = named.sort("user_id", "journey_id", "keyword").with_columns(is_name=pl.col("keyword") == pl.col("journey"))
    # Events are not counted here: those of the keyword used most, and its days, stand for those of the journey.
    journeys = named.group_by("user_id", "journey_id").agg(
        pl.col("weight").sum(),
        pl.col("last_seen").max(),
        pl.col("first_seen").min(),
        pl.col("days_active", "events").max(),
        keywords=pl.len(),
        cohesion=pl.col("centroid_similarity").mean(),
    )
    ranked = rank_by_heuristic(
        with_confidence(journeys, as_of=as_of), as_of=as_of, sure_from=settings.output.min_confidence
    )
    starts = segment_starts(named.select("user_id", "journey_id"))
    centres = centroids(used, named["code"].to_numpy(), named["weight"].to_numpy(), starts)
    journeys = (
        named.select("user_id", "journey_id", "journey")[starts[:-1]]
        .join(ranked.select("user_id", "journey_id", "return_probability", "rank"), on=["user_id", "journey_id"])
        .sort("user_id", "journey_id")
    )
    return _Snapshot(named, journeys, centres, used)


def _evaluated(
    snapshot: _Snapshot, settings: Settings, later: pl.DataFrame, targets: pl.DataFrame, *, as_of: date, until: date
) -> ExpansionEvaluation:
    """Compare methods: the same users, the same later journeys, the same things left out."""
    chosen = settings.expansions
    held = snapshot.members.select("user_id", "keyword")
    has = held.rename({"keyword": "related"}).join(targets, on="related").select("user_id", "target").unique()
    new = later.join(has, on=["user_id", "target"], how="anti").filter(
        pl.col("user_id").is_in(snapshot.journeys["user_id"].unique().implode())
    )
    codes = snapshot.members.select(related="keyword", code="code").unique("related")
    listed = pl.col("rank") <= settings.output.max_journeys_per_user
    shown = snapshot.journeys.select(listed).to_series()
    only_near = chosen.model_copy(update={"prior_users": 1e9, "popularity_weight": 0.0})
    known = snapshot.members.join(snapshot.journeys.filter(shown), on=["user_id", "journey_id"], how="semi")
    offered = {
        name: expand_users(
            snapshot.journeys.filter(shown),
            snapshot.centres[shown.to_numpy()],
            related_journeys(known, snapshot.vectors, method).join(codes, on="related", maintain_order="left"),
            snapshot.vectors,
            held=held,
            settings=method.model_copy(update={"max_per_user": 10 * OFFERED}),
        ).select("user_id", "related", "rank")
        for name, method in ((EXPANSIONS, chosen), (BY_MEANING, only_near))
    }
    offered |= {POPULARITY: _popular(snapshot), RANDOM: _random(snapshot)}
    by_user = {name: _recall(rows, targets, new, has) for name, rows in offered.items()}
    return ExpansionEvaluation(
        {name: bootstrap_mean(values) for name, values in by_user.items()},
        bootstrap_mean(by_user[EXPANSIONS] - by_user[POPULARITY]),
        new["user_id"].n_unique(),
        len(new) / max(1, new["user_id"].n_unique()),
        as_of,
        until,
    )


def _popular(snapshot: _Snapshot) -> pl.DataFrame:
    """The names that most users have journeys of, offered to everyone."""
    popular = (
        snapshot.members.filter("is_name")
        .group_by(related="keyword")
        .agg(users=pl.col("user_id").n_unique())
        .sort("users", "related", descending=[True, False])
        .with_row_index("rank", offset=1)
        .head(50 * OFFERED)
    )
    return snapshot.journeys.select("user_id").unique().join(popular, how="cross").select("user_id", "related", "rank")


def _random(snapshot: _Snapshot) -> pl.DataFrame:
    """Names in an order of each user's own that means nothing."""
    names = snapshot.members.filter("is_name").select(related="keyword").unique().sort("related")
    drawn = names.sample(min(len(names), 20 * OFFERED), seed=0)
    users = snapshot.journeys.select("user_id").unique().sort("user_id")
    lots = pl.Series(np.random.default_rng(0).random(len(users) * len(drawn)))
    return users.join(drawn, how="cross", maintain_order="left_right").with_columns(rank=lots)


def _recall(offered: pl.DataFrame, targets: pl.DataFrame, new: pl.DataFrame, has: pl.DataFrame) -> pl.Series:
    """Share of each user's later journeys among the first ten distinct ones offered that the user did not have."""
    found = (
        offered.join(targets, on="related")
        .join(has, on=["user_id", "target"], how="anti")
        .sort("user_id", "rank")
        .unique(["user_id", "target"], keep="first", maintain_order=True)
        .with_columns(place=pl.int_range(1, pl.len() + 1).over("user_id"))
        .filter(pl.col("place") <= OFFERED)
        .select("user_id", "target", hit=pl.lit(1.0))
    )
    return (
        new.join(found, on=["user_id", "target"], how="left")
        .group_by("user_id")
        .agg(pl.col("hit").fill_null(0.0).mean())
        .sort("user_id")["hit"]
    )
