"""What simulated people are in the middle of on a day, and what they do with a notification."""

from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lab.simulation.sessions import PROGRESS_SHAPE

HALF_INTEREST = 0.1
"""Sittings per day at which interest is one half."""
_OPENED, _CLICKED = (0.2, 0.6), (0.05, 0.7)
"""Share of notifications that are opened, and of opened ones that are clicked: at no interest, and what full adds."""
_POSITION_DECAY, _FATIGUE = 0.8, 0.04
"""What is left of the share opened from one place to the next, and how fast it falls with those sent lately."""


def latent_intent(journeys: pl.DataFrame, day: date) -> pl.DataFrame:
    """Sittings that each person's journeys make likely on a day: the truth that a ranker looks for.

    Parameters
    ----------
    journeys : DataFrame
        `World.journeys`.

    Returns
    -------
    DataFrame
        Columns ``user_id``, ``journey``, ``intent`` (float64, 0 before the journey starts and after it ended).
    """
    from scipy.stats import beta

    length = (pl.col("ends") - pl.col("starts")).dt.total_days() + 1
    progress = ((pl.lit(day) - pl.col("starts")).dt.total_days() + 0.5) / length
    rows = journeys.select("user_id", "journey", "pace", "starts", progress=progress)
    # An evergreen journey has no end, and no progress.
    density = beta.pdf(rows["progress"].fill_null(0.0).to_numpy(), *PROGRESS_SHAPE)
    situational = pl.col("pace") * pl.Series(density)
    evergreen = pl.when(pl.col("starts") <= day).then(pl.col("pace")).otherwise(0.0)
    intent = pl.when(pl.col("progress").is_null()).then(evergreen).otherwise(situational)
    return rows.select("user_id", "journey", intent=intent)


def click_shares(intent: NDArray[np.float64]) -> NDArray[np.float64]:
    """How often people click on the first notification of a day, soon after no other, by intent."""
    interest = intent / (intent + HALF_INTEREST)
    return (_OPENED[0] + _OPENED[1] * interest) * (_CLICKED[0] + _CLICKED[1] * interest)


def draw_notification_feedback(rng: np.random.Generator, notified: pl.DataFrame, *, day: date) -> pl.DataFrame:
    """What people do with notifications about journeys.

    The more they are in the middle of a journey, the more they open and click. Of several on a day, the later ones are
    opened less; and so are all that come soon after many others.

    Parameters
    ----------
    notified : DataFrame
        Columns ``user_id``, ``journey_id``, ``intent``, ``position`` (1 for the user's first of the day) and
        ``sent_lately`` (notifications that the user was sent in the weeks before); one notification each.
    day : date
        Day on which they are sent.

    Returns
    -------
    DataFrame
        Landing rows of the source ``notification_feedback`` with ``arrival_day``.
    """
    interest = (notified["intent"] / (notified["intent"] + HALF_INTEREST)).to_numpy()
    seen = _POSITION_DECAY ** (notified["position"].to_numpy() - 1)
    patience = np.exp(-_FATIGUE * notified["sent_lately"].to_numpy())
    opened = rng.random(len(notified)) < (_OPENED[0] + _OPENED[1] * interest) * seen * patience
    clicked = opened & (rng.random(len(notified)) < _CLICKED[0] + _CLICKED[1] * interest)
    sent = notified.select(
        "user_id",
        "journey_id",
        channel=pl.lit("push"),
        occurred_at=pl.lit(day).cast(pl.Datetime("us")) + pl.duration(hours=9),
        arrival_day=pl.lit(day),
    )
    happened = (("sent", np.ones(len(notified), dtype=bool), 0), ("opened", opened, 1), ("clicked", clicked, 2))
    return pl.concat(
        sent.filter(pl.Series(flags)).with_columns(
            pl.col("occurred_at") + pl.duration(minutes=minutes), event=pl.lit(event)
        )
        for event, flags, minutes in happened
    )
