"""Checks of assets: the audits of a model or a step, and whether a trained model fits."""

from collections.abc import Sequence

import dagster as dg

from journeys_dagster.resources.audits import Audit
from journeys_dagster.sql.models import SqlAudit

MODEL_FITS = "model_fits"


def audit_specs(asset: str, audits: Sequence[SqlAudit]) -> list[dg.AssetCheckSpec]:
    """The checks that an asset declares for its audits."""
    return [
        dg.AssetCheckSpec(audit.name, asset=asset, blocking=audit.blocking, description=audit.description)
        for audit in audits
    ]


def runnable(audits: Sequence[SqlAudit]) -> list[Audit]:
    """The audits as the warehouse runs them, inside the write that they examine."""
    return [Audit(audit.name, audit.sql, audit.blocking) for audit in audits]


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
        asset_key=asset,
        passed=not misfit,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{misfit}: {asset} goes {until}" if misfit else None,
    )
