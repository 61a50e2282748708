"""When assets are materialised by themselves, and by when they must have been: automation conditions, freshness."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import dagster as dg
from dagster_shared.check import CheckError

from journeys_dagster.settings import Settings, SettingsError

TRAINING_GROUP = "training"
_LABELS = "ranking_labels"


def at_training_time(settings: Settings) -> dg.AutomationCondition:
    """Once per tick of automation.training_cron, where there is something to train on.

    Unlike Dagster's ``on_cron`` it does not wait until everything upstream was updated since the tick: that is one
    partition for each day of history. What was trained after the tick, as by ``train_models``, is not trained again.
    """
    cron = settings.automation.training_cron
    with _naming("automation.training_cron", cron):
        passed = dg.AutomationCondition.cron_tick_passed(cron, "UTC")
    return (
        passed.since_last_handled()
        & dg.AutomationCondition.any_deps_match(~dg.AutomationCondition.missing())
        & ~dg.AutomationCondition.in_progress()
    ).with_label(f"at_training_time({cron})")


def after_labels(settings: Settings) -> dg.AutomationCondition:
    """When `ranking_labels` were made anew, by a run that did not make this asset too."""
    labels = dg.AssetSelection.assets(_LABELS)
    return (
        dg.AutomationCondition.any_deps_updated().allow(labels).since_last_handled()
        & ~dg.AutomationCondition.any_deps_in_progress().allow(labels)
        & ~dg.AutomationCondition.in_progress()
    ).with_label("after_labels")


def at_retention_time(settings: Settings) -> dg.AutomationCondition:
    """At each tick of retention.cron."""
    return dg.AutomationCondition.on_cron(require_cron("retention.cron", settings.retention.cron))


def marts_freshness(settings: Settings) -> dg.FreshnessPolicy:
    """The marts were materialised in the hours before the newest deadline, or since."""
    automation = settings.automation
    with _naming("automation.freshness_cron or freshness_hours", automation.freshness_cron):
        return dg.FreshnessPolicy.cron(
            deadline_cron=automation.freshness_cron, lower_bound_delta=timedelta(hours=automation.freshness_hours)
        )


def require_cron(name: str, cron: str) -> str:
    """The schedule as it is.

    Raises
    ------
    SettingsError
        It is no cron schedule; the message names the setting.
    """
    with _naming(name, cron):
        dg.AutomationCondition.cron_tick_passed(cron, "UTC")
    return cron


@contextmanager
def _naming(name: str, cron: str) -> Iterator[None]:
    try:
        yield
    except CheckError as error:
        raise SettingsError(f"setting {name!r}: {cron!r}: {error}") from None
