"""`journeys status`: what it tells of homes in every state, and that asking changes nothing."""

import json
import shutil
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
import yaml
from click.testing import CliRunner, Result
from conftest import Pipeline

from journeys_dagster.cli import cli
from journeys_dagster.cli.home_status import home_status
from journeys_dagster.environment import PROJECT_ROOT
from journeys_dagster.resources.home import Home
from journeys_dagster.resources.trained_models import STAGE_MODEL
from journeys_dagster.settings import Settings
from journeys_dagster.sources.writer import write_day

DAY = date(2025, 6, 10)


def days_from(first: date, count: int) -> list[date]:
    return [first + timedelta(days=number) for number in range(count)]


def land(home: Home, day: date, *users: str) -> Path:
    times = [datetime(day.year, day.month, day.day)] * len(users)
    frame = pl.DataFrame({"user_id": users, "query": ["sofa"] * len(users), "occurred_at": times})
    return write_day(home.landing, source="searches", day=day, frame=frame)


def land_closeup(home: Home, day: date, user: str) -> Path:
    times = [datetime(day.year, day.month, day.day)]
    frame = pl.DataFrame({"user_id": [user], "item_id": ["i"], "action": ["closeup"], "occurred_at": times})
    return write_day(home.landing, source="engagements", day=day, frame=frame)


def printed(home: Home, *words: str) -> Result:
    return CliRunner().invoke(cli, ["status", *words], env={"JOURNEYS_HOME": str(home.path), "COLUMNS": "120"})


@pytest.fixture(scope="module")
def inferred_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose one day has been inferred for both of its users."""
    home = Home(tmp_path_factory.mktemp("inferred") / "home")
    land(home, DAY, "ann", "ben")
    Pipeline(home).run(DAY, "all_users")
    return home.path


@pytest.fixture
def inferred(tmp_path: Path, inferred_home: Path) -> Pipeline:
    return Pipeline(Home(Path(shutil.copytree(inferred_home, tmp_path / "home"))))


def test_an_empty_home_is_not_made_by_asking(home: Home) -> None:
    result = printed(home)
    assert result.exit_code == 0, result.output
    assert "journeys simulate" in result.output
    assert not home.path.exists()


def test_a_home_without_a_warehouse(home: Home) -> None:
    land(home, DAY, "ann")
    (land(home, DAY + timedelta(days=1), "ann") / "_SUCCESS").unlink()
    land(home, datetime.now(UTC).date(), "ann")
    status = home_status(home, Settings())
    assert status["landing"]["not_taken_in"] == [{"source": "searches", "day": "2025-06-10"}]
    assert status["landing"]["incomplete"] == [{"source": "searches", "day": "2025-06-11"}]
    assert status["landing"]["not_over"] == [str(datetime.now(UTC).date())]
    assert status["inference"]["newest_day"] is None
    assert any("landing_sensor" in line for line in status["what_to_do"])
    assert not home.warehouse_path.exists()
    assert "searches 2025-06-11" in printed(home).output


def test_a_home_in_order_has_nothing_to_do(inferred: Pipeline) -> None:
    status = home_status(inferred.home, Settings())
    assert status["what_to_do"] == []
    assert status["inference"]["users"] == 2
    assert (status["landing"]["newest_taken_in"], status["inference"]["newest_full_day"]) == ("2025-06-10",) * 2
    assert "Nothing to do." in printed(inferred.home).output


@pytest.mark.slow
def test_late_data_makes_later_days_stale_and_says_why(home: Home) -> None:
    pipeline = Pipeline(home)
    days = days_from(DAY, 4)
    for number, day in enumerate(days):
        land(home, day, f"user-{number}")
    for day in days:
        pipeline.run(day)
    assert home_status(home, Settings())["inference"]["stale"] == []

    land(home, days[1], "user-1", "late")
    changed = home_status(home, Settings())
    assert changed["landing"]["changed"] == [{"source": "searches", "day": str(days[1])}]
    assert changed["inference"]["stale"] == []

    pipeline.ingest(days[1])
    land_closeup(home, days[2], "late")
    status = home_status(home, Settings())["inference"]
    cause = [{"source": "searches", "day": str(days[1]), "how": "changed"}]
    assert [(day["as_of"], day["because"], day["users"]) for day in status["stale"]] == [
        (str(day), cause, 1) for day in reversed(days[1:])
    ]
    assert status["users_with_stale_journeys"] == 3

    pipeline.run(days[3], "all_users")
    after = home_status(home, Settings())["inference"]
    assert (str(days[3]), "all_users") not in {(day["as_of"], day["scope"]) for day in after["stale"]}
    assert after["users_with_stale_journeys"] == 0
    by_day = {(day["as_of"], day["scope"]): day["because"] for day in after["stale"]}
    closeup = {"source": "engagements", "day": str(days[2]), "how": "arrived later"}
    assert by_day[str(days[3]), "active_users"] == [*cause, closeup]
    assert by_day[str(days[1]), "active_users"] == cause
    assert f"searches {days[1]} changed" in printed(home).output


def test_a_migrated_warehouse_is_not_called_stale(inferred: Pipeline) -> None:
    with inferred.warehouse.write() as connection:
        connection.execute("update inferred_days set landing_fingerprint = ''")
        connection.execute("update users_in_scope set landing_fingerprint = ''")
    status = home_status(inferred.home, Settings())
    assert (status["inference"]["stale"], status["inference"]["unfinished"]) == ([], [])


def test_a_changed_algorithm_is_explained_part_by_part(inferred: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    home = inferred.home
    with inferred.warehouse.write() as connection:
        for part, value in (("model journey_features", '"other"'), ("step stages", '"1"'), ("ranking.gone", "5")):
            connection.execute("delete from algorithm_parts where part = ?", [part])
            connection.execute(
                "insert into algorithm_parts select any_value(algorithm_version), ?, ? from algorithm_parts",
                [part, value],
            )
    settings = home.path / "journeys.toml"
    settings.write_text("[clusters]\ndistance_threshold = 0.62\n")
    monkeypatch.setenv("JOURNEYS_SETTINGS", str(settings))
    algorithm = json.loads(printed(home, "--json").stdout)["algorithm"]
    assert algorithm["changes"] == [
        {"part": "clusters.distance_threshold", "before": "0.54", "now": "0.62"},
        {"part": "model journey_features", "before": '"other"', "now": algorithm["changes"][1]["now"]},
        {"part": "ranking.gone", "before": "5", "now": None},
        {"part": "step stages", "before": '"1"', "now": algorithm["changes"][3]["now"]},
    ]
    assert algorithm["users_by_another_version"] == 2
    output = printed(home).output
    for said in ("clusters.distance_threshold 0.54 → 0.62", "model journey_features changed", "step stages changed"):
        assert said in output
    assert f"journeys run --date {DAY} --scope all_users" in " ".join(output.split())


def test_models_say_what_was_decided_at_the_last_training_and_why(inferred: Pipeline) -> None:
    # Promoted a week ago, refused yesterday.
    trained = [(7, "old", True, "promoted: won"), (1, "new", False, "refused: lost")]
    rows = [
        {"as_of": DAY - timedelta(days=ago), "model_id": name, "promoted": promoted, "decision": why, "card": "{}"}
        for ago, name, promoted, why in trained
    ]
    inferred.warehouse.replace_table(STAGE_MODEL, [pl.DataFrame(rows)])
    said = " ".join(printed(inferred.home).stdout.replace("│", " ").split())
    assert f"old of {DAY - timedelta(days=7)}; last trained {DAY - timedelta(days=1)}, refused: lost" in said
    assert home_status(inferred.home, inferred.settings)["models"]["ranking_model"]["decision"] is None


def test_days_held_up_and_runs_that_were_not_finished(inferred: Pipeline) -> None:
    home = inferred.home
    bad = pl.DataFrame({"user_id": ["ann"] * 2, "query": ["x", None], "occurred_at": [datetime(2025, 6, 11)] * 2})
    write_day(home.landing, source="searches", day=DAY + timedelta(days=1), frame=bad)
    with pytest.raises(RuntimeError):
        inferred.ingest(DAY + timedelta(days=1))
    with inferred.warehouse.write() as connection:
        connection.execute("delete from inferred_days")
    status = home_status(home, Settings())
    assert status["landing"]["held_up"] == [{"source": "searches", "day": "2025-06-11", "rejected_share": 0.5}]
    assert status["landing"]["changed"] == []
    assert status["inference"]["unfinished"] == [{"as_of": "2025-06-10", "scope": "all_users"}]
    assert any("--date 2025-06-10 --scope all_users" in line for line in status["what_to_do"])


def test_what_lies_in_the_zone_and_is_not_read(home: Home) -> None:
    folder = home.landing / "searches" / "dt=2025-06-10"
    folder.mkdir(parents=True)
    (folder / "a[bold].csv").touch()
    status = home_status(home, Settings())
    assert [each["path"] for each in status["landing"]["passed_over"]] == ["searches/dt=2025-06-10"]
    assert any("rename it to date=2025-06-10" in line for line in status["what_to_do"])
    assert not any("empty" in line for line in status["what_to_do"])
    assert "searches: 1 of 1 folders" in printed(home).output


@pytest.mark.slow
def test_a_day_with_a_file_that_was_not_read_is_not_whole_until_it_is_mended(inferred: Pipeline) -> None:
    folder = land(inferred.home, DAY, *["ann"] * 30)
    for number in range(30):
        pl.DataFrame(
            {"user_id": ["ann"], "query": ["sofa"], "occurred_at": [datetime(2025, 6, 10, 5, number)]}
        ).write_parquet(folder / f"more-{number}.parquet")
    (folder / "damaged.parquet").write_bytes(b"PAR1")
    inferred.run(DAY, "all_users")
    status = home_status(inferred.home, Settings())
    (day,) = status["landing"]["not_whole"]
    assert (day["source"], day["day"], day["files"]) == ("searches", "2025-06-10", 1)
    assert day["what_to_do"]
    assert any("Not whole, as 1 file" in line for line in status["what_to_do"])
    assert "searches 2025-06-10 (1 file not read)" in printed(inferred.home).output
    (folder / "damaged.parquet").unlink()
    inferred.run(DAY, "all_users")
    assert home_status(inferred.home, Settings())["landing"]["not_whole"] == []


def land_items(home: Home, day: date, *items: str) -> Path:
    many = len(items)
    frame = pl.DataFrame(
        {"item_id": items, "title": items, "annotations": [["oak"]] * many, "interests": [["x"]] * many}
    )
    return write_day(home.landing, source="items", day=day, frame=frame)


@pytest.mark.slow
def test_items_that_come_after_the_events_that_need_them(inferred: Pipeline) -> None:
    home, later = inferred.home, DAY + timedelta(days=5)
    for user in ("ann", "ben"):
        land_closeup(home, DAY, user)
    inferred.run(DAY, "all_users")
    status = home_status(home, Settings())
    assert (status["shortfalls"]["unknown_items"]["engaged"], status["shortfalls"]["unknown_items"]["unknown"]) == (
        1,
        1,
    )
    assert any("Write them to items/" in line for line in status["what_to_do"])

    land_items(home, later, "i", "other")
    assert any(
        "None of the 1 items" in line and f"Items land later, on {later}: `journeys run --date {later}" in line
        for line in home_status(home, Settings())["what_to_do"]
    )
    inferred.ingest(later)
    assert "1 arrived later, on 2025-06-15" in " ".join(home_status(home, Settings())["what_to_do"])

    land(home, later, "ann")
    inferred.run(later)
    status = home_status(home, Settings())
    assert status["shortfalls"]["unknown_items"] is None
    assert status["shortfalls"]["users_outdated_by_items"] == {"users": 1, "day": str(later)}
    assert any(
        "The lists of 1 user are older than items" in line and f"--date {later} --scope all_users" in line
        for line in status["what_to_do"]
    )
    inferred.run(later, "all_users")
    assert home_status(home, Settings())["what_to_do"] == []


def test_users_whose_rows_came_after_their_lists_and_users_without_keywords(inferred: Pipeline) -> None:
    home, second, third = inferred.home, *days_from(DAY + timedelta(days=1), 2)
    land(home, second, "ann", "new")
    land_closeup(home, third, "zoe")
    inferred.run(third, up_to=["inferred_days", "current_user_journeys"])
    status = home_status(home, Settings())
    assert status["shortfalls"]["users_outdated_by_rows"] == {"users": 2, "day": str(second)}
    assert status["shortfalls"]["users_without_keywords"] == 1
    lines = " ".join(status["what_to_do"])
    assert f"The lists of 2 users are older than rows that arrived until {second}" in lines
    assert "Without any keyword, and so without journeys: 1 user." in lines
    assert "outdated by rows" in printed(home).output


@pytest.mark.slow
def test_a_day_on_which_nothing_landed_is_told(inferred: Pipeline) -> None:
    inferred.run(DAY + timedelta(days=1), "all_users")
    status = home_status(inferred.home, Settings())
    assert status["shortfalls"]["no_data"].startswith("No data landed for 2025-06-11")
    folder = inferred.home.landing / "searches" / "date=2025-06-11"
    folder.mkdir()
    (folder / "a.csv").write_text("user_id,query,occurred_at\n")
    (folder / "_SUCCESS").touch()
    inferred.run(DAY + timedelta(days=1), "all_users")
    assert home_status(inferred.home, Settings())["shortfalls"]["no_data"].startswith("No data landed for 2025-06-11")


def test_failed_checks_of_the_newest_run_of_each_asset(home: Home) -> None:
    passes = True

    @dg.asset(check_specs=[dg.AssetCheckSpec("is_fine", asset="measured")])
    def measured() -> dg.MaterializeResult:
        check = dg.AssetCheckResult(passed=passes, severity=dg.AssetCheckSeverity.WARN, description="[bold] off by 3")
        return dg.MaterializeResult(check_results=[check])

    with home.dagster_instance() as instance:
        dg.materialize([measured], instance=instance)
    assert home_status(home, Settings())["failed_checks"] == []
    passes = False
    with home.dagster_instance() as instance:
        dg.materialize([measured], instance=instance)
    (failed,) = home_status(home, Settings())["failed_checks"]
    assert (failed["asset"], failed["check"], failed["severity"]) == ("measured", "is_fine", "warn")
    assert "is_fine: [bold] off by 3" in printed(home).output
    assert any("measured is_fine" in line for line in home_status(home, Settings())["what_to_do"])
    passes = True
    with home.dagster_instance() as instance:
        dg.materialize([measured], instance=instance)
    assert home_status(home, Settings())["failed_checks"] == []


def test_what_dagster_tells(home: Home) -> None:
    land(home, DAY, "ann")
    instance = home.dagster_instance()
    job = dg.job(name="daily_incremental")(lambda: None)
    run = instance.create_run_for_job(job, tags={"dagster/partition": str(DAY)}, status=dg.DagsterRunStatus.STARTED)
    instance.dispose()
    status = home_status(home, Settings())
    (under_way,) = status["runs"]["under_way"]
    assert (under_way["run_id"], under_way["first_day"], under_way["status"]) == (run.run_id, str(DAY), "started")
    assert status["automation"]["on"] == []
    assert "landing_sensor" in status["automation"]["off"]


def test_an_upgrade_says_where_the_homes_dagster_yaml_differs(home: Home) -> None:
    home.dagster_instance().dispose()
    assert home.differing_dagster_settings() == []
    own = home.dagster / "dagster.yaml"
    kept: dict[str, Any] = yaml.safe_load(own.read_text())
    kept["run_retries"]["max_retries"] = 0
    del kept["retention"]
    own.write_text(yaml.safe_dump(kept))
    assert home_status(home, Settings())["dagster_settings_that_differ"] == ["retention", "run_retries"]
    home.dagster_instance().dispose()
    assert yaml.safe_load(own.read_text()) == kept


def test_asking_imports_nothing_heavy_and_changes_nothing(
    finished_home: Path,
) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished_home.rglob("*") if path.is_file()}
    code = (
        "import sys; from journeys_dagster.cli.home_status import home_status; "
        "from journeys_dagster.resources.home import Home; from journeys_dagster.settings import load_settings; "
        "home_status(Home.from_environment(), load_settings()); "
        "print(sorted({'torch', 'sentence_transformers', 'sklearn', 'xgboost', 'numba', 'matplotlib'} "
        "& {name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"JOURNEYS_HOME": str(finished_home), "PYTHONPATH": str(PROJECT_ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.strip() == "[]"
    assert {path: path.stat().st_mtime_ns for path in before} == before
