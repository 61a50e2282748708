"""Assets' work by itself, in the order of their graph: rows are replaced, and nothing is recorded, shown or drawn."""

from collections.abc import Iterable, Mapping
from graphlib import TopologicalSorter

import dagster as dg

from journeys_dagster.orchestration.asset import Asset, Run
from journeys_dagster.orchestration.snapshot_asset import SnapshotAsset, open_snapshot, replace_step
from journeys_dagster.orchestration.sql_assets import replace_model
from journeys_dagster.settings import SettingsError
from journeys_dagster.sources.parameters import query_parameters
from journeys_dagster.sql.audits import AuditResult
from journeys_dagster.sql.models import SqlModel


def in_order(assets: Iterable[Asset]) -> list[Asset]:
    """Assets, each behind those that it reads."""
    by_name = {asset.name: asset for asset in assets}
    graph = {name: sorted((asset.deps & by_name.keys()) - {name}) for name, asset in by_name.items()}
    return [by_name[name] for name in TopologicalSorter(graph).static_order()]


def needed_for(name: str, assets: Iterable[Asset]) -> list[Asset]:
    """An asset behind all that it is made from, in order."""
    ordered = in_order(assets)
    needed = {name}
    for asset in reversed(ordered):
        if asset.name in needed:
            needed |= asset.deps
    return [asset for asset in ordered if asset.name in needed]


def replace_rows(asset: Asset, run: Run, models: Mapping[str, SqlModel]) -> list[str]:
    """Replace an asset's rows of each day of a run.

    Parameters
    ----------
    models : mapping of str to SqlModel
        All SQL models by name.

    Returns
    -------
    list of str
        What checks that stop nothing have found, a sentence each.

    Raises
    ------
    AuditFailedError
        A blocking audit found rows; those of that day are as they were before.
    """
    if run.settings.run.shards > 1:
        raise SettingsError("run.shards: an asset's work by itself is that of one warehouse; leave it at 1")
    if not isinstance(asset, SnapshotAsset) and asset.name not in models:
        return [said for result in asset.materialize(run) for said in _failed_checks(asset.name, result)]
    audits = run.location.audits.get(asset.name, ())
    said: list[str] = []
    for day in run.days:
        results: list[AuditResult]
        if isinstance(asset, SnapshotAsset):
            snapshot = open_snapshot(run.warehouse, run.settings, day)
            results = replace_step(asset, snapshot, audits, log=run.log)
        else:
            results = replace_model(run.warehouse, models[asset.name], audits, query_parameters(run.settings, day))
        rows_found = {result.name: result.rows for result in results if not result.passed}
        said += [
            f"{asset.name}: the audit {audit.name} found {rows_found[audit.name]:,} rows. {audit.description}"
            for audit in audits
            if audit.name in rows_found
        ]
    return said


def _failed_checks(asset: str, result: dg.MaterializeResult | dg.AssetCheckResult) -> list[str]:
    checks = [result] if isinstance(result, dg.AssetCheckResult) else result.check_results or ()
    return [f"{asset}: {check.description or check.check_name}" for check in checks if not check.passed]
