"""Reading the labels that models are trained on."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import RankingSettings
from journeys_dagster.training.replay import RETURN
from journeys_dagster.training.spans import Spans, TooFewReturnsError, training_spans

_READ_UNTIL = "select max(read_until) as day from ranking_labels"


@dataclass(frozen=True)
class Labels:
    """Rows of `ranking_labels`.

    Attributes
    ----------
    rows : DataFrame
        Sorted by day, user and journey.
    read_until : date
        Last arrival day that was seen.
    """

    rows: pl.DataFrame
    read_until: date

    @property
    def days(self) -> Sequence[date]:
        """Days of the past snapshots that were computed again, in order."""
        return self.rows.filter(pl.col("label_source") == RETURN)["as_of"].unique().sort().to_list()

    def spans(self, ranking: RankingSettings, *, horizon_days: int) -> Spans:
        """The snapshots in time order; see `training_spans`."""
        return training_spans(self.days, horizon_days=horizon_days, known_until=self.read_until, ranking=ranking)


def labels_read_until(warehouse: Warehouse) -> date:
    """Last arrival day that was seen when the labels were made.

    Raises
    ------
    TooFewReturnsError
        There are none.
    """
    day: date | None = warehouse.query(_READ_UNTIL)["day"][0]
    if day is None:
        raise TooFewReturnsError("ranking_labels is empty: there is too little history and no feedback yet")
    return day


def read_labels(warehouse: Warehouse, columns: Sequence[str] = ("*",)) -> Labels:
    """All labels, or some of their columns.

    Raises
    ------
    TooFewReturnsError
        There are none.
    """
    read_until = labels_read_until(warehouse)
    rows = f"select {', '.join(columns)} from ranking_labels order by as_of, user_id, journey_id, label_source"
    return Labels(warehouse.query(rows), read_until)
