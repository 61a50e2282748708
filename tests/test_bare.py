"""Assets' work by itself: which of them something needs, and what their checks say."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date

import dagster as dg
import pytest

from journeys_dagster.definitions import build_location, declared_assets
from journeys_dagster.orchestration.asset import Asset, Run, table_asset
from journeys_dagster.orchestration.bare import in_order, needed_for, replace_rows
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import Settings
from journeys_dagster.sources.contracts import declared_sources
from journeys_dagster.sql.audits import AuditFailedError
from journeys_dagster.sql.models import SqlAudit, load_models

DAY = date(2025, 6, 1)
ASSETS = {asset.name: asset for asset in declared_assets(Settings())}


@pytest.fixture
def run(warehouse: Warehouse) -> Run:
    """A run of one day in a home with the tables of its sources."""
    warehouse.create_missing(source.table for source in declared_sources(Settings()).values())
    location = build_location(Settings(), [*ASSETS.values()], dg.DailyPartitionsDefinition(DAY.isoformat()))
    return Run(days=[DAY], location=location, warehouse=warehouse)


def names(assets: Sequence[Asset]) -> list[str]:
    return [asset.name for asset in assets]


def test_assets_come_behind_what_they_read() -> None:
    ordered = names(in_order(ASSETS.values()))
    assert sorted(ordered) == sorted(ASSETS)
    for asset in ASSETS.values():
        for read in asset.deps & ASSETS.keys() - {asset.name}:
            assert ordered.index(read) < ordered.index(asset.name)


def test_what_nothing_needs_is_left_out() -> None:
    needed = names(needed_for("user_activity", ASSETS.values()))
    assert needed[-1] == "user_activity"
    assert set(needed) == {
        "user_activity", "stg_events", "stg_searches", "stg_engagements", "stg_board_items",
        "searches", "engagements", "board_items",
    }  # fmt: skip


def test_an_audit_that_finds_rows_says_so(run: Run) -> None:
    audit = SqlAudit(
        name="no_items",
        model="stg_items",
        description="There are none.",
        blocking=False,
        sql="select * from range(3)",
        depends_on=frozenset(),
    )
    models = load_models()
    audited = replace(run, location=replace(run.location, audits={"stg_items": [audit]}))
    assert replace_rows(ASSETS["stg_items"], audited, models) == [
        "stg_items: the audit no_items found 3 rows. There are none."
    ]
    assert replace_rows(ASSETS["stg_items"], run, models) == []
    blocking = replace(run.location, audits={"stg_items": [replace(audit, blocking=True)]})
    with pytest.raises(AuditFailedError, match="no_items"):
        replace_rows(ASSETS["stg_items"], replace(run, location=blocking), models)


def test_a_check_that_fails_says_so(run: Run) -> None:
    def results() -> Iterator[dg.AssetCheckResult]:
        yield dg.AssetCheckResult(check_name="first", passed=False, description="why it failed")
        yield dg.AssetCheckResult(check_name="second", passed=False)
        yield dg.AssetCheckResult(check_name="third", passed=True, description="all is well")

    @table_asset(None, kinds=set())
    def checked(run: Run) -> dg.MaterializeResult:
        return dg.MaterializeResult(check_results=[*results()])

    said = ["checked: why it failed", "checked: second"]
    assert replace_rows(checked, run, {}) == said
    assert replace_rows(replace(checked, materialize=lambda _: results()), run, {}) == said
