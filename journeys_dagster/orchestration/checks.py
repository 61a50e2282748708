"""The checks that assets declare beside what Dagster knows by itself, and their results.

What was read of the landing zone, audits of a table, the promotion of a trained model and whether it fits, and whether
a language model answered.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import polars as pl

from journeys_dagster.llm.answers import Usage
from journeys_dagster.reporting.tables import markdown_table
from journeys_dagster.reporting.text import counted
from journeys_dagster.sources.cures import cure
from journeys_dagster.sources.survey import Survey
from journeys_dagster.sql.audits import AuditResult
from journeys_dagster.sql.models import SqlAudit

REJECTED_SHARE_CHECK = "rejected_share"
FILES_READ = "files_read"
EVERYTHING_READ = "everything_read"
PROMOTED = "promoted"
LLM_ANSWERED = "llm_answered"
_FAILED_SHARE = 0.05
MODEL_FITS = "model_fits"
_PATHS_LISTED = 50


def audit_specs(asset: str, audits: Sequence[SqlAudit]) -> list[dg.AssetCheckSpec]:
    """The checks that an asset declares for its audits."""
    return [
        dg.AssetCheckSpec(audit.name, asset=asset, blocking=audit.blocking, description=audit.description)
        for audit in audits
    ]


def files_read_spec(asset: str) -> dg.AssetCheckSpec:
    """The check whether every file of a source's days was read."""
    return dg.AssetCheckSpec(
        FILES_READ, asset=asset, description="Every file of the days could be read; else the days are not whole."
    )


def files_read_result(source: str, unreadable: pl.DataFrame) -> dg.AssetCheckResult:
    """Its result; `unreadable` are the rows of `rejected_rows` that stand for whole files."""
    metadata: dict[str, Any] = {"unreadable_files": unreadable.height}
    description = None
    if not unreadable.is_empty():
        days = unreadable["arrival_day"].unique().sort()
        listed = ", ".join(map(str, days.head(10))) + (f", +{len(days) - 10} more" if len(days) > 10 else "")
        description = f"{source}: {counted(unreadable.height, 'file')} not read, so these days are not whole: {listed}"
        files = unreadable.select(
            "arrival_day",
            "file",
            "reason",
            pl.col("reason").map_elements(cure, return_dtype=pl.String).alias("what to do"),
        )
        metadata["files"] = dg.MetadataValue.md(markdown_table(files, max_rows=_PATHS_LISTED))
    return dg.AssetCheckResult(
        check_name=FILES_READ,
        passed=unreadable.is_empty(),
        severity=dg.AssetCheckSeverity.WARN,
        metadata=metadata,
        description=description,
    )


def everything_read_spec(asset: str) -> dg.AssetCheckSpec:
    """The check whether everything in the landing zone is read."""
    return dg.AssetCheckSpec(
        EVERYTHING_READ,
        asset=asset,
        description="Everything in the landing zone is a source's day, or left out on purpose; nothing is passed over.",
    )


def everything_read_result(survey: Survey) -> dg.AssetCheckResult:
    """Its result."""
    metadata: dict[str, Any] = {"left_out_on_purpose": survey.left_out, "passed_over": len(survey.passed_over)}
    if survey.passed_over:
        listed = [
            {"not read": each.path, "files": each.files, "why": each.why, "what to do": each.cure}
            for each in survey.passed_over[:_PATHS_LISTED]
        ]
        metadata["not_read"] = dg.MetadataValue.md(markdown_table(pl.DataFrame(listed), max_rows=_PATHS_LISTED))
    return dg.AssetCheckResult(
        check_name=EVERYTHING_READ,
        passed=not survey.passed_over,
        severity=dg.AssetCheckSeverity.WARN,
        metadata=metadata,
        description=f"passed over in the landing zone: {survey.summary()}" if survey.passed_over else None,
    )


def promotion_spec(asset: str) -> dg.AssetCheckSpec:
    """The check whether a newly trained model takes over."""
    return dg.AssetCheckSpec(
        PROMOTED,
        asset=asset,
        description="The new model beats what is in use and the simple ways; else the old one stays.",
    )


def promotion_result(decision: str, *, promoted: bool, test: pl.DataFrame | None = None) -> dg.AssetCheckResult:
    """Whether a model takes over, and why, with the figures of the test span; none where nothing was trained."""
    return dg.AssetCheckResult(
        check_name=PROMOTED,
        passed=promoted,
        severity=dg.AssetCheckSeverity.WARN,
        description=decision,
        metadata={} if test is None else {"test": dg.MetadataValue.md(markdown_table(test))},
    )


def merge_check_results(per_partition: Mapping[str, Sequence[AuditResult]]) -> list[dg.AssetCheckResult]:
    """One check result per audit over all partitions of a run."""
    by_name: dict[str, list[tuple[str, AuditResult]]] = {}
    for partition_key, results in per_partition.items():
        for result in results:
            by_name.setdefault(result.name, []).append((partition_key, result))
    return [_check_result(name, found) for name, found in by_name.items()]


def _check_result(name: str, found: Sequence[tuple[str, AuditResult]]) -> dg.AssetCheckResult:
    description = None
    failed = [(partition_key, result) for partition_key, result in found if not result.passed]
    metadata: dict[str, Any] = {
        "rows_found": sum(result.rows for _, result in found),
        "partitions": len(found),
    }
    if failed:
        metadata["failed_partitions"] = ", ".join(partition_key for partition_key, _ in failed[:20])
        samples = pl.concat([result.sample for _, result in failed[:5]])
        metadata["sample"] = dg.MetadataValue.md(markdown_table(samples))
        description = f"{counted(metadata['rows_found'], 'row')} found, where there should be none"
    blocking = found[0][1].blocking
    return dg.AssetCheckResult(
        check_name=name,
        passed=not failed,
        severity=dg.AssetCheckSeverity.ERROR if blocking else dg.AssetCheckSeverity.WARN,
        metadata=metadata,
        description=description,
    )


def llm_spec(asset: str) -> dg.AssetCheckSpec:
    """The check whether the language model was asked about everything, and answered."""
    return dg.AssetCheckSpec(
        LLM_ANSWERED, asset=asset, description="Nothing is left unasked, and at most one input in twenty has failed."
    )


def llm_check(usage: Usage) -> dg.AssetCheckResult:
    """A warning where inputs are left for another run, or too many failed; it says why."""
    passed = not usage.left and usage.failed <= _FAILED_SHARE * usage.inputs
    said = f"{usage.answered:,} of {usage.inputs:,} inputs have an answer, {usage.failed:,} failed"
    if usage.faults:
        said += f" ({'; '.join(usage.faults_by_count())})"
    if usage.left:
        said += f"; {usage.left:,} are left, as {usage.stopped}. Run the day again to go on from here."
    return dg.AssetCheckResult(
        check_name=LLM_ANSWERED, passed=passed, severity=dg.AssetCheckSeverity.WARN, description=said
    )


def model_fits_spec(asset: str) -> dg.AssetCheckSpec:
    """The check of whether the trained model that an asset uses fits what is computed now."""
    return dg.AssetCheckSpec(
        MODEL_FITS, asset=asset, description="The stored model fits; one that does not counts as none."
    )


def model_fits_result(asset: str, misfit: str) -> dg.AssetCheckResult:
    """Its result; `misfit` from `model_misfit`."""
    until = "without it until the next training (`journeys train`)"
    return dg.AssetCheckResult(
        check_name=MODEL_FITS,
        passed=not misfit,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{misfit}: {asset} goes {until}" if misfit else None,
    )
