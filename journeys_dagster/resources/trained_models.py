"""The trained models of a warehouse: kept with their cards, and which one is in use as of a day."""

import json
from collections.abc import Mapping
from datetime import date
from typing import Any

import polars as pl

from journeys_dagster.inference.ranking_model import RankingModel, ranking_model
from journeys_dagster.inference.stage_model import StageModel, stage_model
from journeys_dagster.notification.send_model import SendModel
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import Settings
from journeys_dagster.sources.parameters import action_names
from journeys_dagster.tables import Column, Table, boolean, text, utc_day
from journeys_dagster.training.ranker import Attempt
from journeys_dagster.training.sender import SendAttempt
from journeys_dagster.training.stager import StageAttempt

_COLUMNS = {
    "as_of": utc_day("day the model was trained; it saw what had arrived until then"),
    "model_id": text("name of the model, as in the snapshots made with it"),
    "promoted": boolean("whether it took over"),
    "decision": text("why, with figures"),
    "card": text("model card, as JSON"),
}

RANKING_MODEL = Table(
    name="ranking_model",
    kind="trained",
    description="Rankers that were trained, with their cards. Snapshots from as_of on are ranked by the newest one "
    "that was promoted.",
    grain="one row per training day",
    columns={**_COLUMNS, "trees": Column(type="BLOB", description="the trees, in XGBoost's UBJSON")},
    key=("as_of",),
    partition_column="as_of",
)
STAGE_MODEL = Table(
    name="stage_model",
    kind="trained",
    description="Models of whether users come back, with their cards; the weights are in the card. In snapshots from "
    "as_of on, the newest promoted one separates ongoing from ended journeys.",
    grain="one row per training day",
    columns=_COLUMNS,
    key=("as_of",),
    partition_column="as_of",
)
SEND_MODEL = Table(
    name="send_model",
    kind="trained",
    description="Models of opens and clicks that were trained, with their cards. Decisions from as_of on are scored by "
    "the newest one that was promoted, else by the rule.",
    grain="one row per training day",
    columns={
        **_COLUMNS,
        "opens": Column(type="BLOB", description="trees of an open, in XGBoost's UBJSON"),
        "clicks": Column(type="BLOB", description="trees of a click on what was opened, alike"),
    },
    key=("as_of",),
    partition_column="as_of",
)


def stored_model(
    warehouse: Warehouse, settings: Settings, table: Table, as_of: date, *, before_training_on: bool = False
) -> pl.DataFrame | None:
    """The row of the newest model that was promoted until a day; none where there is none, or it does not fit.

    Parameters
    ----------
    table : Table
        `RANKING_MODEL`, `STAGE_MODEL` or `SEND_MODEL`.
    before_training_on : bool
        Leave out a model of the day itself: what was in use when it was trained.
    """
    found = _newest_promoted(warehouse, table, as_of, before_training_on=before_training_on)
    return None if found is None or _misfit(warehouse, settings, table, found) else found


def model_misfit(warehouse: Warehouse, settings: Settings, table: Table, as_of: date) -> str:
    """Why the newest model that was promoted until a day counts as none; empty where it fits, or there is none."""
    found = _newest_promoted(warehouse, table, as_of)
    misfit = "" if found is None else _misfit(warehouse, settings, table, found)
    return f"{table.name} {found['model_id'][0]} {misfit}" if found is not None and misfit else ""


def ranking_model_in_use(
    warehouse: Warehouse, settings: Settings, as_of: date, *, before_training_on: bool = False
) -> RankingModel | None:
    """The newest ranker that was promoted until a day, or none; as `stored_model`."""
    found = stored_model(warehouse, settings, RANKING_MODEL, as_of, before_training_on=before_training_on)
    return None if found is None else ranking_model(found)


def stage_model_in_use(
    warehouse: Warehouse, settings: Settings, as_of: date, *, before_training_on: bool = False
) -> StageModel | None:
    """The newest stage model that was promoted until a day, or none; as `stored_model`."""
    found = stored_model(warehouse, settings, STAGE_MODEL, as_of, before_training_on=before_training_on)
    return None if found is None else stage_model(found)


def send_model_in_use(
    warehouse: Warehouse, settings: Settings, as_of: date, *, before_training_on: bool = False
) -> SendModel | None:
    """The newest model of sends that was promoted until a day, or none; as `stored_model`."""
    found = stored_model(warehouse, settings, SEND_MODEL, as_of, before_training_on=before_training_on)
    return None if found is None else SendModel.stored(found.row(0, named=True))


def _newest_promoted(
    warehouse: Warehouse, table: Table, as_of: date, *, before_training_on: bool = False
) -> pl.DataFrame | None:
    if not warehouse.has_table(table.name):
        return None
    condition = "as_of < $as_of" if before_training_on else "as_of <= $as_of"
    found = warehouse.query(
        f"from {table.name} where promoted and {condition} order by as_of desc limit 1", {"as_of": as_of}
    )
    return None if found.is_empty() else found


def _misfit(warehouse: Warehouse, settings: Settings, table: Table, row: pl.DataFrame) -> str:
    """Why a stored model cannot be used with what is computed now; empty where it can."""
    if table is STAGE_MODEL:
        return stage_model(row).misfit()
    if table is SEND_MODEL:
        return SendModel.stored(row.row(0, named=True)).misfit(tuple(settings.notifications.channels))
    if not warehouse.has_table("journey_features"):
        return ""
    features = warehouse.query("from journey_features limit 0")
    return ranking_model(row).misfit(features, action_names(settings))


def keep_ranking_model(warehouse: Warehouse, as_of: date, attempt: Attempt) -> None:
    """Store an attempt, in place of an earlier one of the same day."""
    _keep(warehouse, RANKING_MODEL, as_of, attempt, {"trees": attempt.trained.model.trees})


def keep_stage_model(warehouse: Warehouse, as_of: date, attempt: StageAttempt) -> None:
    """Store an attempt, in place of an earlier one of the same day."""
    _keep(warehouse, STAGE_MODEL, as_of, attempt, {})


def keep_send_model(warehouse: Warehouse, as_of: date, attempt: SendAttempt) -> None:
    """Store an attempt, in place of an earlier one of the same day."""
    trees = {"opens": attempt.model.opens, "clicks": attempt.model.clicks}
    _keep(warehouse, SEND_MODEL, as_of, attempt, trees)


def _keep(
    warehouse: Warehouse,
    table: Table,
    as_of: date,
    attempt: Attempt | StageAttempt | SendAttempt,
    more: Mapping[str, Any],
) -> None:
    row = {
        "as_of": as_of,
        "model_id": attempt.card["model_id"],
        "promoted": attempt.promoted,
        "decision": attempt.decision,
        "card": json.dumps(attempt.card, sort_keys=True),
        **more,
    }
    warehouse.replace_days([(table, pl.DataFrame([row]), {})], days=[as_of])
