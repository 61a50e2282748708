"""Measured rows: the results of the queries brought into one shape, a row per day, scope, metric and slice.

A share has the number of observations it is a share of; a drift has the counts that are compared, and gets its value
when it is judged, as it depends on earlier days.
"""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from functools import partial
from typing import NamedTuple

import polars as pl

from journeys_dagster.monitoring.metrics import LANDING

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
_OTHER_SCRIPTS = 16
CHARACTER_BINS = _LETTERS + 4 + _OTHER_SCRIPTS
PAIR_SYMBOLS = _LETTERS + 5
"""As the bins of characters, with one for all other scripts."""


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


def character_bin(character: str) -> int:
    """Bin of a character in the profile of texts.

    Latin letters without regard to case, digits, white space, punctuation, what is no text at all (control characters,
    replacement characters, symbols), and the letters of other scripts in sixteen bins by code point.
    """
    folded = character[0].lower()
    if "a" <= folded <= "z":
        return ord(folded) - ord("a")
    category = unicodedata.category(character[0])
    if category[0] == "N":
        return _LETTERS
    if category[0] == "Z":
        return _LETTERS + 1
    if category[0] == "P":
        return _LETTERS + 2
    if category[0] in "CS":
        return _LETTERS + 3
    return _LETTERS + 4 + ord(folded[0]) % _OTHER_SCRIPTS


def volume_rows(landed: pl.DataFrame, days: Sequence[date]) -> list[_Measured]:
    """What `landed_days` tells of some days: volume and rejected share.

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
            row = partial(_Measured, day, LANDING, slice=source, fingerprint=found["fingerprint"])
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
    """What a source's own rows tell of the days on which it has some.

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
    profiles = _text_profiles(results["letter_pairs"]) if "letter_pairs" in results else {}
    rows = []
    of_source = landed.filter(pl.col("source") == source, pl.col("arrival_day").is_in(days))
    for found in of_source.sort("arrival_day").iter_rows(named=True):
        day, accepted, duplicates = found["arrival_day"], found["rows_accepted"], found["rows_duplicate"]
        if not accepted:
            continue

        row = partial(_Measured, day, LANDING, slice=source, fingerprint=found["fingerprint"])
        repeated = duplicates + by_day.get("redelivered", {}).get(day, {"redelivered": 0})["redelivered"]
        delivered = accepted + duplicates
        rows.append(row("duplicate_share", repeated / delivered, delivered))
        if activity := by_day.get("activity", {}).get(day):
            rows.append(row("rows_per_user", accepted / activity["users"], accepted))
            rows.append(row("same_day_share", activity["same_day"] / accepted, accepted))
            users = sum(activity["hours"])
            rows += [row(metric, None, users, activity["hours"]) for metric in ("hour_drift", "silent_hours")]
        if (texts := by_day.get("texts", {}).get(day)) and texts["characters"]:
            characters, pairs = profiles[day]
            rows.append(row("text_drift", None, texts["texts"], characters))
            rows.append(row("text_surprise", None, texts["texts"], pairs))
            rows.append(row("text_length", texts["characters"] / texts["texts"], texts["texts"]))
    return rows


def snapshot_rows(
    snapshots: pl.DataFrame, journeys: pl.DataFrame, keyword_growth: pl.DataFrame, embedded: pl.DataFrame
) -> list[_Measured]:
    """What snapshots tell: results of `SNAPSHOTS`, `journeys_sql`, `KEYWORD_GROWTH`, `EMBEDDED`, a row per day each."""
    listed, grown, covered = (
        {row["as_of"]: row for row in frame.iter_rows(named=True)} for frame in (journeys, keyword_growth, embedded)
    )
    rows = []
    for found in snapshots.sort("as_of").iter_rows(named=True):
        users = found["users"]

        row = partial(_Measured, found["as_of"], found["scope"], fingerprint=found["fingerprint"])
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


def _text_profiles(letter_pairs: pl.DataFrame) -> dict[date, tuple[list[int], list[int]]]:
    """By day: characters by bin, and pairs of symbols, first symbol by first symbol."""
    profiles: dict[date, tuple[list[int], list[int]]] = {}
    bins: dict[str, int] = {}
    for day, character, next_character, occurrences in letter_pairs.iter_rows():
        first, second = (
            bins[one] if one in bins else bins.setdefault(one, character_bin(one))
            for one in (character, next_character)
        )
        characters, pairs = profiles.setdefault(day, ([0] * CHARACTER_BINS, [0] * PAIR_SYMBOLS**2))
        characters[first] += occurrences
        pairs[min(first, PAIR_SYMBOLS - 1) * PAIR_SYMBOLS + min(second, PAIR_SYMBOLS - 1)] += occurrences
    return profiles
