"""The trained models of a warehouse: kept with their cards, and which one is in use as of a day."""

import json
from collections.abc import Mapping
from datetime import date
from typing import Any

import polars as pl

from journeys_dagster.inference.ranking_model import RankingModel, ranking_model
from journeys_dagster.inference.stage_model import StageModel
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.tables import Column, Table, boolean, text, utc_day
from journeys_dagster.training.ranker import Attempt
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
    "as_of on, the newest one that was promoted tells ongoing journeys from ended ones.",
    grain="one row per training day",
    columns=_COLUMNS,
    key=("as_of",),
    partition_column="as_of",
)


def stored_model(
    warehouse: Warehouse, table: Table, as_of: date, *, before_training_on: bool = False
) -> pl.DataFrame | None:
    """The row of the newest model that was promoted until a day, or none; parameters as of `ranking_model_in_use`."""
    if not warehouse.has_table(table.name):
        return None
    condition = "as_of < $as_of" if before_training_on else "as_of <= $as_of"
    found = warehouse.query(
        f"from {table.name} where promoted and {condition} order by as_of desc limit 1", {"as_of": as_of}
    )
    return None if found.is_empty() else found


def ranking_model_in_use(warehouse: Warehouse, as_of: date, *, before_training_on: bool = False) -> RankingModel | None:
    """The newest ranker that was promoted until a day, or none.

    Parameters
    ----------
    before_training_on : bool
        Leave out a model of the day itself: what was in use when it was trained.
    """
    found = stored_model(warehouse, RANKING_MODEL, as_of, before_training_on=before_training_on)
    return None if found is None else ranking_model(found)


def stage_model_in_use(warehouse: Warehouse, as_of: date, *, before_training_on: bool = False) -> StageModel | None:
    """The newest stage model that was promoted until a day, or none; as `ranking_model_in_use`.

    Raises
    ------
    StageModelError
        It was trained by another version of the code.
    """
    found = stored_model(warehouse, STAGE_MODEL, as_of, before_training_on=before_training_on)
    return None if found is None else StageModel.stored(json.loads(found["card"][0]))


def keep_ranking_model(warehouse: Warehouse, as_of: date, attempt: Attempt) -> None:
    """Store an attempt, in place of an earlier one of the same day."""
    _keep(warehouse, RANKING_MODEL, as_of, attempt, {"trees": attempt.trained.model.trees})


def keep_stage_model(warehouse: Warehouse, as_of: date, attempt: StageAttempt) -> None:
    """Store an attempt, in place of an earlier one of the same day."""
    _keep(warehouse, STAGE_MODEL, as_of, attempt, {})


def _keep(
    warehouse: Warehouse, table: Table, as_of: date, attempt: Attempt | StageAttempt, more: Mapping[str, Any]
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
