"""Logs to measure on, as activity and as users' keywords with what is known to be right."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.settings import Settings
from journeys_dagster.training.history import History, KeywordVectors
from lab.benchmark import BenchmarkError
from lab.evaluation.statistics import majority
from lab.importers import complete_journey_frames, online_retail_frames
from lab.importers.search_missions import CLICK, SearchMissions, read_search_missions
from lab.simulation.world import World

_COMPLETE_JOURNEY = re.compile(r"complete-journey(?::(?P<households>\d+))?")
_ALL = 10_000


@dataclass(frozen=True)
class Corpus:
    """Users' keywords to cluster, with what is known to be right.

    Attributes
    ----------
    keywords : DataFrame
        Rows of the model `keywords` with ``code`` (int64, row of `vectors`), and ``truth`` (str; null: unknown, not
        scored), sorted by user and keyword.
    vectors : array of shape (distinct keywords, dimensions), float32
    """

    keywords: pl.DataFrame
    vectors: NDArray[np.float32]

    def of_users(self, users: Sequence[str]) -> "Corpus":
        """The corpus of some users only."""
        return Corpus(self.keywords.filter(pl.col("user_id").is_in(list(users))), self.vectors)

    @property
    def users(self) -> list[str]:
        """All users, sorted."""
        return self.keywords["user_id"].unique().sort().to_list()

    def by_user(self) -> Iterator[pl.DataFrame]:
        """Keywords of one user after the other."""
        yield from self.keywords.partition_by("user_id", maintain_order=True)


def corpus_of(keywords: pl.DataFrame, truth: pl.DataFrame, vectors: KeywordVectors) -> Corpus:
    """Put keywords, vectors and truth (``user_id``, ``keyword``, ``truth``) together."""
    coded = vectors.code(keywords).join(truth, on=["user_id", "keyword"], how="left", maintain_order="left")
    return Corpus(coded, vectors.vectors)


def world_history(world: World, settings: Settings) -> History:
    """The world's activity, without its truth."""
    sources = ("searches", "engagements", "board_items", "items")
    return History({name: getattr(world, name) for name in sources}, settings)


def titles_alone(world: World) -> World:
    """The same world, but what its items are about stands in their titles alone."""
    nothing = pl.lit([], dtype=pl.List(pl.String))
    return replace(world, items=world.items.with_columns(annotations=nothing, interests=nothing))


def world_corpus(world: World, settings: Settings, vectors: KeywordVectors) -> Corpus:
    """Every user's keywords as of the world's last day; keywords of nothing but noise have no truth."""
    history = world_history(world, settings)
    return corpus_of(history.keywords(world.last_day), keyword_truth(world, history, settings), vectors)


def keyword_truth(world: World, history: History, settings: Settings) -> pl.DataFrame:
    """The journey that most of the events of each user's keyword were part of: `event_truth` of a world in memory."""
    came_from = pl.concat(
        [
            world.searches.select("user_id", "occurred_at", "journey", source=pl.lit("search"), item_id=pl.lit("")),
            world.engagements.select("user_id", "occurred_at", "journey", "item_id", source=pl.lit("engagement")),
            world.board_items.select("user_id", "occurred_at", "journey", "item_id", source=pl.lit("board")),
        ],
        how="diagonal",
    ).unique()
    events = history.query_over(
        """
        select events.user_id, events.keyword, events.action, events.share, rows.journey as truth
        from (select distinct user_id, keyword, source, action, item_id, share, occurred_at from keyword_events) events
        join rows
            on rows.user_id = events.user_id
            and rows.source = events.source
            and rows.occurred_at = events.occurred_at
            and rows.item_id = coalesce(events.item_id, '')
        """,
        came_from,
    )
    return event_truth(events, settings)


def event_truth(events: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """The journey that most of the events of each user's keyword were part of; an event weighs what the settings say.

    Parameters
    ----------
    events : DataFrame
        Columns ``user_id``, ``keyword``, ``action``, ``share`` and ``truth`` (null: noise, does not count).

    Returns
    -------
    DataFrame
        Columns ``user_id``, ``keyword``, ``truth``, sorted; keywords of nothing but noise are left out.
    """
    keywords = settings.keywords
    weights = {"search": keywords.search_weight, "board": keywords.board_weight, **keywords.action_weights}
    weight = pl.col("action").replace_strict(weights, return_dtype=pl.Float64, default=0.0)
    # Whole millionths add up to the same sum in any order.
    millionths = (weight * pl.col("share").cast(pl.Float64) * 1e6).round().cast(pl.Int64)
    return majority(events, ["user_id", "keyword"], millionths.sum())


def search_history(missions: SearchMissions, settings: Settings) -> History:
    """The missions' searches and clicks as activity; a click counts whatever the settings say of actions."""
    keywords = settings.keywords
    with_clicks = keywords.model_copy(update={"action_weights": {CLICK: 1.0} | keywords.action_weights})
    return History(missions.frames, settings.model_copy(update={"keywords": with_clicks}))


def search_corpus(missions: SearchMissions, settings: Settings, vectors: KeywordVectors) -> Corpus:
    """Every user's distinct queries as keywords, each with the mission of most of its rows.

    All of the file counts, however long ago.
    """
    days = missions.frames["searches"]["arrival_day"]
    last_day, first_day = days.max(), days.min()
    span = (last_day - first_day) // timedelta(days=1) + 1  # type: ignore[operator]
    whole = settings.keywords.model_copy(update={"lookback_days": max(settings.keywords.lookback_days, span)})
    history = search_history(missions, settings.model_copy(update={"keywords": whole}))
    queries = missions.rows.select(pl.col("query").unique(maintain_order=True))
    normalized = history.query_over("select query, normalize_keyword(query) as keyword from rows", queries)
    rows = missions.rows.join(normalized, on="query").rename({"mission_id": "truth"})
    truth = majority(rows, ["user_id", "keyword"], pl.len())
    return corpus_of(history.keywords(last_day), truth, vectors)  # type: ignore[arg-type]


def is_purchases(path: Path) -> bool:
    """Whether a log is one of purchases, and not search missions as tab-separated text."""
    return path.suffix == ".parquet" or _households(path) is not None


def read_log(path: Path, settings: Settings) -> History:
    """The activity of a log: Online Retail (a Parquet file), search missions (any other file), or Complete Journey.

    Complete Journey is no file but a word, ``complete-journey``; ``complete-journey:300`` is 300 of its households. The
    package that carries it calls it simulated.

    Raises
    ------
    BenchmarkError
        There is no activity.
    """
    households = _households(path)
    if households is not None:
        history = History(complete_journey_frames(households=households), settings)
    elif path.suffix == ".parquet":
        history = History(online_retail_frames(path), settings)
    else:
        history = search_history(read_search_missions(path), settings)
    if history.query("select 1 from user_activity limit 1", {}).is_empty():
        raise BenchmarkError(f"no line of {path} is a {'purchase' if is_purchases(path) else 'search'} that counts")
    return history


def _households(path: Path) -> int | None:
    """How many households of Complete Journey are meant, where it is."""
    named = _COMPLETE_JOURNEY.fullmatch(str(path))
    return None if named is None else int(named["households"] or _ALL)
