"""The trained rankers of a warehouse: kept with their cards, and which one is in use as of a day."""

import json
from datetime import date

import polars as pl

from journeys_dagster.inference.ranking_model import RankingModel, card_json
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.tables import Column, Table
from journeys_dagster.training.ranker import Attempt

TABLE = Table(
    name="ranking_model",
    description="Rankers that were trained, with their cards. Snapshots from as_of on are ranked by the newest one "
    "that was promoted.",
    grain="one row per training day",
    columns={
        "as_of": Column(type="DATE", description="day the model was trained; it saw what had arrived until then"),
        "model_id": Column(type="VARCHAR", description="name of the model, as in the column ranker of rankings"),
        "promoted": Column(type="BOOLEAN", description="whether it took over"),
        "decision": Column(type="VARCHAR", description="why, with figures"),
        "trees": Column(type="BLOB", description="the trees, in XGBoost's UBJSON"),
        "card": Column(type="VARCHAR", description="model card, as JSON"),
    },
    key=("as_of",),
    partition_column="as_of",
)


def model_in_use(warehouse: Warehouse, as_of: date, *, before_training_on: bool = False) -> RankingModel | None:
    """The newest model that was promoted until a day, or none.

    Parameters
    ----------
    before_training_on : bool
        Leave out a model of the day itself: what was in use when it was trained.
    """
    if not warehouse.has_table(TABLE.name):
        return None
    condition = "as_of < $as_of" if before_training_on else "as_of <= $as_of"
    found = warehouse.query(
        f"select model_id, trees, card from {TABLE.name} where promoted and {condition} order by as_of desc limit 1",
        {"as_of": as_of},
    )
    if found.is_empty():
        return None
    model_id, trees, card = found.row(0)
    return RankingModel.stored(model_id, trees, json.loads(card))


def keep_model(warehouse: Warehouse, as_of: date, attempt: Attempt) -> None:
    """Store an attempt, in place of an earlier one of the same day."""
    row = pl.DataFrame(
        {
            "as_of": [as_of],
            "model_id": [attempt.trained.model.model_id],
            "promoted": [attempt.promoted],
            "decision": [attempt.decision],
            "trees": [attempt.trained.model.trees],
            "card": [card_json(attempt.card)],
        }
    )
    warehouse.replace_days([(TABLE, row, {})], days=[as_of])
