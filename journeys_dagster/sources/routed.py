"""Landing files read once and their rows put down by shard; then each shard's rows accepted as those of a day.

Files are checked as by `reader`; whoever reads some of them knows nothing of the others. Duplicates and rows over a
user's cap are found in the shard, where all rows of a user meet.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from journeys_dagster.settings import LandingSettings
from journeys_dagster.sources.contracts import Source
from journeys_dagster.sources.files import fingerprint
from journeys_dagster.sources.reader import (
    LandedRows,
    accepted_rows,
    check_files,
    fatal_files,
    landed_days,
    rejected_rows,
    unreadable_rows,
)
from journeys_dagster.sources.routing import shard_sql
from journeys_dagster.sources.work_database import work_database
from journeys_dagster.tables import quote_literal

_REJECTED = "rejected.parquet"
_COUNTED = {"arrival_day": pl.Date, "rows_read": pl.Int64, "rows_good": pl.Int64, "rows_rejected": pl.Int64}
_ACCEPTED = {"arrival_day": pl.Date, "rows_accepted": pl.Int64}
_REJECTED_SCHEMA = {
    "arrival_day": pl.Date,
    "source": pl.String,
    "file": pl.String,
    "row_number": pl.Int64,
    "reason": pl.String,
    "row": pl.String,
}
_OVER_CAP = {"arrival_day": pl.Date, "user_id": pl.String, "rows_over_cap": pl.Int64}
Files = dict[date, list[Path]]


@dataclass(frozen=True)
class TakenIn:
    """What a shard has accepted of some days.

    Attributes
    ----------
    accepted : DataFrame
        Columns of the source's table.
    over_cap : DataFrame
        As `LandedRows.over_cap`.
    """

    accepted: pl.DataFrame
    over_cap: pl.DataFrame

    def counts(self) -> dict[str, Any]:
        """How many, as JSON has it."""
        by_day = self.accepted.group_by("arrival_day").len("rows_accepted")
        return {"accepted": _rows(by_day), "over_cap": _rows(self.over_cap)}


def shares_of_files(files: Files, count: int) -> list[Files]:
    """Files dealt out, so that each lies in one of at most `count` shares."""
    dealt = [(day, path) for day, paths in sorted(files.items()) for path in paths]
    shares: list[Files] = [{} for _ in range(min(count, len(dealt)))]
    for number, (day, path) in enumerate(dealt):
        shares[number % len(shares)].setdefault(day, []).append(path)
    return shares


def route_files(source: Source, files: Files, landing: LandingSettings, *, shards: int, to: Path) -> dict[str, Any]:
    """Check files, and put down their good rows in `to` by shard, those that were rejected in a file of their own.

    Returns
    -------
    dict
        Rows by day, and the files that could not be read, as JSON has it.
    """
    try:
        return _route(source, files, {}, landing, shards=shards, to=to)
    except duckdb.FatalException:
        fatal = fatal_files(source, files, landing)
        return _route(source, files, fatal, landing, shards=shards, to=to)


def _route(
    source: Source, files: Files, unreadable: dict[Path, str], landing: LandingSettings, *, shards: int, to: Path
) -> dict[str, Any]:
    to.mkdir(parents=True, exist_ok=True)
    with work_database() as connection:
        check_files(connection, source, files, unreadable, landing)
        columns = ", ".join(f'"{name}"' for name in ("arrival_day", *source.fields))
        connection.execute(
            f"copy (select {columns}, {shard_sql(shards)} as shard from checked where reason is null) "
            f"to {quote_literal(str(to))} (format parquet, compression lz4, partition_by (shard), overwrite_or_ignore)"
        )
        rejected, counts = rejected_rows(connection, source)
    rejected.write_parquet(to / _REJECTED)
    return {"counts": _rows(counts), "unreadable": {str(path): reason for path, reason in unreadable.items()}}


def rows_of_shard(folders: Sequence[Path], shard: int) -> list[str]:
    """Files with the rows of a shard, of those that `route_files` put down."""
    return [str(file) for folder in folders for file in sorted((folder / f"shard={shard}").glob("*.parquet"))]


def take_in(source: Source, files: Sequence[str], landing: LandingSettings) -> TakenIn:
    """The rows that a shard accepts of days, of files with all its good rows of these days."""
    if not files:
        return TakenIn(pl.DataFrame(schema={"arrival_day": pl.Date}), pl.DataFrame(schema=_OVER_CAP))
    columns = ", ".join(f'"{name}"' for name in ("arrival_day", *source.fields))
    with work_database() as connection:
        listed = ", ".join(map(quote_literal, files))
        connection.execute(
            f"create table checked as select {columns}, null as reason "
            f"from read_parquet([{listed}], hive_partitioning = false)"
        )
        return TakenIn(*accepted_rows(connection, source, landing))


def put_together(
    source: Source,
    files: Files,
    *,
    fingerprints: Mapping[date, str],
    folders: Sequence[Path],
    routed: Sequence[Mapping[str, Any]],
    taken_in: Sequence[Mapping[str, Any]],
) -> LandedRows:
    """What days held, without the accepted rows, which lie in their shards.

    Parameters
    ----------
    folders, routed : sequence
        Where each share of the files was routed to, and what `route_files` said of it.
    taken_in : sequence of mapping
        `TakenIn.counts` of each shard.
    """
    unreadable = {Path(path): reason for each in routed for path, reason in each["unreadable"].items()}
    sums = pl.col("rows_read", "rows_good", "rows_rejected", "rows_accepted", "rows_over_cap").sum()
    counts = pl.concat(
        [
            *(_frame(each["counts"], _COUNTED) for each in routed),
            *(_frame(each["accepted"], _ACCEPTED) for each in taken_in),
            *(_frame(each["over_cap"], _OVER_CAP).drop("user_id") for each in taken_in),
        ],
        how="diagonal",
    )
    rejected = pl.concat(
        [pl.DataFrame(schema=_REJECTED_SCHEMA), *(pl.read_parquet(folder / _REJECTED) for folder in folders)]
    )
    return LandedRows(
        accepted=pl.DataFrame(),
        rejected=pl.concat(
            [rejected.sort(list(_REJECTED_SCHEMA)), unreadable_rows(source, files, unreadable, rejected.schema)]
        ),
        days=landed_days(source, files, dict(fingerprints), unreadable, counts.group_by("arrival_day").agg(sums)),
        over_cap=pl.concat([_frame(each["over_cap"], _OVER_CAP) for each in taken_in]).sort("arrival_day", "user_id"),
    )


def fingerprints_of(files: Files) -> dict[date, str]:
    """Of days, taken before their rows are read."""
    return {day: fingerprint(paths) for day, paths in files.items()}


def _rows(frame: pl.DataFrame) -> list[list[Any]]:
    return [[value.isoformat() if isinstance(value, date) else value for value in row] for row in frame.iter_rows()]


def _frame(rows: Sequence[Sequence[Any]], schema: Mapping[str, Any]) -> pl.DataFrame:
    texts = {name: pl.String if kind == pl.Date else kind for name, kind in schema.items()}
    return pl.DataFrame(rows, schema=texts, orient="row").with_columns(pl.col("arrival_day").str.to_date())
