"""Training by automation conditions, in virtual time: once a tick, all of it, and not again for what ran anyway."""

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from conftest import EMBEDDER, Pipeline

from journeys_dagster.definitions import build_defs
from journeys_dagster.resources.home import Home
from journeys_dagster.settings import Settings, SettingsError

MONDAY = datetime(2025, 6, 16, tzinfo=UTC)
TRAINED = {"ranking_labels", "ranking_model", "stage_model", "naming_model", "diversification_trade_off"}
UPSTREAM = ("user_activity", "keyword_centrality")


class Automation:
    """Evaluations one after another, as the daemon makes them."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.cursor: Any = None

    def requested(self, moment: datetime) -> set[str]:
        result = dg.evaluate_automation_conditions(
            self.pipeline.defs,
            self.pipeline.instance,
            asset_selection=dg.AssetSelection.groups("training"),
            evaluation_time=moment,
            cursor=self.cursor,
        )
        self.cursor = result.cursor
        return {part.key.to_user_string() for part in result.results if result.get_num_requested(part.key)}

    def materialized(self, *names: str, partition: str | None = None) -> None:
        for name in names:
            event = dg.AssetMaterialization(name, partition=partition)
            self.pipeline.instance.report_runless_asset_event(event)


@pytest.fixture
def automation(empty_pipeline: Pipeline) -> Automation:
    """A platform with one inferred day, seen for the first time on Sunday."""
    automation = Automation(empty_pipeline)
    automation.materialized(*UPSTREAM, partition="2025-06-10")
    assert automation.requested(MONDAY - timedelta(hours=3)) == set()
    return automation


def test_everything_is_trained_once_at_the_tick(automation: Automation) -> None:
    assert automation.requested(MONDAY + timedelta(hours=3, minutes=59)) == set()
    assert automation.requested(MONDAY + timedelta(hours=4, minutes=1)) == TRAINED
    assert automation.requested(MONDAY + timedelta(hours=4, minutes=2)) == set()
    automation.materialized(*TRAINED)
    assert automation.requested(MONDAY + timedelta(hours=4, minutes=3)) == set()
    assert automation.requested(MONDAY + timedelta(days=6)) == set()
    assert automation.requested(MONDAY + timedelta(days=7, hours=5)) == TRAINED


def test_days_inferred_meanwhile_train_nothing(automation: Automation) -> None:
    automation.requested(MONDAY + timedelta(hours=5))
    automation.materialized(*TRAINED)
    automation.materialized(*UPSTREAM, "keyword_embeddings", partition="2025-06-11")
    assert automation.requested(MONDAY + timedelta(days=1)) == set()


def test_a_missed_tick_is_made_up_for_once(automation: Automation) -> None:
    assert automation.requested(MONDAY + timedelta(days=16)) == TRAINED
    assert automation.requested(MONDAY + timedelta(days=16, minutes=1)) == set()


def test_labels_made_by_themselves_are_followed(automation: Automation) -> None:
    automation.materialized("ranking_labels")
    assert automation.requested(MONDAY) == TRAINED - {"ranking_labels", "naming_model"}


def test_nothing_is_trained_where_nothing_was_inferred(empty_pipeline: Pipeline) -> None:
    automation = Automation(empty_pipeline)
    assert automation.requested(MONDAY) == set()
    assert automation.requested(MONDAY + timedelta(hours=5)) == set()
    automation.materialized(*UPSTREAM, partition="2025-06-10")
    assert automation.requested(MONDAY + timedelta(hours=6)) == TRAINED


def test_what_the_job_has_trained_is_not_trained_again(home: Home, automation: Automation) -> None:
    """A run of `train_models`, as by hand, with assets that do nothing in place of the real ones."""
    assets = [_stand_in(spec) for spec in automation.pipeline.defs.resolve_all_asset_specs() if _is_trained(spec)]
    defs = dg.Definitions(assets, jobs=[dg.define_asset_job("train_models", "*")], executor=dg.in_process_executor)
    defs.resolve_job_def("train_models").execute_in_process(instance=automation.pipeline.instance)
    assert automation.requested(MONDAY) == set()
    assert automation.requested(MONDAY + timedelta(hours=5)) == TRAINED
    defs.resolve_job_def("train_models").execute_in_process(instance=automation.pipeline.instance)
    assert automation.requested(MONDAY + timedelta(hours=6)) == set()


def _is_trained(spec: dg.AssetSpec) -> bool:
    return spec.key.to_user_string() in TRAINED


def _stand_in(spec: dg.AssetSpec) -> dg.AssetsDefinition:
    @dg.asset(name=spec.key.to_user_string(), deps=[dep.asset_key for dep in spec.deps])
    def _asset() -> None: ...

    return _asset


@pytest.mark.parametrize(
    ("setting", "value"),
    [("daily_cron", "61 6 * * *"), ("training_cron", "a b c d e"), ("freshness_cron", "0 9 31 13 *")],
)
def test_a_schedule_that_is_none_is_named(home: Home, setting: str, value: str) -> None:
    settings = Settings.model_validate({"automation": {setting: value}})
    with pytest.raises(SettingsError, match=rf"automation\.{setting}"):
        build_defs(settings=settings, home=home, resource_overrides={"embedder": EMBEDDER})


def test_all_that_writes_is_in_one_pool(empty_pipeline: Pipeline) -> None:
    for asset in empty_pipeline.defs.resolve_asset_graph().assets_defs:
        if isinstance(asset, dg.AssetsDefinition) and asset.is_executable:
            assert asset.op.pool == "warehouse", asset.key
