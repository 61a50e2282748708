"""The judgements of a day in figures; withheld where the judge does not agree with people."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

import dagster as dg
import polars as pl

from journeys_dagster.inference.judge import EVIDENCE_JUDGE
from journeys_dagster.monitoring.judge_metrics import ALL, Calibration, calibrate
from journeys_dagster.monitoring.judge_metrics import judge_metrics as metrics_of_day
from journeys_dagster.orchestration.asset import Run, table_asset
from journeys_dagster.orchestration.metadata import plot, row_metadata
from journeys_dagster.reporting.watch_plot import watched_days
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import Settings
from journeys_dagster.tables import Table, bigint, double, text, utc_day

TABLE = Table(
    name="judge_metrics",
    kind="kept",
    description="Mean level, share of levels 4 and 5, NDCG and faults of the judged lists, by stratum of activity. A "
    "day without rows was withheld: see the check.",
    grain="one row per as_of, judge, slice and metric",
    columns={
        "as_of": utc_day("day of the snapshot judged"),
        "judge": text("evidence (no language model), or the language model's name"),
        "slice": text("all judged users, or a stratum of activity"),
        "metric": text("mean_level, share_relevant, ndcg, or a fault's number per list"),
        "value": double("mean over users"),
        "low": double("lower end of the 95 % interval over users"),
        "high": double("upper end"),
        "users": bigint("users it is a mean over"),
        "graded": bigint("journeys with human labels that the judge was compared on"),
    },
    key=("as_of", "judge", "slice", "metric"),
    partition_column="as_of",
)
AGREES = "agrees_with_people"
_SCORES = "select as_of, user_id, journey_id, rank, level, faults, stratum, judge from judge_scores"
_LABELS = "select user_id, journey_id, arrival_day, grade from human_labels where arrival_day <= $as_of"
_DAYS_SHOWN = 90
_PLOTTED = ("mean_level", "share_relevant", "ndcg")


@table_asset(
    TABLE,
    kinds={"polars", "table"},
    group="quality",
    decides=False,
    sql=[_SCORES, _LABELS],
    checks=[
        dg.AssetCheckSpec(
            AGREES,
            asset=TABLE.name,
            description="The judge agrees with human labels at least as far as judge.floor says; else its metrics of "
            "the day are withheld.",
        )
    ],
    needs_everyone=True,
)
def judge_metrics(run: Run) -> dg.MaterializeResult:
    """Make the metrics of each day anew; the check stops nothing but the metrics themselves."""
    calibrations = {}
    for as_of in run.days:
        calibrations = replace_metrics(run.warehouse, run.settings, as_of)
    return _report(run.warehouse, run.settings, run.days, calibrations)


def replace_metrics(warehouse: Warehouse, settings: Settings, as_of: date) -> dict[str, Calibration]:
    """Recompute a day's metrics, but those of judges below their floor; return the agreement with people."""
    scores = warehouse.query(f"{_SCORES} where as_of <= $as_of order by all", {"as_of": as_of})
    labels = warehouse.query(_LABELS, {"as_of": as_of}) if warehouse.has_table("human_labels") else None
    found: dict[str, Calibration] = {}
    rows = []
    for judge in scores.filter(as_of=as_of)["judge"].unique().sort():
        of_judge = scores.filter(judge=judge)
        found[judge] = calibrate(of_judge, labels) if labels is not None else Calibration(0, {})
        passed, _ = found[judge].verdict(floor=settings.judge.floor, min_graded=settings.judge.min_graded)
        if passed:
            rows.append(
                metrics_of_day(of_judge.filter(as_of=as_of)).with_columns(
                    as_of=pl.lit(as_of), judge=pl.lit(judge), graded=pl.lit(found[judge].graded, dtype=pl.Int64)
                )
            )
    warehouse.replace_snapshot(TABLE, rows, as_of=as_of, constants={})
    return found


def _report(
    warehouse: Warehouse, settings: Settings, days: Sequence[date], calibrations: Mapping[str, Calibration]
) -> dg.MaterializeResult:
    judge_settings = settings.judge
    verdicts = {
        judge: found.verdict(floor=judge_settings.floor, min_graded=judge_settings.min_graded)
        for judge, found in calibrations.items()
    }
    # Where a language model judges, its figures are drawn; the table holds those of the other users too.
    shown = next((judge for judge in verdicts if judge != EVIDENCE_JUDGE), EVIDENCE_JUDGE)
    history = warehouse.query(
        f"select metric, as_of as day, value, low, high, false as alarm from {TABLE.name} "
        "where slice = $slice and judge = $judge and as_of between $first and $last order by as_of",
        {"slice": ALL, "judge": shown, "first": days[-1] - timedelta(days=_DAYS_SHOWN), "last": days[-1]},
    )
    series = {name: history.filter(metric=name).drop("metric") for name in _PLOTTED}
    png = watched_days(series, title="Judged lists", y_label="mean over users, with its interval")
    measures = {
        f"{judge}: {name}": str(mean) for judge, found in calibrations.items() for name, mean in found.measures.items()
    }
    return dg.MaterializeResult(
        metadata={
            **row_metadata(warehouse, TABLE, days[-1].isoformat()),
            "judge": ", ".join(verdicts) or "nobody was judged",
            "plot": plot(png, alt="metrics of judged lists by day"),
        },
        check_results=[
            dg.AssetCheckResult(
                check_name=AGREES,
                passed=all(passed for passed, _ in verdicts.values()),
                severity=dg.AssetCheckSeverity.WARN,
                description="; ".join(f"{judge}: {said}" for judge, (_, said) in verdicts.items())
                or "nobody was judged",
                metadata={"graded": sum(found.graded for found in calibrations.values()), **measures},
            )
        ],
    )
