"""What each experiment says as of a day."""

from datetime import date, timedelta
from importlib.util import find_spec

import dagster as dg
import polars as pl

from journeys_dagster.errors import ExpectedError
from journeys_dagster.notification.lifts import BEFORE, COUNTS
from journeys_dagster.notification.readout import READOUT_SCHEMA, USERS_SCHEMA, in_words, read_out
from journeys_dagster.notification.sends import NOTIFICATION_SENDS, OUTCOMES
from journeys_dagster.orchestration.asset import Run, table_asset
from journeys_dagster.orchestration.metadata import plot
from journeys_dagster.reporting.lift_plot import lifts_plot
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import Experiment
from journeys_dagster.tables import Table, bigint, boolean, double, integer, text, utc_day

_TESTED = "probability of a lift as large, were there none"
_COLUMNS = {
    "experiment": text("its name"),
    "arm": text("the arm that is compared with the control"),
    "metric": text("what is compared"),
    "is_guardrail": boolean("whether it is only asked whether it gets worse by more than its margin"),
    "days": integer("days since the start, this one too"),
    "is_reading_day": boolean("whether the minimum run is over on this day: the one day of the interval for one look"),
    "control_users": bigint("users in the control"),
    "arm_users": bigint("users in the arm"),
    "split_p_value": double("probability of a split as uneven, were users split as the shares say"),
    "control_value": double("the metric in the control, adjusted by the time before", nullable=True),
    "arm_value": double("the metric in the arm, adjusted by the time before", nullable=True),
    "lift": double("arm less control", nullable=True),
    "low": double("lower end of the 95 % interval of the lift, for one look", nullable=True),
    "high": double("upper end", nullable=True),
    "always_low": double("lower end of the interval that holds at every look at once", nullable=True),
    "always_high": double("upper end", nullable=True),
    "relative_lift": double("lift as a share of the control", nullable=True),
    "relative_low": double("lower end of its interval, for one look", nullable=True),
    "relative_high": double("upper end", nullable=True),
    "always_relative_low": double("lower end of its interval for every look", nullable=True),
    "always_relative_high": double("upper end", nullable=True),
    "p_value": double(f"{_TESTED}, for one look", nullable=True),
    "corrected_p_value": double("the same, corrected for the number of metrics and arms", nullable=True),
    "always_p_value": double(f"{_TESTED}, for every look", nullable=True),
    "corrected_always_p_value": double("the same, corrected for the number of metrics and arms", nullable=True),
    "variance_saved": double("share of the variance that the time before takes away", nullable=True),
    "verdict": text("the row in words"),
}
TABLE = Table(
    name="experiment_readouts",
    kind="kept",
    description="What each experiment says as of a day: lifts of its arms over the control, with intervals for one "
    "look and for every look, and a verdict in words.",
    grain="one row per as_of, experiment, arm and metric",
    columns={"as_of": utc_day("last day that is known"), **{name: _COLUMNS[name] for name in READOUT_SCHEMA}},
    key=("as_of", "experiment", "arm", "metric"),
    partition_column="as_of",
)
_SUMS = ", ".join(
    f"coalesce(sum({name}) filter ({days}), 0) as {prefix}{name}"
    for prefix, days in (
        ("", "day > entry and day <= $until"),
        (BEFORE, "day <= entry and day > entry - $before_days"),
    )
    for name in COUNTS
)
# Who enters is known before the first notification that an arm has a part in: as of the day before.
USERS = f"""
    with decided as (
        select user_id, as_of, unnest(arms) as one
        from notification_decisions
        where as_of between $start - 1 and $until - 1 and reason <> 'holdout'
    ),
    entered as (
        select user_id, min(as_of) as entry, arg_min(one.arm, as_of) as arm
        from decided where one.experiment = $experiment group by user_id
    ),
    outcomes as ({OUTCOMES}),
    sends as (
        select send_id, user_id, journey_id, day, opened, clicked
        from outcomes
        where day <= $until and user_id in (select user_id from entered)
    ),
    newest as (
        select user_id, max(as_of) as as_of from journey_events
        where as_of between $since and $as_of and user_id in (select user_id from sends) group by user_id
    ),
    came_back as (
        select distinct send_id
        from sends
        join newest using (user_id)
        join journey_events on journey_events.user_id = sends.user_id and journey_events.as_of = newest.as_of
            and journey_events.journey_id = sends.journey_id
            and cast(occurred_at as date) between day + 1 and day + $return_days
    ),
    facts as (
        select user_id, day, 1 as sends, opened::int as opens, clicked::int as clicks,
            (day + $return_days <= $as_of)::int as settled,
            (day + $return_days <= $as_of and send_id in (from came_back))::int as returns,
            0 as active_days, 0 as opt_outs
        from sends
        union all
        select distinct user_id, cast(occurred_at as date), 0, 0, 0, 0, 0, 1, 0
        from stg_events
        where arrival_day <= $as_of and occurred_at >= $since and user_id in (select user_id from entered)
        union all
        select user_id, min(valid_from), 0, 0, 0, 0, 0, 0, 1
        from controls_in_force join entered using (user_id)
        where control = 'opt_out' and valid_from between $since and $as_of
        group by user_id, valid_from > entry
    )
    select any_value(arm) as arm, cast(any_value($until - entry) as bigint) as days, {_SUMS}
    from entered left join facts using (user_id)
    group by entered.user_id
    having days > 0
"""


class NoTeaTastingError(ExpectedError, ImportError, carries_user_text=False):
    """The package that compares arms is not installed."""


@table_asset(
    TABLE,
    kinds={"polars"},
    group="quality",
    decides=False,
    sql=[USERS],
    only_with=lambda settings: settings.notifications.enabled and bool(settings.experiments.declared),
    needs_everyone=True,
)
def experiment_readouts(run: Run) -> dg.MaterializeResult:
    """Read out each experiment that has begun, until what was sent last has had its time."""
    newest, settings = pl.DataFrame(schema=READOUT_SCHEMA), run.settings
    run.warehouse.create_missing([NOTIFICATION_SENDS])
    for day in run.days:
        under_way = [each for each in settings.experiments.declared if _is_under_way(each, day)]
        feedback_days = settings.notifications.feedback_days
        users = [users_of(run.warehouse, each, day, feedback_days=feedback_days) for each in under_way]
        parts = [read_out(of, each, as_of=day) for of, each in zip(users, under_way, strict=True)]
        newest = pl.concat([pl.DataFrame(schema=READOUT_SCHEMA), *parts])
        run.warehouse.replace_snapshot(TABLE, [newest], as_of=day, constants={})
    title = f"Lifts of arms over their controls, {run.days[-1]}"
    said = "\n".join(f"- {line}" for line in in_words(newest)) or "no experiment has users in two arms"
    return dg.MaterializeResult(
        metadata={"verdicts": dg.MetadataValue.md(said), "plot": plot(lifts_plot(newest, title=title), alt=title)}
    )


def _is_under_way(experiment: Experiment, day: date) -> bool:
    last = experiment.end
    return experiment.start <= day and (last is None or day <= last + timedelta(days=experiment.return_days))


def users_of(warehouse: Warehouse, experiment: Experiment, as_of: date, *, feedback_days: int) -> pl.DataFrame:
    """Who takes part in an experiment, with what they did, as `read_out` wants it."""
    if find_spec("tea_tasting") is None:
        raise NoTeaTastingError(
            "experiments are compared by a package that is not installed: pip install 'journeys_dagster[experiments]'"
        )
    until = min(as_of, experiment.end) if experiment.end else as_of
    params = {
        "experiment": experiment.name,
        "start": experiment.start,
        "as_of": as_of,
        "until": until,
        "before_days": experiment.before_days,
        "since": experiment.start - timedelta(days=experiment.before_days + 1),
        "return_days": experiment.return_days,
        "feedback_days": feedback_days,
    }
    return warehouse.query(USERS, params).select(*USERS_SCHEMA).cast(pl.Schema(USERS_SCHEMA))  # type: ignore[arg-type]
