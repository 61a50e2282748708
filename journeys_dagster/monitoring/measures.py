"""Measured rows: the results of the queries brought into one shape, a row per day, scope, metric and slice.

A share has the number of observations it is a share of; a drift has the counts that are compared, and gets its value
when it is judged, as it depends on earlier days.
"""

import functools
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

import duckdb
import polars as pl

from journeys_dagster.monitoring.metrics import LANDING
from journeys_dagster.monitoring.queries import (
    EMBEDDED,
    KEYWORD_GROWTH,
    LANDED,
    SNAPSHOTS,
    activity_sql,
    journeys_sql,
    letter_pairs_sql,
    redelivered_sql,
    texts_sql,
)
from journeys_dagster.sources.contracts import Source
from journeys_dagster.sql.connection import used_params

MEASURED_SCHEMA = {
    "as_of": pl.Date(),
    "scope": pl.String(),
    "metric": pl.String(),
    "slice": pl.String(),
    "value": pl.Float64(),
    "observations": pl.Int64(),
    "counts": pl.List(pl.Int64()),
    "fingerprint": pl.String(),
}
_LETTERS = 26
PAIR_SYMBOLS = _LETTERS + 5


class _Measured(NamedTuple):
    as_of: date
    scope: str
    metric: str
    value: float | None
    observations: int
    counts: Sequence[int] | None = None
    slice: str = ""
    fingerprint: str = ""


def measured_frame(rows: Iterable[_Measured]) -> pl.DataFrame:
    """Measured rows as a frame of `MEASURED_SCHEMA`."""
    return pl.DataFrame([row._asdict() for row in rows], schema=MEASURED_SCHEMA)


def symbol_of(character: str) -> int:
    """Symbol of a character in the pairs of letters of texts.

    Latin letters without regard to case, numbers, white space, punctuation, what is no text at all (control characters,
    replacement characters, symbols), and the letters of all other scripts.
    """
    folded = character[0].lower()
    if "a" <= folded <= "z":
        return ord(folded) - ord("a")
    kind = "NZPCS".find(unicodedata.category(character[0])[0])
    return PAIR_SYMBOLS - 1 if kind < 0 else _LETTERS + min(kind, 3)


def measure_landing(
    connection: duckdb.DuckDBPyConnection, sources: Mapping[str, Source], days: Sequence[date], *, known_from: date
) -> pl.DataFrame:
    """Measure what arrived on some days, source by source.

    Parameters
    ----------
    known_from : date
        A source that landed since then is expected on the days after.
    """
    if not days:
        return measured_frame([])
    query = _querying(connection, {"days": list(days), "first": min(days), "last": max(days)})
    landed = connection.sql(LANDED, params={"first": known_from, "last": max(days)}).pl()
    rows = volume_rows(landed, days)
    there = landed.filter(pl.col("arrival_day").is_in(list(days)), pl.col("rows_accepted") > 0)["source"].unique()
    for source in (source for name, source in sources.items() if name in there):
        queries = {}
        if source.has_user_events:
            queries = {"redelivered": redelivered_sql(source), "activity": activity_sql(source)}
        if source.prose:
            queries |= {"texts": texts_sql(source), "letter_pairs": letter_pairs_sql(source)}
        rows += source_rows(source.name, landed, {name: query(sql) for name, sql in queries.items()}, days)
    return measured_frame(rows)


def measure_snapshots(
    connection: duckdb.DuckDBPyConnection, days: Sequence[date], *, model_revision: str
) -> pl.DataFrame:
    """Measure the snapshots of some days, of the users in scope."""
    if not days:
        return measured_frame([])
    query = _querying(connection, {"days": list(days), "model_revision": model_revision})
    return measured_frame(snapshot_rows(*map(query, (SNAPSHOTS, journeys_sql(), KEYWORD_GROWTH, EMBEDDED))))


def _querying(connection: duckdb.DuckDBPyConnection, params: Mapping[str, Any]) -> Callable[[str], pl.DataFrame]:
    return lambda sql: connection.sql(sql, params=used_params(sql, params)).pl()


def volume_rows(landed: pl.DataFrame, days: Sequence[date]) -> list[_Measured]:
    """Volume and rejected share of some days, from `landed_days`.

    Parameters
    ----------
    landed : DataFrame
        Rows of `landed_days`, of earlier days too: a source that landed before has a volume of 0 where it is absent.
    """
    counts = {(row["source"], row["arrival_day"]): row for row in landed.iter_rows(named=True)}
    first_days: dict[str, date] = {source: min(day for other, day in counts if other == source) for source, _ in counts}
    rows = []
    for day in days:
        for source, first in sorted(first_days.items()):
            found = counts.get((source, day))
            if found is None:
                if first < day:
                    rows.append(_Measured(day, LANDING, "volume", 0.0, 0, slice=source))
                continue
            row = functools.partial(_Measured, day, LANDING, slice=source, fingerprint=found["fingerprint"])
            accepted, read = found["rows_accepted"], found["rows_read"]
            rows.append(row("volume", float(accepted), accepted))
            shares = [
                (found[part] / found[whole], found[whole])
                for part, whole in (("rows_rejected", "rows_read"), ("unreadable_files", "files"))
                if found[whole]
            ]
            if shares:
                share = max(share for share, _ in shares)
                rows.append(row("rejected_share", share, max(read, 1)))
    return rows


def source_rows(
    source: str, landed: pl.DataFrame, results: Mapping[str, pl.DataFrame], days: Sequence[date]
) -> list[_Measured]:
    """Metrics of a source's own rows, on days with rows.

    Parameters
    ----------
    results : mapping
        Results of the queries by name: ``redelivered`` and ``activity`` for sources with users and times; ``texts`` and
        ``letter_pairs`` for sources with texts.
    """
    by_day = {
        name: {row["arrival_day"]: row for row in frame.iter_rows(named=True)}
        for name, frame in results.items()
        if name != "letter_pairs"
    }
    pairs = _pair_counts(results["letter_pairs"]) if "letter_pairs" in results else {}
    rows = []
    of_source = landed.filter(pl.col("source") == source, pl.col("arrival_day").is_in(days))
    for found in of_source.sort("arrival_day").iter_rows(named=True):
        day, accepted, duplicates = found["arrival_day"], found["rows_accepted"], found["rows_duplicate"]
        if not accepted:
            continue

        row = functools.partial(_Measured, day, LANDING, slice=source, fingerprint=found["fingerprint"])
        repeated = duplicates + by_day.get("redelivered", {}).get(day, {"redelivered": 0})["redelivered"]
        delivered = accepted + duplicates
        rows.append(row("duplicate_share", repeated / delivered, delivered))
        if activity := by_day.get("activity", {}).get(day):
            rows.append(row("rows_per_user", accepted / activity["users"], accepted))
            rows.append(row("same_day_share", activity["same_day"] / accepted, accepted))
            users = sum(activity["hours"])
            rows += [row(metric, None, users, activity["hours"]) for metric in ("hour_drift", "silent_hours")]
        if (texts := by_day.get("texts", {}).get(day)) and texts["characters"]:
            rows.append(row("text_surprise", None, texts["texts"], pairs[day]))
            rows.append(row("text_length", texts["characters"] / texts["texts"], texts["texts"]))
    return rows


def snapshot_rows(
    snapshots: pl.DataFrame, journeys: pl.DataFrame, keyword_growth: pl.DataFrame, embedded: pl.DataFrame
) -> list[_Measured]:
    """Metrics of snapshots, from `SNAPSHOTS`, `journeys_sql`, `KEYWORD_GROWTH`, `EMBEDDED`, a row per day each."""
    listed, grown, covered = (
        {row["as_of"]: row for row in frame.iter_rows(named=True)} for frame in (journeys, keyword_growth, embedded)
    )
    rows = []
    for found in snapshots.sort("as_of").iter_rows(named=True):
        users = found["users"]

        row = functools.partial(_Measured, found["as_of"], found["scope"], fingerprint=found["fingerprint"])
        rows.append(row("no_journey_share", found["users_without"] / users, users))
        rows.append(row("journeys_per_user", found["journeys"] / users, users))
        if growth := grown.get(found["as_of"]):
            rows.append(row("keyword_growth", growth["growth"], growth["users"]))
        if cover := covered.get(found["as_of"]):
            rows.append(row("embedding_coverage", cover["embedded"] / cover["keywords"], cover["keywords"]))
        if journey := listed.get(found["as_of"]):
            rows.append(row("unnamed_share", journey["unnamed"] / journey["listed"], journey["listed"]))
            for metric, counts in (
                ("confidence_drift", "confidences"),
                ("score_drift", "scores"),
                ("stage_drift", "stages"),
            ):
                rows.append(row(metric, None, journey["listed"], journey[counts]))
    return rows


def _pair_counts(letter_pairs: pl.DataFrame) -> dict[date, list[int]]:
    """By day: pairs of symbols, first symbol by first symbol."""
    counts: defaultdict[date, list[int]] = defaultdict(lambda: [0] * PAIR_SYMBOLS**2)
    symbol = functools.cache(symbol_of)
    for day, character, next_character, occurrences in letter_pairs.iter_rows():
        counts[day][symbol(character) * PAIR_SYMBOLS + symbol(next_character)] += occurrences
    return counts
