"""The audits of a model or a step, as checks of its asset and as what the warehouse runs."""

from collections.abc import Sequence

import dagster as dg

from journeys_dagster.resources.audits import Audit
from journeys_dagster.sql.models import SqlAudit


def audit_specs(asset: str, audits: Sequence[SqlAudit]) -> list[dg.AssetCheckSpec]:
    """The checks that an asset declares for its audits."""
    return [
        dg.AssetCheckSpec(audit.name, asset=asset, blocking=audit.blocking, description=audit.description)
        for audit in audits
    ]


def runnable(audits: Sequence[SqlAudit]) -> list[Audit]:
    """The audits as the warehouse runs them, inside the write that they examine."""
    return [Audit(audit.name, audit.sql, audit.blocking) for audit in audits]
