"""What titles are worth where a catalogue has nothing else: events grouped by tags, by titles alone, by neither."""

from dataclasses import dataclass, replace
from typing import ClassVar

import click
import polars as pl

from lab.benchmark import HALF, HALF_HELP, Result, Run, option
from lab.evaluation.clusterers import journeys
from lab.evaluation.corpora import corpus_of, keyword_truth, titles_alone, world_history
from lab.evaluation.metrics import MEASURES, agreement
from lab.evaluation.statistics import intervals
from lab.simulation.journey_types import Half
from lab.simulation.world import World

_EVENT = ["user_id", "source", "item_id", "occurred_at"]
_KEYWORDS_OF_EVENTS = """
    select distinct user_id, source, coalesce(item_id, '') as item_id, occurred_at, keyword from keyword_events
"""


@dataclass(frozen=True)
class Titles:
    """Events of a simulated world in true journeys, where items have tags, titles alone, or nothing.

    An event lies in the cluster with most of its keywords. One without a keyword is a cluster of its own.
    """

    name: ClassVar[str] = "titles"
    users: int = option(120, type=click.IntRange(1))
    days: int = option(60, type=click.IntRange(1))
    seed: int = option(23, type=int)
    half: Half | None = option(None, HALF_HELP, type=HALF)

    def measure(self, run: Run) -> Result:
        """Cluster the same events three times."""
        world = run.world(users=self.users, days=self.days, seed=self.seed, half=self.half)
        bare = titles_alone(world).items
        catalogues = {"annotations and interests": world.items, "titles": bare, "no items": bare.clear()}
        rows = []
        for name, items in catalogues.items():
            with run.step(name):
                events = _clustered_events(replace(world, items=items), run)
            scores = intervals(agreement(events), MEASURES)
            rows.append({"catalogue": name, "with_keywords": events["is_known"].mean(), **scores})
        table = pl.DataFrame(rows)
        figures = {"users": self.users, "seed": self.seed, "half": self.half, "catalogues": table}
        return Result(figures, {f"{self.users} users, seed {self.seed}: events in true journeys": table})


def _clustered_events(world: World, run: Run) -> pl.DataFrame:
    """Every event: columns ``user_id``, ``cluster``, ``truth`` and ``is_known``, whether it has a keyword."""
    history = world_history(world, run.settings)
    keywords = history.keywords(world.last_day)
    corpus = corpus_of(keywords, keyword_truth(world, history, run.settings), run.vectors)
    clusters = journeys(corpus, run.settings.clusters).select("user_id", "keyword", "cluster")
    found = (
        history.query(_KEYWORDS_OF_EVENTS, {})
        .join(clusters, on=["user_id", "keyword"])
        .group_by(*_EVENT, "cluster")
        .agg(keywords=pl.len())
        .sort("keywords", "cluster", descending=[True, False])
        .unique(_EVENT, keep="first", maintain_order=True)
    )
    everything = pl.concat(
        [
            world.searches.select("user_id", "occurred_at", "journey", source=pl.lit("search"), item_id=pl.lit("")),
            world.engagements.select("user_id", "occurred_at", "journey", "item_id", source=pl.lit("engagement")),
            world.board_items.select("user_id", "occurred_at", "journey", "item_id", source=pl.lit("board")),
        ],
        how="diagonal",
    ).unique(_EVENT, maintain_order=True)
    own = pl.lit("event ") + pl.int_range(pl.len()).cast(pl.String)
    return (
        everything.select(*_EVENT[:3], pl.col("occurred_at").dt.replace_time_zone(None), own=own, truth="journey")
        .join(found, on=_EVENT, how="left", maintain_order="left")
        .select(
            "user_id",
            "truth",
            cluster=pl.coalesce(pl.col("cluster").cast(pl.String), "own"),
            is_known=pl.col("cluster").is_not_null(),
        )
    )
