"""What simulated people do with what they are sent: each effect is one factor, and chance is a hash of the send.

The effects: interest in the journey while it is alive; fatigue by all sends lately, and by those about the same
journey; the hour, by when the person is active; the channel, and the person's taste in it; the person's temperament;
and opting out. Constants are chosen, not measured on anybody: what comes of them shows that a loop works, not how much
people click.
"""

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.notification.draws import draws, user_seeds
from lab.simulation.intent import HALF_INTEREST

_OPENED, _CLICKED = (0.10, 0.45), (0.05, 0.45)
"""Share of notifications that are opened, and of opened ones that are clicked: at no interest, and what full adds."""
_TIRED, _TIRED_OF_IT, _HALF_LIFE_DAYS = 0.12, 0.35, 7.0
"""How fast the share opened falls with each send lately, and with each about the same journey; half after so long."""
_LEAST_AT_HOUR = 0.45
"""What is left of the share opened at an hour at which the person is never active."""
_CHANNELS = {"push": 1.0, "email": 0.75}
_TASTE, _TEMPERAMENT = 0.35, 0.7
"""Spread of the logarithm of people's factors."""
_OPT_OUT, _OPT_OUT_TIRED, _NO_INTEREST = 0.0015, 1.0, 2.5
"""Chance to opt out of a channel on a send, how much each send of late adds to that, and the factor at no interest."""
_LATE, _UNNAMED = 0.05, 0.1
"""Share of the feedback that arrives a day later, and of that which does not name its send."""
_DRAWS = ("opened", "clicked", "opts_out", "late", "unnamed", "after")


@dataclass(frozen=True)
class Reactions:
    """What became of the sends of a day, in their order.

    Attributes
    ----------
    sends : DataFrame
        As handed in, with ``opened``, ``clicked``, ``opts_out``, ``is_late``, ``is_unnamed``, ``minutes`` (until it is
        opened) and ``patience`` (what fatigue leaves of the share opened).
    """

    sends: pl.DataFrame

    def feedback(self, *, late: bool) -> pl.DataFrame:
        """Rows of `notification_feedback` that arrive on the day, or those that do so on the next."""
        rows = self.sends.filter(pl.col("is_late") == late)
        sent_at = pl.col("day").cast(pl.Datetime("us")) + pl.duration(hours="utc_hour")
        end = pl.col("day").cast(pl.Datetime("us")) + pl.duration(hours=23, minutes=59)
        times = {
            "sent": sent_at,
            "opened": pl.min_horizontal(sent_at + pl.duration(minutes="minutes"), end),
            "clicked": pl.min_horizontal(sent_at + pl.duration(minutes=pl.col("minutes") + 1), end),
        }
        happened = {"sent": pl.lit(value=True), "opened": pl.col("opened"), "clicked": pl.col("clicked")}
        return pl.concat(
            rows.filter(happened[event]).select(
                "user_id",
                "journey_id",
                "channel",
                event=pl.lit(event),
                occurred_at=at,
                send_id=pl.when(~pl.col("is_unnamed")).then("send_id"),
            )
            for event, at in times.items()
        ).sort("user_id", "occurred_at", "event")

    def controls(self) -> pl.DataFrame:
        """Rows of `user_controls`: who opts out of the channel."""
        return self.sends.filter("opts_out").select(
            "user_id",
            "channel",
            control=pl.lit("opt_out"),
            journey_id=pl.lit(None, dtype=pl.String),
            keyword=pl.lit(None, dtype=pl.String),
            occurred_at=pl.col("day").cast(pl.Datetime("us")) + pl.duration(hours=23, minutes=59),
        )


def react(sends: pl.DataFrame, before: pl.DataFrame, *, day: date, seed: int) -> Reactions:
    """Let people react to the sends of a day.

    Parameters
    ----------
    sends : DataFrame
        ``send_id``, ``user_id``, ``journey_id``, ``channel``, ``day``, ``utc_hour``; ``truth`` (the true journey, null:
        none), ``intent`` (null: none) and ``hour_share`` (how active the person is around that hour, as a share of
        their most active one).
    before : DataFrame
        Sends of earlier days: ``user_id``, ``day``, ``truth``.
    seed : int
        Of people's tastes and of chance.
    """
    weight = 0.5 ** ((pl.lit(day) - pl.col("day")).dt.total_days() / _HALF_LIFE_DAYS)
    lately = before.group_by("user_id").agg(lately=weight.sum())
    alike = before.drop_nulls("truth").group_by("user_id", "truth").agg(alike=weight.sum())
    rows = sends.join(lately, on="user_id", how="left", maintain_order="left").join(
        alike, on=["user_id", "truth"], how="left", maintain_order="left"
    )
    rows = rows.with_columns(pl.col("lately", "alike", "intent").fill_null(0.0))
    interest = (rows["intent"] / (rows["intent"] + HALF_INTEREST)).to_numpy()
    patience = np.exp(-_TIRED * rows["lately"].to_numpy() - _TIRED_OF_IT * rows["alike"].to_numpy())
    at_hour = _LEAST_AT_HOUR + (1 - _LEAST_AT_HOUR) * rows["hour_share"].to_numpy()
    of_channel = rows["channel"].replace_strict(_CHANNELS, default=1.0, return_dtype=pl.Float64).to_numpy()
    taste = np.exp(_TASTE * _normal(rows["user_id"] + " " + rows["channel"], f"taste {seed}"))
    temperament = np.exp(_TEMPERAMENT * _normal(rows["user_id"], f"temperament {seed}"))
    seeds = user_seeds(rows["send_id"], f"react {seed}")
    chance = {name: draws(seeds, place) for place, name in enumerate(_DRAWS)}
    share = (_OPENED[0] + _OPENED[1] * interest) * patience * at_hour * of_channel * taste * temperament
    opened = chance["opened"] < np.minimum(share, 0.95)
    clicked = opened & (chance["clicked"] < _CLICKED[0] + _CLICKED[1] * interest)
    annoyed = _OPT_OUT * (1 + _OPT_OUT_TIRED * rows["lately"].to_numpy()) * (1 + (_NO_INTEREST - 1) * (1 - interest))
    return Reactions(
        sends.with_columns(
            opened=pl.Series(opened),
            clicked=pl.Series(clicked),
            opts_out=pl.Series(~clicked & (chance["opts_out"] < annoyed)),
            is_late=pl.Series(chance["late"] < _LATE),
            is_unnamed=pl.Series(chance["unnamed"] < _UNNAMED),
            minutes=pl.Series((1 - 60 * np.log1p(-chance["after"])).astype(np.int64)),
            patience=pl.Series(patience),
        )
    )


def _normal(texts: pl.Series, salt: str) -> NDArray[np.float64]:
    """Standard normal draws that stay with a text."""
    from scipy.special import ndtri

    return ndtri(np.clip(draws(user_seeds(texts, salt), 0), 1e-9, 1 - 1e-9))
