"""Quality watch: metrics of landing data and snapshots, day by day, each with what was expected of it and a check."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import dagster as dg
import polars as pl

from journeys_dagster.monitoring.measures import measure_landing, measure_snapshots
from journeys_dagster.monitoring.metrics import LANDING, METRICS, QualityMetric
from journeys_dagster.monitoring.watch import alarms_text, check_days, value_text
from journeys_dagster.orchestration.asset import Run, table_asset
from journeys_dagster.orchestration.metadata import plot
from journeys_dagster.reporting.tables import markdown_table
from journeys_dagster.reporting.watch_plot import watched_days, watched_ranges
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import QualityCheck, QualitySettings, Settings
from journeys_dagster.sources.contracts import declared_sources
from journeys_dagster.tables import Column, Table, bigint, boolean, double, integer, quote_literal, text, utc_day

TABLE = Table(
    name="quality_metrics",
    kind="kept",
    description="What the quality watch has measured day by day, what was expected, and what was an alarm.",
    grain="one row per as_of, scope, metric and slice",
    columns={
        "as_of": utc_day("arrival day of the rows, or day of the snapshot"),
        "scope": text("landing; or the snapshot's, active_users or all_users"),
        "metric": text("the metric, which is also the name of its check"),
        "slice": text("the source; empty for a snapshot"),
        "value": double(
            "the measured value; null for a drift from too few earlier days",
            nullable=True,
        ),
        "observations": bigint("rows, users, … the value is made from"),
        "counts": Column(
            type="BIGINT[]",
            description="of a distribution: the day's, which later days compare with",
            nullable=True,
        ),
        "fingerprint": text("of the landing files, empty where there are none; or the algorithm version"),
        "expected": double("by the days before; null while there are too few", nullable=True),
        "low": double("lower end of the expected range", nullable=True),
        "high": double("upper end of the expected range", nullable=True),
        "history_days": integer("earlier days that it was expected from"),
        "severity": text("of an alarm, by the settings: warn or error"),
        "alarm": boolean("whether it is out of range on the side that is a fault"),
        "reason": text("of an alarm: what, how far, and where to look; else empty"),
    },
    key=("as_of", "scope", "metric", "slice"),
    partition_column="as_of",
)
_MEASURED_LANDING = f"""
    select arrival_day as day
    from landed_days
    where arrival_day between $first and $last
        and (source, arrival_day, fingerprint) not in (
            select (slice, as_of, fingerprint)
            from {TABLE.name}
            where scope = '{LANDING}' and metric = 'volume'
        )
    group by arrival_day
"""
_MISSING_SNAPSHOTS = f"""
    select as_of as day
    from users_in_scope
    where as_of between $first and $last
        and (as_of, scope) not in (select (as_of, scope) from {TABLE.name})
    group by as_of
"""
# Rows of metrics that are measured no more stay until their days are watched again.
_HISTORY = f"""
    from {TABLE.name}
    where as_of between $first and $last and metric in ({", ".join(map(quote_literal, METRICS))})
"""
_TITLE = "What was measured, within what was expected"
_PANEL = pl.when(pl.col("slice") == "").then("scope").otherwise("slice")


@table_asset(
    TABLE,
    kinds={"python", "table"},
    group="quality",
    decides=False,
    deps=[
        *declared_sources(Settings()),
        *("clusters", "keyword_embeddings", "user_journeys", "user_snapshots", "users_in_scope"),
    ],
    needs=frozenset({"embedder"}),
    checks=[
        dg.AssetCheckSpec(
            metric.name,
            asset=TABLE.name,
            description=f"{metric.measures[0].upper()}{metric.measures[1:]}, "
            f"{'for each source' if metric.landing else 'in the snapshot'}, is as the days before let expect. "
            f"Limits: quality.{metric.name} in the settings.",
        )
        for metric in METRICS.values()
    ],
    needs_everyone=True,
)
def quality_metrics(run: Run) -> dg.MaterializeResult:
    """Measure the days of a run. No check stops it: the rows it is about are written by then."""
    days, warehouse, settings = run.days, run.warehouse, run.settings
    watch_days(warehouse, settings, days, model_revision=run.vectors.revision)
    trailing = days[-1] - timedelta(days=settings.quality.trailing_days)
    known = warehouse.query(_HISTORY, {"first": min(trailing, days[0]), "last": days[-1]})
    history = known.filter(pl.col("as_of") >= trailing).sort("as_of", "scope", "metric", "slice")
    checked = known.filter(pl.col("as_of").is_in(days))
    newest = checked.filter(as_of=days[-1])
    for reason in newest.filter("alarm")["reason"]:
        run.warn(reason)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": newest.height,
            "partition": days[-1].isoformat(),
            "alarms": int(checked["alarm"].sum()),
            "sample": dg.MetadataValue.md(_overview(newest)),
            "plot": plot(watched_ranges(_lines(history), title=_TITLE), alt=_TITLE),
        },
        check_results=[_check_result(metric, checked, history, settings.quality) for metric in METRICS.values()],
    )


def watch_days(warehouse: Warehouse, settings: Settings, days: Sequence[date], *, model_revision: str) -> None:
    """Measure and check days, and what of the trailing days has not been measured yet or has changed since.

    Their rows are replaced in one transaction: those of landing data, and those of the snapshot's scope.
    """
    warehouse.create_missing([TABLE])
    sources = declared_sources(settings)
    first = min(days) - timedelta(days=settings.quality.trailing_days)
    with warehouse.read() as connection:
        landing_days = _days_to_measure(warehouse, "landed_days", _MEASURED_LANDING, days, first)
        snapshot_days = _days_to_measure(warehouse, "user_snapshots", _MISSING_SNAPSHOTS, days, first)
        landing = measure_landing(connection, sources, landing_days, known_from=first)
        snapshots = measure_snapshots(connection, snapshot_days, model_revision=model_revision)
        landed = pl.DataFrame({"as_of": landing_days}, schema={"as_of": pl.Date}).with_columns(scope=pl.lit(LANDING))
        replaced = pl.concat([landed, snapshots.select("as_of", "scope").unique()])
        measured = pl.concat([landing, snapshots])
        first = min(measured["as_of"], default=first) - timedelta(days=settings.quality.trailing_days)
        known = warehouse.query(_HISTORY, {"first": first, "last": max(days)})
    checked = check_days(measured, known.join(replaced, on=["as_of", "scope"], how="anti"), settings.quality)
    with warehouse.write() as connection:
        connection.register("replaced_days", replaced)
        connection.execute(
            f"delete from {TABLE.name} where (as_of, scope) in (select (as_of, scope) from replaced_days)"
        )
        connection.register("new_rows", checked)
        connection.execute(f"insert into {TABLE.name} by name from new_rows")


def _days_to_measure(warehouse: Warehouse, table: str, missing: str, days: Sequence[date], first: date) -> list[date]:
    """The days themselves, and those before them that are missing; none where there is nothing to measure yet."""
    if not warehouse.has_table(table):
        return []
    found: list[date] = warehouse.query(missing, {"first": first, "last": max(days)})["day"].to_list()
    return sorted({*found, *days})


def _overview(newest: pl.DataFrame) -> str:
    """The newest day's values for people, alarms first."""
    shown = newest.sort("alarm", "scope", "metric", "slice", descending=[True, False, False, False]).select(
        "metric", "slice", "value", "low", "expected", "high", "alarm"
    )
    return markdown_table(shown, max_rows=shown.height)


def _lines(history: pl.DataFrame) -> pl.DataFrame:
    """Each series of the history in the order of the metrics, as parts of what was expected of it."""
    value, expected = pl.col("value"), pl.col("expected")
    above, below = pl.col("high") - expected, expected - pl.col("low")
    deviation = (value - expected) / pl.when(value >= expected).then(above).otherwise(below)
    return history.sort(
        pl.col("metric").cast(pl.Enum(list(METRICS))), "slice", "scope", "as_of", maintain_order=True
    ).select(
        pl.concat_str("metric", pl.lit(" · "), _PANEL).alias("series"),
        pl.col("as_of").alias("day"),
        # 0 by 0 is as expected.
        deviation.fill_nan(0.0).alias("deviation"),
        "alarm",
    )


def _panels(history: pl.DataFrame, metric: QualityMetric) -> dict[str, pl.DataFrame]:
    """A metric's values with what was expected of them, by slice, or by scope where there is none."""
    days = history.filter(metric=metric.name).select(
        _PANEL.alias("panel"), pl.col("as_of").alias("day"), "value", "low", "high", "alarm"
    )
    return {panel: days.filter(panel=panel) for panel in days["panel"].unique().sort()}


def _check_result(
    metric: QualityMetric, checked: pl.DataFrame, history: pl.DataFrame, settings: QualitySettings
) -> dg.AssetCheckResult:
    """Whether no day of the run was an alarm, and its figures of the newest day; an alarm is drawn with days before."""
    check: QualityCheck = getattr(settings, metric.name)
    rows = checked.filter(metric=metric.name)
    alarms = rows.filter("alarm")
    newest = rows.filter(pl.col("as_of") == checked["as_of"].max())
    metadata: dict[str, Any] = {"alarms": alarms.height, "tolerance": check.tolerance, "deviations": check.deviations}
    for row in newest.iter_rows(named=True):
        metadata[row["slice"] or row["scope"]] = _range_text(metric, row)
    if alarms.height:
        title = f"{metric.name}: {metric.measures}"
        png = watched_days(_panels(history, metric), title=title, y_label=metric.unit, log=metric.scale == "factor")
        metadata["plot"] = plot(png, alt=title)
    expected = newest["expected"].drop_nulls()
    description = alarms_text(alarms.iter_rows(named=True)) if alarms.height else None
    if description is None and expected.is_empty():
        description = f"Too little history: {settings.min_history_days} days with a value are needed."
    return dg.AssetCheckResult(
        check_name=metric.name,
        passed=alarms.is_empty(),
        severity=dg.AssetCheckSeverity.ERROR if check.severity == "error" else dg.AssetCheckSeverity.WARN,
        description=description,
        metadata=metadata,
    )


def _range_text(metric: QualityMetric, row: Mapping[str, Any]) -> str:
    value = "not measured" if row["value"] is None else value_text(metric, row["value"])
    if row["low"] is None or row["high"] is None:
        return f"{value}; nothing expected yet ({row['history_days']} days of history)"
    low, high = (value_text(metric, row[end]) for end in ("low", "high"))
    return f"{value}; {low} to {high} expected from {row['history_days']} days"
