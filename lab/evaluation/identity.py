"""Replay, snapshot by snapshot: whether a journey keeps its id while its user goes on."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import ClassVar

import click
import polars as pl

from journeys_dagster.inference.clustering import cluster_keywords, strongest_keywords
from journeys_dagster.inference.identity import continue_journeys
from journeys_dagster.settings import Settings
from journeys_dagster.training.history import History, KeywordVectors
from lab.benchmark import BenchmarkError, Result, Run, argument, option
from lab.evaluation.corpora import is_purchases, read_log

SPLIT_SHARE = 0.2
"""Of a journey's surviving weight, the least that must lie in a second cluster for it to count as split; and of a
cluster's weight from earlier journeys, the least from a second one for it to count as merged."""

REPORT = ("users", "snapshots", "journeys", "kept_share", "keyword_kept_share")
REPORT += ("split_share", "flip_share", "merge_share", "renamed_share", "splits", "merges")


@dataclass(frozen=True)
class Identity:
    """Whether journeys keep their ids while their users go on, snapshot by snapshot of a log.

    PATH is UCI Online Retail (Parquet), day by day, or search missions (tab-separated), week by week.
    """

    name: ClassVar[str] = "identity"
    path: Path = argument()
    days: int | None = option(
        None, "Replayed days, the last ones: by default 30 of purchases, all of searches.", type=click.IntRange(1)
    )

    def measure(self, run: Run) -> Result:
        """Replay, and count the ids that were kept."""
        history, every = read_log(self.path, run.settings), 1 if is_purchases(self.path) else 7
        begins, last = history.span
        days = self.days or (30 if every == 1 else (last - begins).days - every + 1)
        first = last - timedelta(days=max(days, 0))
        steps = steps_of(history, first=first, last=last, days=every)
        with run.step("replay") as advance:
            followed = replay(history, steps, run.settings, run.vectors, progress=advance)
        report = identity_report(followed)
        shown = {name: f"{value:.2%}" if name.endswith("_share") else f"{value:,}" for name, value in report.items()}
        table = pl.DataFrame({"measure": list(shown), "value": list(shown.values())})
        figures = {"first": first, "last": last, "days_per_step": every, **report}
        return Result(figures, {f"{first} to {last}, a snapshot every {every} day(s)": table})


@dataclass(frozen=True)
class Step:
    """One snapshot of a replay.

    Attributes
    ----------
    as_of : date
    users : sequence of str
        Users in scope: those with a row that arrived since the step before.
    """

    as_of: date
    users: Sequence[str]


def steps_of(history: History, *, first: date, last: date, days: int) -> list[Step]:
    """A snapshot every so many days after `first`, up to `last`; users are in scope when they were active since."""
    steps = [Step(first, history.active_users(date.min, first))]
    while steps[-1].as_of < last:
        as_of = min(steps[-1].as_of + timedelta(days=days), last)
        steps.append(Step(as_of, history.active_users(steps[-1].as_of + timedelta(days=1), as_of)))
    return steps


def snapshots(
    history: History,
    steps: Sequence[Step],
    settings: Settings,
    vectors: KeywordVectors,
    *,
    progress: Callable[[float], None] | None = None,
) -> Iterator[tuple[Step, pl.DataFrame, pl.DataFrame]]:
    """Cluster step by step, as the daily runs do, and continue the journeys that users had.

    Yields
    ------
    step, snapshot, latest
        ``snapshot``: columns of `cluster_keywords`, and ``journey_id``; ``latest``: ``user_id``, ``keyword`` and
        ``journey_id`` of each user's snapshot before. Steps without users are left out.
    """
    latest = pl.DataFrame(schema={"user_id": pl.String, "keyword": pl.String, "journey_id": pl.String})
    for done, step in enumerate(steps, start=1):
        if step.users:
            keywords = history.keywords(step.as_of, step.users)
            strongest = strongest_keywords(keywords, limit=settings.clusters.max_keywords_per_user)
            clusters = cluster_keywords(*vectors.only(strongest), settings.clusters)
            previous = latest.join(clusters.select("user_id").unique(), on="user_id", how="semi")
            journeys = continue_journeys(clusters, previous).select("user_id", "cluster", "journey_id")
            snapshot = clusters.join(journeys, on=["user_id", "cluster"])
            yield step, snapshot, latest
            others = latest.join(snapshot.select("user_id").unique(), on="user_id", how="anti")
            latest = pl.concat([others, snapshot.select("user_id", "keyword", "journey_id")])
        if progress is not None:
            progress(done / len(steps))


def replay(
    history: History,
    steps: Sequence[Step],
    settings: Settings,
    vectors: KeywordVectors,
    *,
    progress: Callable[[float], None] | None = None,
) -> pl.DataFrame:
    """Follow every keyword from a user's snapshot to the next.

    Returns
    -------
    DataFrame
        One row per user, snapshot after the user's first, and keyword that is in both: ``user_id``, ``as_of``,
        ``keyword``, ``weight`` (float64, of the later snapshot), ``before`` and ``after`` (journey ids).
    """
    followed = [
        snapshot.join(latest, on=["user_id", "keyword"], suffix="_before").select(
            "user_id",
            pl.lit(step.as_of).alias("as_of"),
            "keyword",
            "weight",
            before="journey_id_before",
            after="journey_id",
        )
        for step, snapshot, latest in snapshots(history, steps, settings, vectors, progress=progress)
    ]
    if not followed:
        raise BenchmarkError("nobody was active on the days that are to be replayed")
    return pl.concat(followed)


def identity_report(followed: pl.DataFrame) -> dict[str, float | int]:
    """How much of what goes on keeps its id; terms after MONIC (Spiliopoulou et al. 2006).

    A journey goes on in the cluster that holds most of its surviving weight. All weights are of keywords that are in
    both snapshots.

    Returns
    -------
    dict
        ``users``, ``snapshots`` (pairs of consecutive snapshots of a user) and ``journeys`` (that go on from one to the
        next). ``kept_share``: of the weight with which journeys go on, the share of those that kept their id; a journey
        merged into another one has lost its own. ``keyword_kept_share``, the strictest view: of all surviving weight,
        the share of keywords whose journey id stayed. The others by what happened to them: ``split_share`` (left a
        journey that goes on, for a new one), ``flip_share`` (changed from one journey that goes on to another that was
        there before), ``merge_share`` (their journey's id is gone, and they are in another one that was there before)
        and ``renamed_share`` (the id is gone, and they are in a new one). Events: ``splits``, journeys with a fifth or
        more of their surviving weight in a second cluster, and ``merges``, clusters with as much from a second journey.
    """
    if followed.is_empty():
        return dict.fromkeys(REPORT, 0)
    key = ["user_id", "as_of"]
    goes_on = followed.select(*key, before="after").unique().with_columns(goes_on=pl.lit(value=True))
    existed = followed.select(*key, after="before").unique().with_columns(existed=pl.lit(value=True))
    rows = (
        followed.join(goes_on, on=[*key, "before"], how="left")
        .join(existed, on=[*key, "after"], how="left")
        .with_columns(pl.col("goes_on", "existed").fill_null(value=False))
    )
    total = float(rows["weight"].sum())
    moved = pl.col("before") != pl.col("after")

    def share(condition: pl.Expr) -> float:
        return float(rows.filter(condition)["weight"].sum()) / total

    cells = rows.group_by(*key, "before", "after").agg(pl.col("weight").sum())
    went_on = _went_on(cells)
    kept = went_on.filter(pl.col("before") == pl.col("after"))
    return {
        "users": rows["user_id"].n_unique(),
        "snapshots": rows.select(key).n_unique(),
        "journeys": went_on.height,
        "kept_share": float(kept["weight"].sum()) / float(went_on["weight"].sum()),
        "keyword_kept_share": share(~moved),
        "split_share": share(moved & pl.col("goes_on") & ~pl.col("existed")),
        "flip_share": share(moved & pl.col("goes_on") & pl.col("existed")),
        "merge_share": share(moved & ~pl.col("goes_on") & pl.col("existed")),
        "renamed_share": share(moved & ~pl.col("goes_on") & ~pl.col("existed")),
        "splits": _events(cells, [*key, "before"]),
        "merges": _events(cells, [*key, "after"]),
    }


def kept_by_user(followed: pl.DataFrame) -> pl.DataFrame:
    """``kept_share`` of `identity_report` for each user by itself: columns ``user_id``, ``kept_share``, sorted."""
    cells = followed.group_by("user_id", "as_of", "before", "after").agg(pl.col("weight").sum())
    kept = pl.col("weight").filter(pl.col("before") == pl.col("after")).sum() / pl.col("weight").sum()
    return _went_on(cells).group_by("user_id").agg(kept_share=kept).sort("user_id")


def _went_on(cells: pl.DataFrame) -> pl.DataFrame:
    """Of each journey, the cluster that holds most of its surviving weight."""
    return cells.sort("weight", "before", "after", descending=[True, False, False]).unique(
        ["user_id", "as_of", "before"], keep="first", maintain_order=True
    )


def _events(cells: pl.DataFrame, of: list[str]) -> int:
    """Groups with a second part that is large enough."""
    shares = cells.with_columns(share=pl.col("weight") / pl.col("weight").sum().over(of))
    return shares.group_by(of).agg(parts=(pl.col("share") >= SPLIT_SHARE).sum()).filter(pl.col("parts") > 1).height
