"""The simulated world as a corpus: which journey each keyword of a user came from is known there."""

import polars as pl

from journeys_dagster.settings import Settings
from journeys_dagster.training.history import History, KeywordVectors
from lab.evaluation.corpus import Corpus, corpus_of
from lab.simulation.world import World


def world_history(world: World, settings: Settings) -> History:
    """The world's activity, without its truth."""
    frames = {
        "searches": world.searches,
        "engagements": world.engagements,
        "board_items": world.board_items,
        "items": world.items,
    }
    return History(frames, settings)


def world_corpus(world: World, settings: Settings, vectors: KeywordVectors) -> Corpus:
    """Every user's keywords as of the world's last day, each with the journey that most of its events were part of.

    An event weighs what the settings say; ties go to the smaller name. Keywords of nothing but noise have no truth.
    """
    history = world_history(world, settings)
    keywords = history.keywords(world.last_day)
    return corpus_of(keywords, keyword_truth(world, history, settings), vectors)


def keyword_truth(world: World, history: History, settings: Settings) -> pl.DataFrame:
    """The journey that most of the events of each user's keyword were part of.

    Returns
    -------
    DataFrame
        Columns ``user_id``, ``keyword``, ``truth``; keywords of nothing but noise are left out.
    """
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
        select events.user_id, events.keyword, events.action, events.share, rows.journey
        from (select distinct user_id, keyword, source, action, item_id, share, occurred_at from keyword_events) events
        join rows
            on rows.user_id = events.user_id
            and rows.source = events.source
            and rows.occurred_at = events.occurred_at
            and rows.item_id = coalesce(events.item_id, '')
        """,
        came_from,
    )
    return main_truth(events, settings)


def main_truth(events: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """The journey that most of the events of each user's keyword were part of; ties go to the smaller name.

    Parameters
    ----------
    events : DataFrame
        Columns ``user_id``, ``keyword``, ``action``, ``share`` and ``journey`` (null: noise, does not count).

    Returns
    -------
    DataFrame
        Columns ``user_id``, ``keyword``, ``truth``; keywords of nothing but noise are left out.
    """
    weights = {
        "search": settings.keywords.search_weight,
        "board": settings.keywords.board_weight,
        **settings.keywords.action_weights,
    }
    return (
        events.filter(pl.col("journey").is_not_null())
        .with_columns(
            # Whole millionths add up to the same sum in any order.
            mass=(
                pl.col("action").replace_strict(weights, return_dtype=pl.Float64, default=0.0)
                * pl.col("share").cast(pl.Float64)
                * 1e6
            )
            .round()
            .cast(pl.Int64)
        )
        .group_by("user_id", "keyword", "journey")
        .agg(pl.col("mass").sum())
        .sort("user_id", "keyword", "mass", "journey", descending=[False, False, True, False])
        .unique(["user_id", "keyword"], keep="first", maintain_order=True)
        .select("user_id", "keyword", truth="journey")
    )
