"""Retention: old snapshots go, and nothing that is read or inferred afterwards differs."""

import shutil
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from click.testing import CliRunner
from conftest import Pipeline
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.graph import snapshot_tables
from assets.names import _FORMER as NAMES_READ
from assets.journey_identities import _PREVIOUS as IDENTITIES_READ
from assets.retention import RETENTION
from journeys_dagster.cli import cli
from journeys_dagster.resources.home import Home
from journeys_dagster.resources.retention import Pruning, days_to_keep, prune
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import RetentionSettings, Settings
from journeys_dagster.simulation import simulate
from journeys_dagster.sql_models import load_models

MODELS = load_models()
TABLES = snapshot_tables(MODELS)
VIEWS = ("current_user_journeys", "keyword_centrality", "feedback_labels")


def retention(keep_days: int, *, month_ends: bool = False) -> RetentionSettings:
    return RetentionSettings.model_validate({"keep_days": keep_days, "keep_month_ends": month_ends})


def rows(frame: pl.DataFrame) -> list[str]:
    return sorted(str(row) for row in frame.iter_rows())


# What stays


def test_ages_count_from_the_newest_inferred_day() -> None:
    days = [date(2025, 1, 1) + timedelta(days=n) for n in range(100)]
    assert days_to_keep(days, [], retention(30)) == (days[-1] - timedelta(days=30), [])


def test_month_ends_are_the_last_inferred_day_of_each_month() -> None:
    days = [date(2025, 1, 3), date(2025, 1, 29), date(2025, 2, 1), date(2025, 2, 27), date(2025, 3, 31)]
    keep_from, whole = days_to_keep(days, [], retention(1, month_ends=True))
    assert (keep_from, whole) == (date(2025, 3, 30), [date(2025, 1, 29), date(2025, 2, 27)])


def test_the_newest_full_snapshot_stays_however_old() -> None:
    days = [date(2024, 1, 1), date(2024, 2, 1), date(2025, 1, 1)]
    assert days_to_keep(days, days[:2], retention(30)) == (date(2024, 12, 2), [date(2024, 2, 1)])


def test_nothing_inferred_is_nothing_to_prune(warehouse: Warehouse) -> None:
    assert days_to_keep([], [], retention(1)) == (None, [])
    with warehouse.write():
        pass
    assert prune(warehouse, TABLES, retention(1)).rows_pruned == 0


# Snapshots at random: who was inferred when, with a run that was cut off after some of its tables

Log = list[tuple[int, int, int]]
FIRST = date(2025, 1, 25)
CUT_OFF = ("users_in_scope", "keywords", "clusters", "journey_identities", "journey_engagement", "names", "stages")


def fill(warehouse: Warehouse, log: Log) -> None:
    """A snapshot of two journeys for each (day, user, tables written); feedback on some of them."""
    order = [*CUT_OFF, *(table.name for table in TABLES if table.name not in CUT_OFF)]
    with warehouse.write() as connection:
        for table in TABLES:
            connection.execute(table.create_sql()).fetchall()
        connection.execute("create table notification_feedback (user_id varchar, journey_id varchar, event varchar, "
                           "occurred_at timestamp, arrival_day date)").fetchall()
        connection.execute("create table human_labels (user_id varchar, journey_id varchar, grade int, "
                           "occurred_at timestamp, arrival_day date)").fetchall()
        for day, user, written in log:
            values = {"as_of": FIRST + timedelta(days=day), "user_id": f"u{user}", "scope": "active_users"}
            for name in order[: max(written, 1)]:
                insert(connection, next(table for table in TABLES if table.name == name), values)
            if day % 3 == 0:
                connection.execute(
                    "insert into notification_feedback values ($1, 'j1', 'clicked', $2::date + 1, $2::date + 1)",
                    [values["user_id"], values["as_of"]],
                ).fetchall()
        for name in ("feedback_labels", "keyword_centrality", "current_user_journeys"):
            connection.execute(f"create view {name} as {MODELS[name].sql}").fetchall()


def insert(connection, table, values) -> None:
    """Rows of a table: the key as given, two journeys and clusters, other columns from the day's number."""
    number = (values["as_of"] - FIRST).days
    for journey in (1, 2):
        row = {
            **{name: None for name, column in table.columns.items() if column.nullable},
            "journey_id": f"j{journey}",
            "cluster": journey,
            "keyword": f"k{(number + journey) % 5}",
            "name": f"n{number}",
            "rank": journey,
            **values,
        }
        literals = []
        for name, column in table.columns.items():
            value = row[name] if name in row else "[]" if column.type.endswith("]") else number
            quoted = "null" if value is None else f"'{value}'"
            literals.append(f"cast({quoted} as {column.type}) as {name}" if column.type != "DATE" or name == "as_of"
                            else f"cast('{values['as_of']}' as date) as {name}")
        if "user_id" in table.columns and not {"journey_id", "cluster"} & table.columns.keys() and journey == 2:
            continue
        connection.execute(f"insert into {table.name} by name select {', '.join(literals)}").fetchall()


def seen(warehouse: Warehouse, from_day: date) -> dict[str, list[str]]:
    """What readers see, and what a run of each kept day and of the next one reads of earlier days."""
    found = {view: rows(warehouse.query(f"from {view}")) for view in VIEWS}
    found["learnt"] = rows(
        warehouse.query("from feedback_labels join journey_features using (as_of, user_id, journey_id)")
    )
    last = warehouse.query("select max(as_of) as day from users_in_scope")["day"][0]
    day = from_day
    while day <= last + timedelta(days=1):
        for name, sql in (("identities", IDENTITIES_READ), ("names", NAMES_READ)):
            everyone = sql.format(users="(select user_id from clusters)")
            found[f"{name} {day}"] = rows(warehouse.query(everyone, {"as_of": day}))
        day += timedelta(days=1)
    return found


@given(
    log=st.lists(
        st.tuples(st.integers(0, 12), st.integers(0, 3), st.integers(1, len(TABLES))),
        min_size=1, max_size=20, unique_by=lambda entry: entry[:2],
    ),
    keep_days=st.integers(1, 8),
    month_ends=st.booleans(),
)
@settings(max_examples=15, deadline=None)
def test_whatever_was_inferred_pruning_changes_nothing_that_is_read(
    tmp_path_factory: pytest.TempPathFactory, log: Log, keep_days: int, month_ends: bool
) -> None:
    warehouse = Home(tmp_path_factory.mktemp("random") / "home").warehouse(Settings())
    fill(warehouse, log)
    chosen = retention(keep_days, month_ends=month_ends)
    newest: date = warehouse.query("select max(as_of) as day from users_in_scope")["day"][0]
    before = seen(warehouse, newest - timedelta(days=keep_days))
    planned = prune(warehouse, TABLES, chosen, dry_run=True)
    pruned = prune(warehouse, TABLES, chosen)
    assert seen(warehouse, newest - timedelta(days=keep_days)) == before
    assert pruned.tables.equals(planned.tables)
    assert prune(warehouse, TABLES, chosen).rows_pruned == 0


# The whole pipeline


@pytest.fixture(scope="module")
def long_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty users inferred on eleven of thirty days, two of them fully."""
    path = tmp_path_factory.mktemp("long") / "home"
    last = date(2025, 6, 10)
    simulate(path / "landing", users=30, days=32, seed=3, last_day=last)
    pipeline = Pipeline(Home(path))
    for back in (24, 20, 16, 12, 11, 8, 5, 3, 2, 1):
        pipeline.run(last - timedelta(days=back), "all_users" if back in (24, 12) else "active_users")
    return path


@pytest.fixture
def twin(tmp_path: Path, long_home: Path) -> Callable[[str], Pipeline]:
    def copy(name: str) -> Pipeline:
        shutil.copytree(long_home, tmp_path / name)
        return Pipeline(Home(tmp_path / name))

    return copy


def prune_to(pipeline: Pipeline, keep_days: int) -> Pruning:
    return prune(pipeline.warehouse, TABLES, retention(keep_days))


def test_the_days_after_and_kept_days_run_again_equal_those_of_a_twin_that_was_not_pruned(
    twin: Callable[[str], Pipeline], figures: Callable[..., None]
) -> None:
    last = date(2025, 6, 10)
    pruned, whole = twin("pruned"), twin("whole")
    report = prune_to(pruned, 4)
    assert report.rows_pruned > 0
    assert rows(pruned.table("current_user_journeys")) == rows(whole.table("current_user_journeys"))
    steps = [(last - timedelta(days=3), "active_users"), (last, "active_users"), (last, "all_users")]
    for day, scope in steps:
        for pipeline in (pruned, whole):
            pipeline.run(day, scope)
        for table in TABLES:
            where = f"as_of = '{day}'"
            assert rows(pruned.table(table.name, where)) == rows(whole.table(table.name, where)), (table.name, day)
        assert rows(pruned.table("current_user_journeys")) == rows(whole.table("current_user_journeys"))
    figures(rows_pruned=report.rows_pruned, rows=int(report.tables["rows"].sum()), days_compared=len(steps))


def test_what_goes_is_old_and_of_users_with_a_newer_snapshot(twin: Callable[[str], Pipeline]) -> None:
    pipeline = twin("pruned")
    report = prune_to(pipeline, 4)
    assert report.keep_from == date(2025, 6, 5)
    assert report.whole_days == [date(2025, 5, 29)]
    left = pipeline.table("user_snapshots", f"as_of < '{report.keep_from}' and as_of <> '2025-05-29'")
    newest = left.group_by("user_id").agg(pl.len())
    assert (newest["len"] == 1).all()
    assert set(report.tables["table"]) == {table.name for table in TABLES}
    for record in ("landed_days", "searches", "keyword_embeddings"):
        assert record not in set(report.tables["table"])


def test_a_pruning_that_would_change_the_view_is_undone(
    twin: Callable[[str], Pipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    from journeys_dagster.resources import retention as module

    pipeline = twin("pruned")
    before = rows(pipeline.table("user_journeys"))
    monkeypatch.setattr(module, "_condition", lambda table: "as_of < $keep_from and len($whole_days) >= 0")
    with pytest.raises(module.RetentionError, match="would have changed current_user_journeys"):
        prune_to(pipeline, 1)
    assert rows(pipeline.table("user_journeys")) == before


def test_the_command_counts_first_and_prunes_then(
    twin: Callable[[str], Pipeline], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = twin("pruned")
    file = tmp_path / "journeys.toml"
    file.write_text("[retention]\nkeep_days = 4\nrewrite_above_free_share = 0.0\n")
    monkeypatch.setenv("JOURNEYS_SETTINGS", str(file))

    def journeys(*words: str) -> str:
        found = CliRunner().invoke(cli, words, env={"JOURNEYS_HOME": str(pipeline.home.path), "COLUMNS": "120"})
        assert found.exit_code == 0, found.output
        return " ".join(found.output.split())

    before = rows(pipeline.table("user_journeys"))
    said = journeys("prune", "--dry-run")
    assert "Snapshots before 2025-06-05" in said
    assert "would go" in said
    assert rows(pipeline.table("user_journeys")) == before
    said = journeys("prune")
    assert "Kept whole: 2025-05-29, 2025-05-30" in said
    assert "MB before" in said
    assert rows(pipeline.table("user_journeys")) != before


def test_the_asset_prunes_and_shows_the_size_over_time(twin: Callable[[str], Pipeline]) -> None:
    home = twin("pruned").home
    chosen = Settings.model_validate({"retention": {"keep_days": 4, "rewrite_above_free_share": 0.0}})
    pipeline = Pipeline(home, chosen)
    results = [
        dg.materialize(
            [next(asset for asset in pipeline.defs.assets or [] if asset.key == dg.AssetKey(RETENTION))],  # type: ignore[union-attr]
            instance=pipeline.instance,
            resources={"warehouse": pipeline.warehouse, "settings": pipeline.settings},
        )
        for _ in range(2)
    ]
    first, second = (result.asset_materializations_for_node(RETENTION)[0].metadata for result in results)
    assert first["rows_pruned"].value > 0 == second["rows_pruned"].value  # type: ignore[operator]
    assert first["bytes_after"].value < first["bytes_before"].value  # type: ignore[operator]
    assert "data:image/png" in second["plot"].value  # type: ignore[operator]
    assert second["bytes_before"].value == first["bytes_after"].value


def test_retention_runs_by_its_cron_and_not_in_the_daily_jobs(empty_pipeline: Pipeline) -> None:
    from datetime import datetime

    for job in ("daily_incremental", "full_inference", "train_models"):
        assert RETENTION not in {node.name for node in empty_pipeline.defs.resolve_job_def(job).graph.nodes}
    asset = next(asset for asset in empty_pipeline.defs.assets or [] if asset.key == dg.AssetKey(RETENTION))  # type: ignore[union-attr]
    instance = empty_pipeline.instance
    before = dg.evaluate_automation_conditions([asset], instance, evaluation_time=datetime(2025, 6, 8, 2, 55))  # type: ignore[list-item]
    after = dg.evaluate_automation_conditions(
        [asset], instance, cursor=before.cursor, evaluation_time=datetime(2025, 6, 8, 3, 5)  # type: ignore[list-item]
    )
    assert (before.total_requested, after.total_requested) == (0, 1)
