"""Journeys of past days with what was known of them and what became of them. Models are trained on it."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from journeys_dagster.inference.embedding import TextEmbedder
from journeys_dagster.orchestration.asset import Run, table_asset
from journeys_dagster.orchestration.metadata import plot
from journeys_dagster.orchestration.run_config import TrainingConfig
from journeys_dagster.orchestration.timing import TRAINING_GROUP, at_training_time
from journeys_dagster.reporting.plots import daily_counts
from journeys_dagster.reporting.tables import markdown_table
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import Settings
from journeys_dagster.sources.contracts import declared_sources
from journeys_dagster.sql.models import load_models
from journeys_dagster.tables import Column, Table, integer, text, utc_day
from journeys_dagster.training.history import History, KeywordVectors
from journeys_dagster.training.replay import RETURN, labelled_snapshots
from journeys_dagster.training.spans import TooFewReturnsError, snapshot_days

_SAMPLE = """
    select user_id from (select distinct user_id from user_activity where arrival_day <= $as_of)
    order by md5(user_id), user_id limit $users
"""
_NEWEST_DAY = "select max(arrival_day) as day from user_activity"
_FEEDBACK = """
    select journey_features.*, label_source, label, labelled_on
    from feedback_labels join journey_features using (as_of, user_id, journey_id)
    where labelled_on <= $as_of
"""
_SUMMARY = """
    select label_source, count(*) as labels, avg(label) as mean_label, count(distinct user_id) as users,
        min(as_of) as first_snapshot, max(as_of) as last_snapshot
    from ranking_labels group by label_source order by label_source
"""
_BY_DAY = """
    select as_of, count(*) as labels, count(*) filter (label >= 0.5) as positive
    from ranking_labels where label_source = $source group by as_of order by as_of
"""
_FLOATS = {"DOUBLE": "FLOAT", "DOUBLE[]": "FLOAT[]"}
_NOT_KEPT = ("scope", "algorithm_version")


TABLE = Table(
    name="ranking_labels",
    kind="trained",
    description="Journeys of past snapshots, what was known of them then, and the label each source gave them.",
    grain="one row per label_source, as_of, user and journey",
    columns={
        "label_source": text("return, notification or human"),
        "label": Column(type="FLOAT", description="0 to 1: whether the user was in the middle of the journey"),
        "label_weight": Column(type="FLOAT", description="weight of the label in training"),
        "labelled_on": utc_day("day on which the label was known"),
        "days_to_return": integer(
            "days from as_of to the next event on its keywords of then; null for none so far", nullable=True
        ),
        "read_until": utc_day("last arrival day that was seen"),
        **{
            name: replace(column, type=_FLOATS.get(column.type, column.type))
            for name, column in load_models()["journey_features"].table.columns.items()
            if name not in _NOT_KEPT
        },
    },
    key=("label_source", "as_of", "user_id", "journey_id"),
)


@table_asset(
    TABLE,
    kinds={"python", "table"},
    group=TRAINING_GROUP,
    deps=["feedback_labels", "journey_features", "keyword_embeddings", "keyword_events", "user_activity"],
    needs=frozenset({"embedder"}),
    config=TrainingConfig,
    condition=at_training_time,
    needs_everyone=True,
)
def ranking_labels(run: Run) -> dg.MaterializeResult:
    """Compute past snapshots again, label their journeys, and add what feedback says."""
    warehouse, settings = run.warehouse, run.settings
    newest: date | None = warehouse.query(_NEWEST_DAY)["day"][0]
    if newest is None:
        raise dg.Failure("there is no user activity to train on: ingest landing days first", allow_retries=False)
    as_of = date.fromisoformat(run.config.as_of) if run.config.as_of else newest
    frames = itertools.chain([_feedback(warehouse, settings, as_of)], _returns(run, as_of))
    read_until = pl.lit(as_of).alias("read_until")
    columns = list(TABLE.columns)
    warehouse.replace_table(TABLE, (frame.with_columns(read_until).select(columns) for frame in frames))
    return dg.MaterializeResult(metadata=_metadata(warehouse, as_of))


def _returns(run: Run, as_of: date) -> Iterator[pl.DataFrame]:
    settings = run.settings
    history = sampled_history(run.warehouse, settings, as_of, users=settings.ranking.max_training_users)
    try:
        days = snapshot_days(*history.span, settings.ranking)
    except TooFewReturnsError as error:
        run.warn(f"no returns to learn from yet: {error}")
        return

    def progress(done: float) -> None:
        run.log(f"past snapshots computed again: {done:.0%}")

    vectors = known_vectors(run.warehouse, run.vectors)
    yield from labelled_snapshots(history, days, settings, vectors, progress=progress)


def _feedback(warehouse: Warehouse, settings: Settings, as_of: date) -> pl.DataFrame:
    weights = settings.ranking.label_weights
    return (
        warehouse.query(_FEEDBACK, {"as_of": as_of})
        .cast({pl.Float64: pl.Float32, pl.List(pl.Float64): pl.List(pl.Float32)})
        .with_columns(
            label_weight=pl.col("label_source").replace_strict(weights, default=1.0, return_dtype=pl.Float32),
            days_to_return=pl.lit(None, dtype=pl.Int32),
        )
    )


def sampled_history(warehouse: Warehouse, settings: Settings, as_of: date, *, users: int) -> History:
    """What a fixed sample of users did until a day, in memory."""
    params = {"as_of": as_of, "users": users}
    frames = {}
    for name, source in declared_sources(settings).items():
        if name != "items" and not source.has_events:
            continue
        only = f" and user_id in ({_SAMPLE})" if source.has_events else ""
        used = params if only else {"as_of": as_of}
        frames[name] = warehouse.query(f"from {name} where arrival_day <= $as_of{only}", used)
    return History(frames, settings)


def known_vectors(warehouse: Warehouse, embedder: TextEmbedder) -> KeywordVectors:
    """Embeddings of keywords, those of the warehouse at hand."""
    vectors = KeywordVectors(embedder)
    found = "select keyword, embedding from keyword_embeddings where model_revision = $revision order by keyword"
    vectors.remember(warehouse.query(found, {"revision": embedder.revision}))
    return vectors


def _metadata(warehouse: Warehouse, as_of: date) -> dict[str, Any]:
    summary = warehouse.query(_SUMMARY)
    metadata: dict[str, Any] = {
        "dagster/row_count": int(summary["labels"].sum()),
        "as_of": str(as_of),
        "labels": dg.MetadataValue.md(markdown_table(summary)),
    }
    by_day = warehouse.query(_BY_DAY, {"source": RETURN})
    if by_day.height > 1:
        png = daily_counts(
            by_day["as_of"],
            {"returned": by_day["positive"], "not": by_day["labels"] - by_day["positive"]},
            title="Journeys of past snapshots",
            y_label="journeys",
        )
        metadata["plot"] = plot(png, alt="journeys of past snapshots by whether the user returned")
    return metadata
