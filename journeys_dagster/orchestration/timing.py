"""When assets are materialised by themselves: by automation conditions."""

import dagster as dg

from journeys_dagster.orchestration.asset import Location
from journeys_dagster.settings import SettingsError

TRAINING_GROUP = "training"
OPERATIONS_GROUP = "operations"
_LABELS = "ranking_labels"


def at_training_time(location: Location) -> dg.AutomationCondition:
    """Once per tick of automation.training_cron, where there is something to train on.

    Unlike Dagster's ``on_cron`` it does not wait until everything upstream was updated since the tick: that is one
    partition for each day of history. What was trained after the tick, as by ``train_models``, is not trained again.
    """
    cron = require_cron("automation.training_cron", location.settings.automation.training_cron)
    passed = dg.AutomationCondition.cron_tick_passed(cron, "UTC")
    return (
        passed.since_last_handled()
        & dg.AutomationCondition.any_deps_match(~dg.AutomationCondition.missing())
        & ~dg.AutomationCondition.in_progress()
    ).with_label(f"at_training_time({cron})")


def after_labels(location: Location) -> dg.AutomationCondition:
    """When `ranking_labels` were renewed by a run that did not make this asset too."""
    labels = dg.AssetSelection.assets(location.key(_LABELS))
    return (
        dg.AutomationCondition.any_deps_updated().allow(labels).since_last_handled()
        & ~dg.AutomationCondition.any_deps_in_progress().allow(labels)
        & ~dg.AutomationCondition.in_progress()
    ).with_label("after_labels")


def at_retention_time(location: Location) -> dg.AutomationCondition:
    """At each tick of retention.cron."""
    return dg.AutomationCondition.on_cron(require_cron("retention.cron", location.settings.retention.cron))


def require_cron(name: str, cron: str) -> str:
    """The schedule as it is.

    Raises
    ------
    SettingsError
        It is no cron schedule; the message names the setting.
    """
    try:
        dg.ScheduleDefinition(name="validated", cron_schedule=cron, job_name="none")
    except dg.DagsterInvalidDefinitionError:
        raise SettingsError(f"setting {name!r}: {cron!r} is no cron schedule") from None
    return cron
