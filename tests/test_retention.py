"""Retention: old snapshots go, and nothing that is read or inferred afterwards differs."""

import shutil
from collections.abc import Callable
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from click.testing import CliRunner
from conftest import WORLD_LAST_DAY, Pipeline
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.journey_identities import _PREVIOUS as IDENTITIES_READ
from assets.llm_journeys import llm_journeys
from assets.names import _FORMER as NAMES_READ
from assets.notification_decisions import notification_decisions
from journeys_dagster.cli import cli
from journeys_dagster.definitions import declared_tables
from journeys_dagster.resources import retention as retention_module
from journeys_dagster.resources.home import Home
from journeys_dagster.resources.retention import RetentionError, days_to_keep, prune, pruned_tables
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import RetentionSettings, Settings
from journeys_dagster.sql.models import load_models
from journeys_dagster.tables import Column
from lab.simulation import simulate

RETENTION = "retention"
TABLES = pruned_tables(declared_tables(Settings()))
# A home that asks no language model for lists has none.
MADE = [
    table for table in TABLES if table.name not in {llm_journeys.name, notification_decisions.name, "keyword_items"}
]
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


SOURCES = """
create table notification_feedback (
    user_id varchar, journey_id varchar, event varchar, occurred_at timestamp, arrival_day date
);
create table human_labels (user_id varchar, journey_id varchar, grade int, occurred_at timestamp, arrival_day date);
insert into notification_feedback
select user_id, 'j1', 'clicked', as_of + 1, as_of + 1 from snapshots where number % 3 = 0;
"""
VALUES = {
    "as_of": "as_of",
    "user_id": "user_id",
    "scope": "'active_users'",
    "journey_id": "'j' || j",
    "cluster": "j",
    "rank": "j",
    "keyword": "'k' || (number + j) % 5",
    "name": "'n' || number",
}


def value(name: str, column: Column) -> str:
    """SQL for a value that tells one snapshot from another."""
    if name in VALUES:
        return VALUES[name]
    if column.nullable:
        return "null"
    if column.type.endswith("]") or column.type.startswith("MAP"):
        return "[]" if column.type.endswith("]") else "map {}"
    return "as_of" if column.type in {"DATE", "TIMESTAMP"} else "number"


def fill(warehouse: Warehouse, log: Log) -> None:
    """A snapshot of two journeys for each (day, user, tables written), and feedback on some of them."""
    order = [*CUT_OFF, *(table.name for table in TABLES if table.name not in CUT_OFF)]
    frame = pl.DataFrame(
        [(FIRST + timedelta(days=day), f"u{user}", day, written) for day, user, written in log],
        schema=["as_of", "user_id", "number", "written"],
        orient="row",
    )
    with warehouse.write() as connection:
        connection.register("snapshots", frame)
        connection.execute(SOURCES).fetchall()
        for table in TABLES:
            connection.execute(table.create_sql()).fetchall()
            values = ", ".join(
                f"cast({value(name, column)} as {column.type}) as {name}" for name, column in table.columns.items()
            )
            per_user = not {"journey_id", "cluster", "keyword"} & table.columns.keys()
            connection.execute(
                f"insert into {table.name} by name select {values} from snapshots, (values (1), (2)) journeys(j) "
                f"where written > {order.index(table.name)} {'and j = 1' if per_user else ''}"
            ).fetchall()
        for view in VIEWS:
            connection.execute(f"create view {view} as {load_models()[view].sql}").fetchall()
        connection.unregister("snapshots")


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
            everyone = sql.format(of_batch="user_id in (select user_id from clusters)")
            found[f"{name} {day}"] = rows(warehouse.query(everyone, {"as_of": day}))
        day += timedelta(days=1)
    return found


LOGS = {
    "log": st.lists(
        st.tuples(st.integers(0, 12), st.integers(0, 3), st.integers(1, len(TABLES))),
        min_size=1,
        max_size=20,
        unique_by=lambda entry: entry[:2],
    ),
    "keep_days": st.integers(1, 8),
    "month_ends": st.booleans(),
}


@pytest.mark.slow
@given(**LOGS)
@settings(max_examples=8, deadline=None)
def test_whatever_was_inferred_pruning_changes_nothing_that_is_read(
    tmp_path_factory: pytest.TempPathFactory, log: Log, keep_days: int, month_ends: bool
) -> None:
    require_equal_reads(tmp_path_factory, log, retention(keep_days, month_ends=month_ends))


@pytest.mark.slow
@given(**LOGS)
@settings(max_examples=200, deadline=None)
def test_whatever_was_inferred_pruning_changes_nothing_that_is_read_in_many_cases(
    tmp_path_factory: pytest.TempPathFactory, log: Log, keep_days: int, month_ends: bool
) -> None:
    require_equal_reads(tmp_path_factory, log, retention(keep_days, month_ends=month_ends))


def require_equal_reads(tmp_path_factory: pytest.TempPathFactory, log: Log, chosen: RetentionSettings) -> None:
    warehouse = Home(tmp_path_factory.mktemp("random") / "home").warehouse(Settings())
    fill(warehouse, log)
    newest: date = warehouse.query("select max(as_of) as day from users_in_scope")["day"][0]
    keep_from = newest - timedelta(days=chosen.keep_days)
    before = seen(warehouse, keep_from)
    planned = prune(warehouse, TABLES, chosen, dry_run=True)
    pruned = prune(warehouse, TABLES, chosen)
    assert seen(warehouse, keep_from) == before
    assert pruned.tables.equals(planned.tables)
    assert prune(warehouse, TABLES, chosen).rows_pruned == 0


# The whole pipeline


@pytest.fixture(scope="module")
def old_home(tmp_path_factory: pytest.TempPathFactory, finished_home: Path, world_days: list[date]) -> Path:
    """The world inferred on four days, the first of them again for its active users: no full snapshot stays whole."""
    path = tmp_path_factory.mktemp("old") / "home"
    shutil.copytree(finished_home, path)
    Pipeline(Home(path)).run(world_days[0], up_to=["user_snapshots"])
    return path


@pytest.fixture
def old(tmp_path: Path, old_home: Path) -> Pipeline:
    shutil.copytree(old_home, tmp_path / "old")
    return Pipeline(Home(tmp_path / "old"))


@pytest.fixture(scope="module")
def long_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty users inferred on ten of thirty days, two of them fully."""
    path = tmp_path_factory.mktemp("long") / "home"
    simulate(path / "landing", users=30, days=32, seed=3, last_day=WORLD_LAST_DAY)
    pipeline = Pipeline(Home(path))
    for back in (24, 20, 16, 12, 11, 8, 5, 3, 2, 1):
        pipeline.run(WORLD_LAST_DAY - timedelta(days=back), "all_users" if back in {24, 12} else "active_users")
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("home_name", "keep_days", "steps"),
    [
        ("old_home", 1, [(1, "active_users"), (0, "all_users")]),
        pytest.param(
            "long_home", 4, [(3, "active_users"), (0, "active_users"), (0, "all_users")], marks=pytest.mark.slow
        ),
    ],
)
def test_kept_days_and_the_next_equal_those_of_a_twin_that_was_not_pruned(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    *,
    home_name: str,
    keep_days: int,
    steps: list[tuple[int, str]],
    figures: Callable[..., None],
) -> None:
    pipelines = []
    for name in ("pruned", "whole"):
        shutil.copytree(request.getfixturevalue(home_name), tmp_path / name)
        pipelines.append(Pipeline(Home(tmp_path / name)))
    pruned, whole = pipelines
    report = prune(pruned.warehouse, TABLES, retention(keep_days))
    assert report.rows_pruned > 0
    assert rows(pruned.table("current_user_journeys")) == rows(whole.table("current_user_journeys"))
    for back, scope in steps:
        day = WORLD_LAST_DAY - timedelta(days=back)
        # Running a day again changes nothing, so what the twin has need not be run again.
        had = whole.table("users_in_scope", f"as_of = '{day}' and scope = '{scope}'")
        for pipeline in pipelines if had.is_empty() else [pruned]:
            pipeline.run(day, scope)
        for table in MADE:
            where = f"as_of = '{day}'"
            assert rows(pruned.table(table.name, where)) == rows(whole.table(table.name, where)), (table.name, day)
        assert rows(pruned.table("current_user_journeys")) == rows(whole.table("current_user_journeys"))
    figures(rows_before=int(report.tables["rows"].sum()), rows_pruned=report.rows_pruned, days_compared=len(steps))


def test_what_goes_is_old_and_of_users_with_a_newer_snapshot(old: Pipeline, world_days: list[date]) -> None:
    report = prune(old.warehouse, TABLES, retention(1))
    assert report.keep_from == world_days[2]
    assert report.whole_days == []
    left = old.table("user_snapshots", f"as_of < '{report.keep_from}'")
    assert left["user_id"].is_unique().all()
    assert set(report.tables["table"]) == {table.name for table in MADE}
    assert not {"landed_days", "searches", "keyword_embeddings"} & set(report.tables["table"])


def test_a_pruning_that_would_change_the_view_is_undone(old: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    before = rows(old.table("user_journeys"))
    monkeypatch.setattr(retention_module, "_condition", lambda table: "as_of < $keep_from and len($whole_days) >= 0")
    with pytest.raises(RetentionError, match="would have changed current_user_journeys"):
        prune(old.warehouse, TABLES, retention(1))
    assert rows(old.table("user_journeys")) == before


def test_the_command_counts_first_and_prunes_then(
    old: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, world_days: list[date]
) -> None:
    file = tmp_path / "journeys.toml"
    file.write_text("[retention]\nkeep_days = 1\nrewrite_above_free_share = 0.0\n")
    monkeypatch.setenv("JOURNEYS_SETTINGS", str(file))

    def journeys(*words: str) -> str:
        found = CliRunner().invoke(cli, words, env={"JOURNEYS_HOME": str(old.home.path), "COLUMNS": "120"})
        assert found.exit_code == 0, found.output
        return " ".join(found.output.split())

    before = rows(old.table("user_journeys"))
    said = journeys("prune", "--dry-run")
    assert f"Snapshots before {world_days[2]}" in said
    assert "would go" in said
    assert rows(old.table("user_journeys")) == before
    said = journeys("prune")
    assert "Kept whole: no older day" in said
    assert "MB before" in said
    assert rows(old.table("user_journeys")) != before


def test_the_asset_prunes_and_shows_the_size_over_time(old: Pipeline) -> None:
    chosen = Settings.model_validate({"retention": {"keep_days": 1, "rewrite_above_free_share": 0.0}})
    pipeline = Pipeline(old.home, chosen)
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
    for job in ("daily_incremental", "full_inference", "train_models"):
        assert RETENTION not in {node.name for node in empty_pipeline.defs.resolve_job_def(job).graph.nodes}
    before, after = datetime(2025, 6, 8, 2, 55), datetime(2025, 6, 8, 3, 5)
    tick = partial(
        dg.evaluate_automation_conditions,
        defs=empty_pipeline.defs,
        instance=empty_pipeline.instance,
        asset_selection=dg.AssetSelection.assets(RETENTION),
    )
    first = tick(evaluation_time=before)
    assert first.total_requested == 0
    assert tick(evaluation_time=after, cursor=first.cursor).total_requested == 1
