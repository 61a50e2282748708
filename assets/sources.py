"""Landing data brought into the warehouse: one asset per declared source."""

from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from journeys_dagster.orchestration.asset import Asset, Run, table_asset
from journeys_dagster.orchestration.checks import REJECTED_SHARE_CHECK, files_read_result, files_read_spec
from journeys_dagster.orchestration.metadata import (
    SAMPLE_ROWS,
    plot,
    row_metadata,
)
from journeys_dagster.orchestration.sharded import describe, take_in_by_shard
from journeys_dagster.reporting.plots import daily_counts
from journeys_dagster.reporting.tables import markdown_table
from journeys_dagster.resources.landing_zone import IncompleteDayError
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import Settings
from journeys_dagster.sources.contracts import LANDED_DAYS, REJECTED_ROWS, Source, declared_sources
from journeys_dagster.sources.cures import cure
from journeys_dagster.sources.reader import LandedRows, read_days

OVER_CAP_CHECK = "rows_over_cap"
_USERS_LISTED = 20
_REASONS_LISTED = 3


def source_assets(settings: Settings) -> list[Asset]:
    """One asset per declared source."""
    return [_source_asset(source) for source in declared_sources(settings).values()]


def _source_asset(source: Source) -> Asset:
    """The asset that ingests a source's landing days."""
    checks = [
        dg.AssetCheckSpec(
            REJECTED_SHARE_CHECK,
            asset=source.name,
            blocking=True,
            description="No day has a larger share of rejected rows or unreadable files than "
            "landing.max_rejected_share.",
        ),
        files_read_spec(source.name),
    ]
    if source.has_user_events:
        checks.append(
            dg.AssetCheckSpec(
                OVER_CAP_CHECK,
                asset=source.name,
                description="No user has more rows in a day than landing.max_rows_per_user_per_day.",
            )
        )

    @table_asset(
        source.table,
        kinds={"python"},
        group="sources",
        decides=False,
        checks=checks,
        needs=frozenset({"landing_zone"}),
        gathers=True,
    )
    def take_in(run: Run) -> dg.MaterializeResult:
        warehouse, landing = run.warehouse, run.settings.landing
        try:
            folders = run.landing.landed_folders(source.name, run.days)
        except IncompleteDayError as error:
            raise dg.Failure(str(error), allow_retries=False) from None
        taken_in = []
        landed_here = run.shards is None or not source.table.is_per_user
        for batch in _batches(folders, landing.days_per_batch):
            if landed_here or run.shards is None:
                landed = read_days(source, batch, landing)
            else:
                landed = take_in_by_shard(run, run.shards, source, batch)
            write_landed(warehouse, source, landed, list(batch), with_rows=landed_here)
            taken_in.append(landed)
            run.log(f"{source.name}: {len(batch)} days up to {max(batch)} ingested")
        if not taken_in:
            # The table must be there for the views on it, also where a platform has no such source.
            if not landed_here and run.shards is not None:
                run.shards.each("take_in", source=source.name, days=[], files=[])
            own = [(source.table, _nothing(), dict[str, str]())] if landed_here else []
            warehouse.replace_days([*own, (REJECTED_ROWS, _nothing(), {})], [])
        if run.shards is not None:
            run.shards.changed(LANDED_DAYS.name)
        if landed_here or run.shards is None:
            shown = row_metadata(warehouse, source.table, run.days[-1].isoformat())
        else:
            shown = describe(run.shards, source.table, run.days[-1])
        return _report(source, taken_in, shown, run.settings)

    return take_in


def write_landed(
    warehouse: Warehouse, source: Source, landed: LandedRows, days: Sequence[date], *, with_rows: bool = True
) -> None:
    """Replace days of a source with what was read, the rejected rows and the record of it, all at once; without the
    accepted rows where these lie in their users' shards.
    """
    of_source = {"source": source.name}
    warehouse.replace_days(
        [
            *([(source.table, landed.accepted, dict[str, str]())] if with_rows else []),
            (REJECTED_ROWS, landed.rejected, of_source),
            (LANDED_DAYS, landed.days, of_source),
        ],
        days,
    )


def _nothing() -> pl.DataFrame:
    return pl.DataFrame()


def _batches(folders: dict[date, Path], size: int) -> Iterator[dict[date, Path]]:
    days = sorted(folders)
    for start in range(0, len(days), size):
        yield {day: folders[day] for day in days[start : start + size]}


def _report(
    source: Source, taken_in: Sequence[LandedRows], metadata: dict[str, Any], settings: Settings
) -> dg.MaterializeResult:
    if not taken_in:
        metadata["note"] = "nothing has landed for this source in these partitions; what was there stays"
        nothing = _nothing()
        checks = _check_results(source, nothing, nothing, nothing, settings)
        return dg.MaterializeResult(metadata=metadata, check_results=checks)
    days = pl.concat(landed.days for landed in taken_in)
    rejected = pl.concat(landed.rejected for landed in taken_in)
    over_cap = pl.concat(landed.over_cap for landed in taken_in)
    counts = ("rows_read", "rows_accepted", "rows_duplicate", "rows_over_cap", "rows_rejected", "unreadable_files")
    metadata |= {name: int(days[name].sum()) for name in counts}
    metadata["days"] = days.height
    if not rejected.is_empty():
        reasons = rejected["reason"].value_counts(sort=True).head(20)
        metadata["rejected_by_reason"] = dg.MetadataValue.md(markdown_table(reasons, max_rows=20))
        metadata["rejected_sample"] = dg.MetadataValue.md(markdown_table(rejected.head(SAMPLE_ROWS)))
    if not over_cap.is_empty():
        most = over_cap.sort("rows_over_cap", "arrival_day", "user_id", descending=[True, False, False])
        metadata["users_over_cap"] = over_cap["user_id"].n_unique()
        metadata["rows_over_cap_by_user"] = dg.MetadataValue.md(markdown_table(most, max_rows=_USERS_LISTED))
    if days.height > 1:
        png = daily_counts(
            days["arrival_day"],
            {"accepted": days["rows_accepted"], "rejected": days["rows_rejected"]},
            title=f"{source.name}: rows by arrival day",
            y_label="rows",
        )
        metadata["plot"] = plot(png, alt=f"rows of {source.name} by arrival day")
    checks = _check_results(source, days, rejected, over_cap, settings)
    return dg.MaterializeResult(metadata=metadata, check_results=checks)


def _check_results(
    source: Source, days: pl.DataFrame, rejected: pl.DataFrame, over_cap: pl.DataFrame, settings: Settings
) -> list[dg.AssetCheckResult]:
    unreadable = rejected if rejected.is_empty() else rejected.filter(pl.col("row_number").is_null())
    results = [_share_check(source, days, rejected, settings), files_read_result(source.name, unreadable)]
    if source.has_user_events:
        results.append(_cap_check(source, over_cap, settings))
    return results


def _cap_check(source: Source, over_cap: pl.DataFrame, settings: Settings) -> dg.AssetCheckResult:
    """Whether every user's rows were kept; a bot is reported, and does not stop the others."""
    limit = settings.landing.max_rows_per_user_per_day
    metadata: dict[str, Any] = {"limit": limit, "users": 0, "rows_over_cap": 0}
    description = None
    if not over_cap.is_empty():
        users, rows = over_cap["user_id"].n_unique(), int(over_cap["rows_over_cap"].sum())
        metadata |= {"users": users, "rows_over_cap": rows}
        description = (
            f"{source.name}: {rows:,} rows of {users:,} users left out, who had more than {limit:,} in a day; their "
            "newest are in. Is it a bot? Else raise landing.max_rows_per_user_per_day and run the days again."
        )
    return dg.AssetCheckResult(
        check_name=OVER_CAP_CHECK,
        passed=over_cap.is_empty(),
        severity=dg.AssetCheckSeverity.WARN,
        metadata=metadata,
        description=description,
    )


def _share_check(source: Source, days: pl.DataFrame, rejected: pl.DataFrame, settings: Settings) -> dg.AssetCheckResult:
    """Whether no day lost too many rows; the good ones are stored in any case."""
    limit = settings.landing.max_rejected_share
    metadata: dict[str, Any] = {"limit": limit, "largest_share": 0.0}
    failed = pl.DataFrame()
    if not days.is_empty():
        shares = days.select(
            "arrival_day",
            share=pl.max_horizontal(
                (pl.col("rows_rejected") / pl.col("rows_read")).fill_nan(0.0),
                (pl.col("unreadable_files") / pl.col("files")).fill_nan(0.0),
            ),
        )
        failed = shares.filter(pl.col("share") > limit)
        metadata["largest_share"] = float(shares.select(pl.col("share").max()).item())
    description = None
    if not failed.is_empty():
        listed = ", ".join(f"{day} ({share:.1%})" for day, share in failed.head(10).iter_rows())
        description = (
            f"{source.name}: more than {limit:.1%} rejected on {listed}. {_reasons(rejected, failed['arrival_day'])} "
            "The good rows are in. Mend the files and run the days again; only where such rows may be lost, raise "
            "landing.max_rejected_share."
        )
    return dg.AssetCheckResult(
        check_name=REJECTED_SHARE_CHECK, passed=failed.is_empty(), metadata=metadata, description=description
    )


def _reasons(rejected: pl.DataFrame, days: pl.Series) -> str:
    """The most frequent reasons of some days, each with what to do."""
    of_days = rejected.filter(pl.col("arrival_day").is_in(days.implode()))
    reasons = of_days["reason"].value_counts(sort=True).sort("count", "reason", descending=[True, False])
    said = [
        f"{count:,} × {reason}" + (f" ({what_to_do})" if (what_to_do := cure(reason)) else "")
        for reason, count in reasons.head(_REASONS_LISTED).iter_rows()
    ]
    more = f"; +{reasons.height - _REASONS_LISTED} more reasons" if reasons.height > _REASONS_LISTED else ""
    return f"{'; '.join(said)}{more}."
