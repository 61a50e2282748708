"""Past days to learn from, in time order: no label of one span looks into the next."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from journeys_dagster.errors import ExpectedError
from journeys_dagster.settings import RankingSettings

WARM_UP_DAYS = 7
"""Days of history that a user's first snapshot should have behind it."""
SHORT_HISTORY_SHARE = 4


class TooFewReturnsError(ExpectedError, ValueError, carries_user_text=False):
    """There is not enough history or not enough returns to train on; the message says what there is."""


@dataclass(frozen=True)
class Spans:
    """Days of the snapshots to train on, to validate on and to test on.

    Between two spans lie as many days as a return may take.

    Attributes
    ----------
    train, validation, test : list of date
    horizon_days : int
        Days until a label is known.
    """

    train: list[date]
    validation: list[date]
    test: list[date]
    horizon_days: int

    @property
    def parts(self) -> tuple[list[date], list[date], list[date]]:
        """The three spans."""
        return self.train, self.validation, self.test

    @property
    def known_until(self) -> date:
        """Day on which the newest label is known."""
        return self.test[-1] + timedelta(days=self.horizon_days)

    def split(self, examples: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
        """The rows of each span; a label that became known later than that span's returns belongs to none.

        Parameters
        ----------
        examples : DataFrame
            Columns ``as_of`` and ``labelled_on``.
        """
        train, validation, test = (
            examples.filter(
                pl.col("as_of").is_between(days[0], days[-1]),
                pl.col("labelled_on") <= days[-1] + timedelta(days=self.horizon_days),
            )
            for days in self.parts
        )
        return train, validation, test


def snapshot_days(first: date, last: date, ranking: RankingSettings) -> list[date]:
    """Days to compute snapshots of, for a history from `first` to `last`: those whose returns are known.

    Raises
    ------
    TooFewReturnsError
        There is none.
    """
    newest, every = last - timedelta(days=ranking.return_days), ranking.snapshot_every_days
    steps = (newest - first - timedelta(days=WARM_UP_DAYS)).days // every
    if steps < 0:
        raise TooFewReturnsError(
            f"history from {first} to {last} is {(last - first).days} days; the first snapshot with known returns "
            f"needs {WARM_UP_DAYS + ranking.return_days}"
        )
    return [newest - timedelta(days=every * step) for step in range(steps, -1, -1)]


def training_spans(days: Sequence[date], *, horizon_days: int, known_until: date, ranking: RankingSettings) -> Spans:
    """Divide snapshot days; of a short history, test and validation take a quarter each.

    Parameters
    ----------
    days : sequence of date
        In order.
    horizon_days : int
        Days until a label is known.
    known_until : date
        Newest day of the history.

    Raises
    ------
    TooFewReturnsError
        There are too few days for three spans.
    """
    horizon = timedelta(days=horizon_days)
    known = [day for day in days if day + horizon <= known_until]
    free_days = (known[-1] - known[0] - 2 * horizon).days if known else -1
    test_days, validation_days = (
        min(most, max(free_days, 0) // SHORT_HISTORY_SHARE) for most in (ranking.test_days, ranking.validation_days)
    )
    test = [day for day in known if day >= known[-1] - timedelta(days=test_days)]
    before_test = [day for day in known if test and day <= test[0] - horizon]
    validation = [day for day in before_test if day >= before_test[-1] - timedelta(days=validation_days)]
    train = [day for day in before_test if validation and day <= validation[0] - horizon]
    if not train:
        listed = f"{len(days)} snapshots from {days[0]} to {days[-1]}" if days else "no snapshots"
        raise TooFewReturnsError(
            f"{listed} are too few to train, validate and test on returns within {horizon_days} days: more history, a "
            "shorter horizon or a smaller ranking.snapshot_every_days is needed"
        )
    return Spans(train, validation, test, horizon_days)
