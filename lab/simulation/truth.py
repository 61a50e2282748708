"""The truth beside a simulated landing zone, as Parquet: which journey an event belongs to, and how journeys stand.

Only evaluation reads it; what runs in production imports nothing from here.
"""

from datetime import date
from pathlib import Path

import polars as pl

from lab.simulation.intent import latent_intent
from lab.simulation.journey_types import read_catalogue
from lab.simulation.world import World

_EVENT = ["user_id", "source", "action", "what", "occurred_at", "arrival_day", "journey"]


def write_types(folder: Path) -> None:
    """Write ``types.parquet``: the catalogue's journey types by name."""
    found = read_catalogue()
    confusable = [{*pair} for pair in found.confusable]
    rows = [
        {
            "journey": kind.name,
            "domain": kind.domain,
            "half": kind.half,
            "lifecycle": kind.lifecycle,
            "days": kind.days,
            "months": list(kind.months),
            "interests": list(kind.interests),
            "related": list(kind.related),
            "confusable": sorted(name for pair in confusable if kind.name in pair for name in pair - {kind.name}),
        }
        for kind in found.journeys
    ]
    schema = {
        "months": pl.List(pl.Int64),
        "interests": pl.List(pl.String),
        "related": pl.List(pl.String),
        "confusable": pl.List(pl.String),
    }
    folder.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(rows, schema_overrides=schema).write_parquet(folder / "types.parquet")


def write_part(folder: Path, part: World, *, number: int) -> None:
    """Write a part of a world: ``events``, ``journeys`` and ``people``, one file each."""
    events = pl.concat(
        [
            part.searches.with_columns(source=pl.lit("searches"), action=pl.lit("search"), what="query"),
            part.engagements.with_columns(source=pl.lit("engagements"), what="item_id"),
            part.board_items.with_columns(source=pl.lit("board_items"), action=pl.lit("board"), what="item_id"),
        ],
        how="diagonal",
    ).select(_EVENT)
    for name, frame in (("events", events), ("journeys", part.journeys), ("people", part.people)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        frame.write_parquet(folder / name / f"part-{number:04}.parquet", compression="zstd")


def scan_truth(folder: Path, name: str) -> pl.LazyFrame:
    """One of ``events``, ``journeys`` and ``people``, all parts; or ``types``."""
    return pl.scan_parquet(folder / f"{name}.parquet" if name == "types" else folder / name / "*.parquet")


def states_on(journeys: pl.DataFrame, day: date) -> pl.DataFrame:
    """How every journey stands on a day.

    Parameters
    ----------
    journeys : DataFrame
        `World.journeys`, or ``journeys`` of the truth.

    Returns
    -------
    DataFrame
        Columns ``user_id``, ``journey``, ``state`` (``ahead``, ``ongoing``, ``ended`` or ``evergreen``), ``intent``,
        and ``intent_rank`` within the user, 1 for the journey that a sitting is likeliest for; null without any intent.
    """
    state = (
        pl.when(pl.col("starts") > day)
        .then(pl.lit("ahead"))
        .when(pl.col("lifecycle") == "evergreen")
        .then(pl.lit("evergreen"))
        .when(pl.col("ends") < day)
        .then(pl.lit("ended"))
        .otherwise(pl.lit("ongoing"))
    )
    known = journeys.select("user_id", "journey", state=state)
    rows = known.join(latent_intent(journeys, day), on=["user_id", "journey"], maintain_order="left")
    felt = pl.when(pl.col("intent") > 0).then(pl.col("intent"))
    return rows.with_columns(intent_rank=felt.rank("ordinal", descending=True).over("user_id"))
