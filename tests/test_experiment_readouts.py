"""The asset of readouts: what it counts of each user in a warehouse, and what the command shows of it."""

import json
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Any

import dagster as dg
import polars as pl
import pytest
from click.testing import CliRunner
from test_notification_decisions import fill

from assets.experiment_readouts import TABLE, experiment_readouts, users_of
from assets.notification_decisions import notification_decisions
from journeys_dagster.cli.experiments import experiments_command
from journeys_dagster.definitions import algorithm_in_use
from journeys_dagster.environment import HOME_VARIABLE, SETTINGS_VARIABLE
from journeys_dagster.notification.lifts import BEFORE, COUNTS
from journeys_dagster.orchestration.snapshot_asset import open_snapshot, replace_step
from journeys_dagster.resources.home import Home
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import Experiment, Settings

pytest.importorskip("tea_tasting", reason="the extra `experiments` is not installed")
START = date(2025, 6, 10)
DAYS = [START + timedelta(days=step) for step in range(-30, 30)]
EXPERIMENT = Experiment.model_validate(
    {
        "name": "cooldown",
        "start": START,
        "control": "as now",
        "arms": {"as now": {"share": 0.5}, "other": {"share": 0.5, "notifications": {"cooldown_days": 14}}},
        "metrics": ["clicks_per_send", "active_days"],
        "guardrails": {"opt_outs": 0.1},
        "minimum_days": 7,
        "return_days": 3,
        "before_days": 10,
    }
)


def on(*experiments: Experiment) -> Settings:
    settings = Settings.model_validate({"notifications": {"enabled": True, "holdout_share": 0.0}})
    return settings.model_copy(update={"experiments": settings.experiments.with_declared(experiments)})


def day(step: int) -> date:
    """A day of the experiment; 0 is its first."""
    return START + timedelta(days=step)


def at(step: int, hour: int = 12) -> datetime:
    return datetime.combine(day(step), time(hour))


def decision(user: str, step: int, arm: str | None = "as now", **more: Any) -> dict[str, Any]:
    arms = [] if arm is None else [{"experiment": "cooldown", "arm": arm}, {"experiment": "another", "arm": "x"}]
    return {"as_of": day(step), "user_id": user, "arms": arms, "reason": "best", **more}


def send(user: str, step: int, **more: Any) -> dict[str, Any]:
    """Sent on the day, and decided the day before."""
    key = {"send_id": f"{user} {step}", "as_of": day(step - 1), "day": day(step), "user_id": user}
    return {"journey_id": "j", "channel": "push", **key, **more}


def feedback(user: str, step: int, event: str, **more: Any) -> dict[str, Any]:
    return {
        **{"user_id": user, "journey_id": "j", "channel": "Push", "event": event, "send_id": f"{user} {step}"},
        **{"occurred_at": at(step), "arrival_day": day(step), **more},
    }


@pytest.fixture
def filled(home: Home) -> Warehouse:
    warehouse = home.warehouse(on(EXPERIMENT))
    fill(
        warehouse,
        "notification_decisions",
        # In from the day before the start, and counted once; the arm of the first day counts.
        *(decision("ann", step) for step in (-2, -1, 0, 1)),
        decision("ann", 2, arm="other"),
        decision("bob", 3, arm="other", reason="cap"),
        decision("cyd", 1, reason="holdout"),
        decision("dan", 1, arm=None),
        # Known today: the arm has had no part in anything yet.
        decision("eve", 9, arm="other"),
    )
    fill(
        warehouse,
        "notification_sends",
        *(send("ann", step) for step in (-3, 0, 2, 8)),
        send("bob", 1),
        send("cyd", 2),
    )
    fill(
        warehouse,
        "notification_feedback",
        feedback("ann", -3, "opened"),
        feedback("ann", 0, "opened"),
        feedback("ann", 0, "clicked"),
        feedback("ann", 0, "clicked"),
        feedback("ann", 2, "opened", arrival_day=day(10)),
        feedback("bob", 1, "clicked"),
    )
    event = {"journey_id": "j", "user_id": "ann", "as_of": day(9)}
    fill(
        warehouse,
        "journey_events",
        # On the day of the first send only, and three days after the second.
        {**event, "occurred_at": at(0)},
        {**event, "occurred_at": at(5)},
        {**event, "occurred_at": at(5), "as_of": day(12)},
    )
    fill(
        warehouse,
        "stg_events",
        *(
            {"user_id": "ann", "occurred_at": at(step, hour), "arrival_day": day(step)}
            for step in (-20, -5, -1, 0, 5)
            for hour in (9, 12)
        ),
        {"user_id": "ann", "occurred_at": at(4), "arrival_day": day(10)},
        {"user_id": "bob", "occurred_at": at(3), "arrival_day": day(3)},
    )
    forever = {"control": "opt_out", "about": "", "valid_until": date(9999, 12, 31)}
    fill(
        warehouse,
        "controls_in_force",
        {"user_id": "bob", **forever, "valid_from": day(5)},
        {"user_id": "bob", **forever, "about": "push", "valid_from": day(6)},
        {"user_id": "ann", **forever, "valid_from": day(11)},
        {"user_id": "ann", **forever, "control": "not_interested", "valid_from": day(3)},
    )
    return warehouse


def fill_many(warehouse: Warehouse, table: str, rows: pl.DataFrame, **same: Any) -> None:
    """Rows that differ in the columns of a frame alone."""
    fill(warehouse, table, same)
    replaced = ", ".join(f'rows."{name}" as "{name}"' for name in rows.columns)
    with warehouse.write() as connection:
        connection.register("rows", rows)
        connection.execute(f'create temp table one as from "{table}"')
        connection.execute(f'delete from "{table}"')
        connection.execute(f'insert into "{table}" by name select one.* replace ({replaced}) from one cross join rows')
        connection.execute("drop table one")


def counted(warehouse: Warehouse, step: int = 9, experiment: Experiment = EXPERIMENT) -> dict[str, dict[str, Any]]:
    found = users_of(warehouse, experiment, day(step), feedback_days=3)
    nothing = dict.fromkeys((*COUNTS, *(f"{BEFORE}{name}" for name in COUNTS)), 0.0)
    assert set(found.columns) == {"arm", "days", *nothing}
    return {
        row["arm"]: {name: value for name, value in row.items() if value not in (0.0, row["arm"])}
        for row in found.to_dicts()
    }


def test_what_is_counted_of_users(filled: Warehouse) -> None:
    assert counted(filled) == {
        "as now": {
            **{"days": 10, "sends": 3.0, "opens": 1.0, "clicks": 1.0, "settled": 2.0, "returns": 1.0},
            "active_days": 2.0,
            **{f"{BEFORE}sends": 1.0, f"{BEFORE}opens": 1.0, f"{BEFORE}settled": 1.0, f"{BEFORE}returns": 1.0},
            f"{BEFORE}active_days": 2.0,
        },
        "other": {"days": 6, "opt_outs": 1.0, f"{BEFORE}sends": 1.0, f"{BEFORE}clicks": 1.0, f"{BEFORE}opens": 1.0,
                  f"{BEFORE}settled": 1.0, f"{BEFORE}active_days": 1.0},
    }  # fmt: skip


def test_after_its_end_an_experiment_counts_no_more_days(filled: Warehouse) -> None:
    ended = EXPERIMENT.model_copy(update={"end": day(6)})
    found = counted(filled, 9, ended)
    assert {arm: row["days"] for arm, row in found.items()} == {"as now": 7, "other": 3}
    assert (found["as now"]["sends"], found["as now"]["settled"]) == (2.0, 2.0)


def test_decisions_carry_their_arms_and_readouts_follow(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = on(EXPERIMENT.model_copy(update={"minimum_users": 100}))
    warehouse = home.warehouse(settings)
    users = pl.DataFrame({"user_id": [f"u{number:03}" for number in range(400)]})
    good = {"journey_id": "j", "stage": "ongoing", "confidence": 0.9, "return_probability": 0.9}
    empty = ("controls_in_force", "notification_feedback", "user_events", "journey_events", "notification_sends")
    unread = ("unwanted_journeys", "keyword_items", "names", "expansions", "keyword_embeddings", "send_model")
    for table in (*empty, *unread):
        fill(warehouse, table)
    fill_many(warehouse, "users_in_scope", users, as_of=day(-1), scope="all_users")
    fill_many(warehouse, "user_journeys", users, as_of=day(-1), **good)
    replace_step(notification_decisions, open_snapshot(warehouse, settings, day(-1)))
    arms = warehouse.query("select user_id, arms[1].arm as arm from notification_decisions order by user_id")
    assert set(arms["arm"]) == {"as now", "other"}
    # The other arm is active on two days more.
    steps = pl.int_range(pl.len()) % 5 + 2 * (pl.col("arm") == "other")
    active = arms.select("user_id", step=pl.int_ranges(steps)).explode("step", empty_as_null=True, keep_nulls=True)
    events = active.drop_nulls().select("user_id", arrival_day=pl.lit(START) + pl.duration(days="step"))
    fill_many(warehouse, "stg_events", events.with_columns(occurred_at=pl.col("arrival_day").cast(pl.Datetime("us"))))
    from journeys_dagster.orchestration.asset import Location, Run

    location: Any = Location(settings=settings, partitions_def=None, algorithm=None, assets=frozenset())  # type: ignore[arg-type]
    (result, *_) = experiment_readouts.materialize(Run(days=[day(5), day(6)], location=location, warehouse=warehouse))
    rows = warehouse.query("from experiment_readouts order by as_of, metric")
    assert rows.height == 6
    assert set(rows.columns) == set(TABLE.columns)
    assert rows.filter(metric="active_days")["verdict"].str.contains("better: ").all()
    assert rows["is_reading_day"].to_list() == [False] * 3 + [True] * 3
    assert isinstance(result, dg.MaterializeResult)
    assert "active_days: better" in str((result.metadata or {})["verdicts"])
    monkeypatch.setenv(HOME_VARIABLE, str(home.path))
    monkeypatch.delenv(SETTINGS_VARIABLE, raising=False)
    shown = CliRunner().invoke(experiments_command, ["cooldown", "--as-of", str(day(6))], catch_exceptions=False)
    assert shown.exit_code == 0
    assert "this is the verdict" in shown.output
    told: Mapping[str, Any] = json.loads(CliRunner().invoke(experiments_command, ["--json"]).output)
    assert [row["as_of"] for row in told["readouts"]] == [str(day(6))] * 3
    assert CliRunner().invoke(experiments_command, ["other"]).exit_code == 2


def test_there_are_readouts_where_there_are_experiments_and_journeys_stay_the_same() -> None:
    assert not experiment_readouts.is_in_use(on())
    assert experiment_readouts.is_in_use(on(EXPERIMENT))
    assert algorithm_in_use(on(EXPERIMENT)).version == algorithm_in_use(on()).version


def test_the_plot_shows_what_has_a_lift() -> None:
    from journeys_dagster.notification.readout import READOUT_SCHEMA
    from journeys_dagster.reporting.lift_plot import lifts_plot

    row = {
        "experiment": "cooldown",
        "arm": "other",
        "metric": "active_days",
        "relative_lift": 0.1,
        "relative_low": 0.0,
        "relative_high": 0.2,
    }
    known = pl.DataFrame([row], schema=READOUT_SCHEMA)
    assert lifts_plot(known, title="lifts").startswith(b"\x89PNG")
    assert lifts_plot(known.clear(), title="lifts") != lifts_plot(known, title="lifts")
