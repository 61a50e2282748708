"""Some users of a home: what the warehouse says of them, and what is true.

Everything is as of each user's newest snapshot. How good it is belongs to the other modules.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from journeys_dagster.settings import Settings
from lab.benchmark import BenchmarkError
from lab.evaluation.corpora import event_truth
from lab.evaluation.statistics import majority
from lab.simulation.intent import latent_intent
from lab.simulation.journey_types import Half
from lab.simulation.truth import scan_truth, states_on

Query = Callable[[str, Mapping[str, Any]], pl.DataFrame]
"""Rows of the warehouse, by SQL and its parameters."""

_JOURNEY = ["user_id", "journey_id"]
_NEWEST = """
    with newest as (
        select user_id, max(as_of) as as_of from user_snapshots
        where user_id in (select unnest($users)) group by user_id
    )
"""
_KEYWORDS = f"""
    {_NEWEST}
    select user_id, keyword, keywords.weight, keywords.events, keywords.first_seen, keywords.last_seen, recent_times,
        journey_id
    from keywords
    join newest using (user_id, as_of)
    left join clusters using (user_id, as_of, keyword)
    left join journey_identities using (user_id, as_of, cluster)
    order by user_id, keyword
"""
_EVENTS = f"""
    {_NEWEST}
    select distinct user_id, source, action, coalesce(item_id, '') as item_id, occurred_at, share, keyword
    from keyword_events join newest using (user_id)
    where known_from <= as_of and known_until > as_of
        and occurred_at >= cast(as_of as timestamp) - to_days(cast($lookback_days as integer))
"""
_LISTED = """
    select user_id, journey_id, rank, name, lifecycle, stage, confidence, return_probability
    from current_user_journeys where user_id in (select unnest($users)) order by user_id, rank
"""
_RANKED = f"""
    {_NEWEST}
    select user_id, journey_id, rank, frequency, recency_days from rankings join newest using (user_id, as_of)
    order by user_id, rank
"""
_FOLLOWED = """
    select as_of, user_id, keyword, journey_id, weight, rank
    from clusters
    join journey_identities using (as_of, user_id, cluster)
    join diversified_journeys using (as_of, user_id, journey_id)
    where user_id in (select unnest($users))
"""
_SOURCES = {"searches": "search", "engagements": "engagement", "board_items": "board"}


@dataclass(frozen=True)
class Truth:
    """The truth of a home, and what of it counts.

    Attributes
    ----------
    types : DataFrame
        Columns ``journey``, ``domain``, ``counts`` (bool: of the half that is asked for).
    last_day : date
        Of the last event.
    """

    folder: Path
    types: pl.DataFrame
    last_day: date

    @classmethod
    def of(cls, folder: Path, half: Half | None) -> "Truth":
        """Read what is the same for all users.

        Raises
        ------
        BenchmarkError
            There is no truth in the folder, or no event.
        """
        if not (folder / "types.parquet").exists():
            raise BenchmarkError(
                f"no truth in {folder}: `journeys simulate` writes it beside the landing zone; of a real log it is not "
                "known, see `journeys evaluate --help`"
            )
        counts = pl.lit(value=True) if half is None else pl.col("half") == half
        types = scan_truth(folder, "types").select("journey", "domain", counts=counts).collect()
        last = scan_truth(folder, "events").select(pl.col("occurred_at").max().dt.date()).collect().item()
        if last is None:
            raise BenchmarkError(f"the truth in {folder} has no event: simulate more users or days")
        return cls(folder, types, last)


@dataclass(frozen=True)
class Part:
    """Some users. Of the truth, only the half that is asked for; what is truly of the other one is taken out.

    Attributes
    ----------
    keywords : DataFrame
        One row per user and keyword, sorted: ``weight``, ``events``, ``first_seen``, ``last_seen``, ``recent_times``,
        ``journey_id`` (null: left out), ``truth`` (null: noise, or the other half).
    events : DataFrame
        One row per event and keyword: ``user_id``, ``event`` (int), ``keyword``, ``truth`` (null: noise).
    listed : DataFrame
        One row per journey of a user's list, in order: ``rank``, ``name``, ``lifecycle``, ``stage``, ``confidence``,
        ``return_probability``, ``truth`` (what most of its weight is truly of; null: nothing but noise), ``returned``
        (float64, whether the user goes on with that; where the truth ends too soon, how likely it is).
    ranked : DataFrame
        All journeys of a user: ``rank``, ``frequency``, ``recency_days``, ``truth``.
    journeys : DataFrame
        What users are truly up to and have shown so far: ``user_id``, ``truth``, ``lifecycle``, ``stage``, ``intent``
        (of the next day), ``days_ended`` (null while it goes on).
    followed : DataFrame
        One row per keyword that is in two snapshots of a user that follow one another: ``user_id``, ``as_of``,
        ``keyword``, ``weight``, and the ids ``journey_id``, ``place`` and ``heaviest``, each with ``_before``.
    """

    keywords: pl.DataFrame
    events: pl.DataFrame
    listed: pl.DataFrame
    ranked: pl.DataFrame
    journeys: pl.DataFrame
    followed: pl.DataFrame


def read_part(query: Query, truth: Truth, settings: Settings, users: Sequence[str]) -> Part:
    """Read and put together what concerns some users."""
    params = {"users": list(users)}
    snapshots = query(f"{_NEWEST} select user_id, as_of from newest", params)
    read_on: date = query("select max(as_of) as day from user_snapshots", {})["day"][0]
    true_events = (
        scan_truth(truth.folder, "events")
        .filter(pl.col("user_id").is_in(list(users)))
        .with_columns(pl.col("occurred_at").dt.replace_time_zone(None))
        .collect()
        .join(snapshots, on="user_id")
    )
    found_events = query(_EVENTS, {**params, "lookback_days": settings.keywords.lookback_days})
    events = with_truth(found_events, true_events)
    keywords = query(_KEYWORDS, params).join(event_truth(events, settings), on=["user_id", "keyword"], how="left")
    # The truth of a journey is decided from all keywords, before any are left out.
    millionths = (pl.col("weight") * 1e6).round().cast(pl.Int64)
    of_journey = majority(keywords.drop_nulls("journey_id"), _JOURNEY, millionths.sum())
    true_journeys = scan_truth(truth.folder, "journeys").filter(pl.col("user_id").is_in(list(users))).collect()
    shown = true_events.filter(pl.col("arrival_day") <= pl.col("as_of"), pl.col("journey").is_not_null())
    journeys = _as_they_stand(true_journeys, read_on).join(
        shown.select("user_id", truth="journey").unique(), on=["user_id", "truth"], how="semi"
    )
    returns = _returns(true_events, true_journeys, truth, read_on, days=settings.ranking.return_days)
    other = truth.types.filter(~pl.col("counts")).select(truth="journey")
    listed = query(_LISTED, params).join(of_journey, on=_JOURNEY, how="left", maintain_order="left")
    listed = listed.join(returns, on=["user_id", "truth"], how="left", maintain_order="left")
    ranked = query(_RANKED, params).join(of_journey, on=_JOURNEY, how="left", maintain_order="left")
    of_other = pl.col("truth").is_in(other["truth"].to_list()).fill_null(value=False)
    return Part(
        keywords=keywords.with_columns(truth=pl.when(~of_other).then("truth")).sort("user_id", "keyword"),
        events=events.filter(~of_other)
        .with_columns(event=pl.struct("user_id", "source", "action", "item_id", "occurred_at").rank("dense"))
        .select("user_id", "event", "keyword", "truth"),
        listed=_closed_up(listed.filter(~of_other).with_columns(pl.col("returned").fill_null(0.0))),
        ranked=_closed_up(ranked.filter(~of_other)),
        journeys=journeys.filter(~of_other),
        followed=_followed(query(_FOLLOWED, params)),
    )


def with_truth(found: pl.DataFrame, true_events: pl.DataFrame) -> pl.DataFrame:
    """Events of keywords with the journey they are part of."""
    came_from = true_events.select(
        "user_id",
        pl.col("source").replace_strict(_SOURCES),
        "occurred_at",
        item_id=pl.when(pl.col("source") == "searches").then(pl.lit("")).otherwise("what"),
        truth="journey",
    ).unique(["user_id", "source", "occurred_at", "item_id"])
    return found.join(came_from, on=["user_id", "source", "occurred_at", "item_id"], how="inner")


def _as_they_stand(true_journeys: pl.DataFrame, day: date) -> pl.DataFrame:
    # What has been shown has begun, whatever the person's clock says.
    stage = states_on(true_journeys, day).select(
        "user_id", "journey", stage=pl.col("state").replace({"ahead": "ongoing"})
    )
    intent = latent_intent(true_journeys, day + timedelta(days=1))
    since = (pl.lit(day) - pl.col("ends")).dt.total_days()
    return (
        true_journeys.select("user_id", "journey", "lifecycle", days_ended=pl.when(pl.col("ends") < day).then(since))
        .join(stage, on=["user_id", "journey"])
        .join(intent, on=["user_id", "journey"])
        .rename({"journey": "truth"})
    )


def _returns(
    true_events: pl.DataFrame, true_journeys: pl.DataFrame, truth: Truth, read_on: date, *, days: int
) -> pl.DataFrame:
    """Whether users go on with each journey within some days of their snapshot: ``returned`` in [0, 1]."""
    key = ["user_id", "truth"]
    if knows_returns(truth, read_on, days=days):
        day = pl.col("occurred_at").dt.date()
        soon = day.is_between(pl.col("as_of"), pl.col("as_of") + pl.duration(days=days), closed="right")
        came = true_events.filter(soon).select("user_id", truth="journey").drop_nulls().unique()
        return came.with_columns(returned=pl.lit(1.0))
    daily = [latent_intent(true_journeys, read_on + timedelta(days=ahead)) for ahead in range(1, days + 1)]
    sittings = pl.concat(daily).rename({"journey": "truth"}).group_by(key).agg(pl.col("intent").sum())
    return sittings.select(*key, returned=1.0 - (-pl.col("intent")).exp())


def knows_returns(truth: Truth, read_on: date, *, days: int) -> bool:
    """Whether the truth goes on for so many days after a snapshot."""
    return truth.last_day >= read_on + timedelta(days=days)


def _closed_up(journeys: pl.DataFrame) -> pl.DataFrame:
    """Places without gaps, in the same order."""
    return journeys.sort("user_id", "rank").with_columns(rank=pl.int_range(1, pl.len() + 1).over("user_id"))


def _followed(rows: pl.DataFrame) -> pl.DataFrame:
    """Keywords of every snapshot beside those of the user's one before."""
    heaviest = pl.col("keyword").sort_by("weight", "keyword", descending=[True, False]).first()
    numbered = rows.with_columns(
        number=pl.col("as_of").rank("dense").over("user_id").cast(pl.Int64),
        place=pl.col("rank").cast(pl.String),
        heaviest=heaviest.over("as_of", "user_id", "journey_id"),
    )
    ids = ["journey_id", "place", "heaviest"]
    before = numbered.select("user_id", "keyword", pl.col("number") + 1, *ids)
    return numbered.join(before, on=["user_id", "keyword", "number"], suffix="_before").select(
        "user_id", "as_of", "keyword", "weight", *ids, *(f"{name}_before" for name in ids)
    )
