"""Users split over shards: the same tables as in one warehouse, whatever dies on the way."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import dagster as dg
import duckdb
import polars as pl
import pytest
from conftest import WORLD_LAST_DAY, MakeOnce, Pipeline
from hypothesis import given
from hypothesis import strategies as st

from assets.safety_verdicts import safety_verdicts
from journeys_dagster.definitions import build_location, declared_assets, declared_tables
from journeys_dagster.orchestration.bare import in_order
from journeys_dagster.orchestration.shard_results import encoded_results, merged_checks, merged_metadata
from journeys_dagster.orchestration.shards_resource import require_splittable
from journeys_dagster.orchestration.sql_assets import sql_asset
from journeys_dagster.resources import shard_workers
from journeys_dagster.resources.database_file import WarehouseError
from journeys_dagster.resources.home import Home
from journeys_dagster.resources.reshard import reshard
from journeys_dagster.resources.shard_layout import read_copy
from journeys_dagster.resources.shards import layout_of, require_layout, shard_warehouse
from journeys_dagster.settings import Settings, SettingsError
from journeys_dagster.sources.contracts import declared_sources
from journeys_dagster.sources.reader import read_days
from journeys_dagster.sources.routed import (
    fingerprints_of,
    put_together,
    route_files,
    rows_of_shard,
    shares_of_files,
    take_in,
)
from journeys_dagster.sources.routing import shard_of, shard_sql
from journeys_dagster.sources.writer import SUCCESS
from journeys_dagster.sql.models import ModelError, load_model, load_models
from lab.simulation import simulate

DAY = date(2025, 6, 1)
TABLES = declared_tables(Settings())
MODELS = load_models()
ORDERED = [MODELS[asset.name] for asset in in_order([sql_asset(model) for model in MODELS.values()])]


# Which shard


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1), min_size=1))
def test_a_users_shard_is_the_same_in_python_and_sql_and_depends_on_the_id_alone(users: list[str]) -> None:
    ids = "select unnest($users::varchar[]) as user_id"
    found = duckdb.execute(f"select {shard_sql(7)} as shard from ({ids})", {"users": users}).fetchall()
    assert [shard for (shard,) in found] == [shard_of(user, 7) for user in users]


def test_shards_are_what_they_have_always_been_and_of_about_one_size() -> None:
    # Whoever changes these numbers loses every user of every home that is split.
    assert [shard_of(user, 8) for user in ("a", "user-1", "ü")] == [1, 3, 2]
    counts = pl.Series([shard_of(f"user-{number}", 8) for number in range(8_000)]).value_counts()["count"]
    assert counts.sum() == 8_000
    assert 880 < counts.min() <= counts.max() < 1_120  # type: ignore[operator]


# What a model of the population leaves to its shards


@pytest.mark.parametrize(
    ("subquery", "said"),
    [
        ("select action, row_number() over () as n from stg_events", "has a window"),
        ("select action, count(*) as n from stg_events group by action having count(*) > 2", "leaves out rows"),
        ("select count(distinct action) as n from stg_events", "counts what may be in several shards"),
        ("select action, avg(1) as n from stg_events group by action", "is neither a group nor"),
        ("select action, sum(1.5e0) as n from stg_events group by action", "sums what is no decimal"),
    ],
)
def test_what_cannot_be_put_together_again_is_refused(subquery: str, said: str, tmp_path: Path) -> None:
    header = "name: odd\ngrain: one row\nmaterialized: view\nper: population\npartial: [part]\ndescription: Odd."
    path = tmp_path / "odd.sql"
    path.write_text(
        f"/*\n{header}\n*/\nwith part as ({subquery})\nselect cast(n as bigint) as n -- a number\nfrom part"
    )
    with pytest.raises(ModelError, match=said):
        load_model(path)


def test_what_looks_across_users_gathers_or_is_not_there_where_users_are_split() -> None:
    settings = Settings.model_validate({"run": {"shards": 3}})
    declared = declared_assets(settings)
    location = build_location(settings, declared, dg.DailyPartitionsDefinition("2025-06-01"))
    assert {"keyword_trends", "user_journeys", "inferred_days"} <= location.assets
    assert not {"ranking_model", "naming_model", "retention"} & location.assets
    silent = [replace(asset, gathers=False) if asset.name == safety_verdicts.name else asset for asset in declared]
    with pytest.raises(ModelError, match="safety_verdicts reads all users' rows"):
        build_location(settings, silent, dg.DailyPartitionsDefinition("2025-06-01"))


def test_what_is_not_there_where_users_are_split_is_refused() -> None:
    require_splittable(Settings.model_validate({"run": {"shards": 3}}))
    llm = {"names": True, "base_url": "http://localhost:1", "model": "m", "send_user_text": True}
    asked = Settings.model_validate({"run": {"shards": 3}, "notifications": {"enabled": True}, "llm": llm})
    with pytest.raises(SettingsError, match=r"llm.names, notifications.enabled"):
        require_splittable(asked)


# What shards say


def test_a_check_fails_where_one_shard_fails_it_and_numbers_add_up() -> None:
    def said(rows: int) -> dict[str, object]:
        check = dg.AssetCheckResult(
            check_name="unique",
            passed=rows == 0,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"rows_found": rows},
            description=f"{rows} rows" if rows else None,
        )
        metadata = {"dagster/row_count": 10, "users": 2, "sample": dg.MetadataValue.md(f"of {rows}")}
        result = dg.MaterializeResult(metadata=metadata, check_results=[check])
        return {**json.loads(json.dumps(encoded_results([result]))), "seconds": float(rows)}

    replies = [said(0), said(3), said(4)]
    (check,) = merged_checks(replies)
    assert (check.passed, check.severity, check.metadata["rows_found"].value) == (False, dg.AssetCheckSeverity.WARN, 7)
    assert check.description == "shard 1: 3 rows; shard 2: 4 rows"
    metadata = merged_metadata(replies)
    assert (metadata["dagster/row_count"], metadata["users"], metadata["slowest_shard"]) == (30, 6, "2: 4.0 s")
    assert metadata["sample"] == dg.MetadataValue.md("of 0")


# Landing days


def test_rows_read_once_and_routed_are_those_of_the_day(tmp_path: Path) -> None:
    """Duplicates in two files, a user over the cap, rejected rows, and a file that cannot be read."""
    settings = Settings.model_validate({"landing": {"max_rows_per_user_per_day": 5}})
    source = declared_sources(settings)["searches"]
    rows = [(f"u{n % 9}", f"oak {n % 4}", datetime(2025, 6, 1, n % 24)) for n in range(60)]
    rows += [("bot", f"elm {n}", datetime(2025, 6, 1, 8)) for n in range(9)]
    frame = pl.DataFrame(rows, schema=["user_id", "query", "occurred_at"], orient="row")
    bad = frame.head(3).with_columns(user_id=pl.lit("null"))
    folder = tmp_path / "searches" / f"date={DAY}"
    folder.mkdir(parents=True)
    for name, part in {"a": frame.head(40), "b": frame.tail(40), "c": bad}.items():
        part.write_parquet(folder / f"{name}.parquet")
    (folder / "d.parquet").write_text("no parquet")
    (folder / SUCCESS).touch()

    whole = read_days(source, {DAY: folder}, settings.landing)
    files = {DAY: sorted(folder.glob("*.parquet"))}
    shares = shares_of_files(files, 2)
    assert sorted(path for share in shares for path in share[DAY]) == files[DAY]
    to = [tmp_path / "routed" / f"{number}" for number in range(2)]
    routed = [
        route_files(source, share, settings.landing, shards=3, to=folder)
        for share, folder in zip(shares, to, strict=True)
    ]
    taken_in = [take_in(source, rows_of_shard(to, shard), settings.landing) for shard in range(3)]
    found = put_together(
        source,
        files,
        fingerprints=fingerprints_of(files),
        folders=to,
        routed=json.loads(json.dumps(routed)),
        taken_in=json.loads(json.dumps([each.counts() for each in taken_in])),
    )
    for shard, each in enumerate(taken_in):
        assert {shard_of(user, 3) for user in each.accepted["user_id"]} <= {shard}
    accepted = pl.concat([each.accepted for each in taken_in if len(each.accepted)])
    assert accepted.sort(accepted.columns).equals(whole.accepted.sort(accepted.columns))
    assert all(whole.days[name][0] for name in ("rows_duplicate", "rows_rejected", "unreadable_files"))
    for name in ("rejected", "days", "over_cap"):
        assert getattr(found, name).equals(getattr(whole, name)), name


# Moving users


def all_rows(home: Home, name: str) -> pl.DataFrame:
    """Rows of a table of all shards, in a fixed order; `batch` only says how users were held in memory."""
    driver, table = home.warehouse(Settings()), TABLES[name]
    layout = layout_of(driver)
    columns = [column for column in table.columns if (name, column) != ("users_in_scope", "batch")]
    warehouses = [driver]
    if table.is_per_user and layout is not None:
        warehouses = [shard_warehouse(driver, layout, shard) for shard in range(layout.count)]
    listed = ", ".join(f'"{column}"' for column in columns)
    parts = [warehouse.query(f'select {listed} from "{name}"') for warehouse in warehouses]
    return _sorted(pl.concat(parts))


def _sorted(rows: pl.DataFrame) -> pl.DataFrame:
    with duckdb.connect() as connection:
        connection.register("found", rows)
        return connection.sql("from found order by all").pl()


def assert_equal(split: Home, whole: Home) -> None:
    """See that two homes have the same tables, but for those that are not there where users are split."""
    one, other = whole.warehouse(Settings()), split.warehouse(Settings())
    settings = Settings.model_validate({"run": {"shards": 2}})
    wanted = {asset.name for asset in declared_assets(settings) if asset.table and asset.is_in_use(settings)}
    names = sorted((wanted | {"landed_days", "rejected_rows", "seen_landing_days"}) & TABLES.keys())
    compared = [name for name in names if one.has_table(name)]
    assert len(compared) > 40
    differing = [name for name in compared if not all_rows(split, name).equals(all_rows(whole, name))]
    assert not differing
    assert other.query("from current_user_journeys order by all").equals(
        one.query("from current_user_journeys order by all")
    )


@pytest.fixture
def few_users(home: Home) -> Home:
    """A home with searches and snapshots of thirty users, and a table of the population."""
    warehouse = home.warehouse(Settings())
    users = [f"u{number}" for number in range(30)]
    snapshots = pl.DataFrame({"user_id": users}).with_columns(keywords=pl.lit(3), journeys=pl.lit(0, pl.Int32))
    searches = pl.DataFrame(
        {"arrival_day": [DAY] * 30, "user_id": users, "query": ["oak"] * 30, "occurred_at": [datetime(2025, 6, 1)] * 30}
    )
    trends = pl.DataFrame({"keyword": ["oak"], "share_7": 1.0, "share_28": 1.0, "share_84": 1.0, "return_rate": 0.5})
    constants = {"scope": "all_users", "algorithm_version": "1"}
    with warehouse.write() as connection:
        for name in ("users_in_scope", "user_journeys", "user_controls"):
            connection.execute(TABLES[name].create_sql())
        connection.execute(
            "insert into users_in_scope select date '2025-06-01', unnest($users), 0, '', 'all_users', '1'",
            {"users": users},
        )
    warehouse.replace_days([(TABLES["searches"], searches, {})], [DAY])
    warehouse.replace_snapshot(TABLES["user_snapshots"], [snapshots], as_of=DAY, constants=constants)
    warehouse.replace_snapshot(TABLES["keyword_trends"], [trends], as_of=DAY, constants={})
    return home


def _state(home: Home) -> dict[str, pl.DataFrame]:
    return {name: all_rows(home, name) for name in ("searches", "user_snapshots", "users_in_scope", "keyword_trends")}


def test_users_are_moved_whole_and_back_again(few_users: Home) -> None:
    driver, before = few_users.warehouse(Settings()), _state(few_users)
    for count in (3, 2, 1):
        moved = reshard(driver, TABLES, ORDERED, count, say=lambda _: None)
        assert (moved["searches"], moved["user_snapshots"]) == (30, 30)
        assert {name: rows.equals(before[name]) for name, rows in _state(few_users).items()} == dict.fromkeys(
            before, True
        )
        # Readers see all users in the driver's warehouse, and find the shard of one.
        assert driver.query("select count(*) from user_snapshots").item() == 30
        layout = read_copy(few_users.path)
        assert (layout.count if layout else 1) == count
        with few_users.look_up_of("u7").read() as connection:
            assert connection.execute("select count(*) from searches where user_id = 'u7'").fetchall() == [(1,)]
        require_layout(driver, count)
        with pytest.raises(WarehouseError, match=f"lie in {count} shards, and run.shards is 5"):
            require_layout(driver, 5)
    assert not list((few_users.path / "shards").iterdir())


def test_a_move_that_fails_changes_nothing(few_users: Home) -> None:
    driver, before = few_users.warehouse(Settings()), _state(few_users)
    for begun in ((), (2,)):
        for count in begun:
            reshard(driver, TABLES, ORDERED, count, say=lambda _: None)
        for fails_at in (1, 2, 3):
            said = iter(range(1, 100))

            def say(_: str, said: Iterator[int] = said, fails_at: int = fails_at) -> None:
                if next(said) == fails_at:
                    raise KeyboardInterrupt

            with pytest.raises(KeyboardInterrupt):
                reshard(driver, TABLES, ORDERED, 3, say=say)
            assert {name: rows.equals(before[name]) for name, rows in _state(few_users).items()} == dict.fromkeys(
                before, True
            )
            layout = layout_of(driver)
            assert (layout.count if layout else None) == (2 if begun else None)


# Equal to one warehouse


def split_copy(home: Path, to: Path, shards: int, **run: object) -> Pipeline:
    """A copy of a home with its users moved to some shards."""
    shutil.copytree(home, to)
    reshard(Home(to).warehouse(Settings()), TABLES, ORDERED, shards, say=lambda _: None)
    return Pipeline(Home(to), Settings.model_validate({"run": {"shards": shards, **run}}))


@pytest.mark.slow
def test_a_day_of_two_shards_is_that_of_one_warehouse(
    world_home: Path, finished_home: Path, world_days: list[date], tmp_path: Path
) -> None:
    pipeline = split_copy(world_home, tmp_path / "split", 2)
    pipeline.run_in_dagster(world_days[-1])
    assert_equal(pipeline.home, Home(finished_home))


# Whatever dies


def _children(process_id: int) -> list[int]:
    """Processes that a process has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        # A process may end meanwhile.
        with suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == process_id:
                found.append(int(stat.parent.name))
    return found


@pytest.mark.slow
def test_workers_that_are_killed_at_random_moments_change_nothing(
    world_home: Path, finished_home: Path, world_days: list[date], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = random.Random(5)  # noqa: S311 - moments
    killed: list[object] = []
    ask = shard_workers._Process.ask

    def ask_and_kill(process: shard_workers._Process, request: shard_workers.Request) -> shard_workers.Reply:
        # Each request is cut off once at most: a worker that dies three times at one is given up.
        if any(request is each for each in killed) or drawn.random() > 0.1:
            return ask(process, request)
        killed.append(request)
        moment = threading.Timer(0.4 * drawn.random(), os.kill, (process.id, signal.SIGKILL))
        moment.start()
        try:
            return ask(process, request)
        finally:
            moment.join()

    monkeypatch.setattr(shard_workers._Process, "ask", ask_and_kill)
    pipeline = split_copy(world_home, tmp_path / "split", 3, workers=2)
    pipeline.run_in_dagster(world_days[-1])
    assert len(killed) >= 5
    assert_equal(pipeline.home, Home(finished_home))


_RUN = """
import sys
from datetime import date
from pathlib import Path
from conftest import Pipeline
from journeys_dagster.resources.home import Home
from journeys_dagster.settings import Settings

pipeline = Pipeline(Home(Path(sys.argv[1])), Settings.model_validate({"run": {"shards": 3}}))
print("ready", flush=True)
pipeline.run_in_dagster(date.fromisoformat(sys.argv[2]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_readers_see_a_day_of_all_shards_or_of_none_where_the_driver_is_killed(
    world_home: Path, finished_home: Path, world_days: list[date], tmp_path: Path, seed: int
) -> None:
    pipeline = split_copy(world_home, tmp_path / "split", 3)
    whole, day = Home(finished_home).warehouse(Settings()), world_days[-1]
    announced = "select user_id, journeys from user_snapshots where as_of = $day order by all"
    wanted = whole.query(announced, {"day": day})
    drawn = random.Random(seed)  # noqa: S311 - moments
    for _ in range(3):
        driver = subprocess.Popen(
            [sys.executable, "-c", _RUN, str(pipeline.home.path), day.isoformat()],
            cwd=Path(__file__).parent,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert driver.stdout is not None
        assert driver.stdout.readline() == "ready\n"
        with suppress(subprocess.TimeoutExpired):
            driver.wait(5 + 60 * drawn.random())
        workers = _children(driver.pid)
        driver.kill()
        driver.communicate()
        found = pipeline.warehouse.query(announced, {"day": day})
        assert found.is_empty() or found.equals(wanted)
        listed = pipeline.warehouse.query("select distinct user_id from user_journeys where as_of = $day", {"day": day})
        assert listed.is_empty() == found.filter(pl.col("journeys") > 0).is_empty()
        # Workers end with their driver; one that is being imported ends before it does anything.
        deadline = time.monotonic() + 60
        while any(Path(f"/proc/{worker}/cmdline").exists() for worker in workers):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    pipeline.run_in_dagster(day)
    assert_equal(pipeline.home, Home(finished_home))


@pytest.mark.slow
@pytest.mark.parametrize(("shards", "workers"), [(3, 2), (8, 1)])
def test_ten_days_with_late_data_and_days_run_again(
    made_once: MakeOnce, tmp_path: Path, shards: int, workers: int
) -> None:
    days = [WORLD_LAST_DAY - timedelta(days=back) for back in range(9, -1, -1)]

    def run_all(pipeline: Pipeline) -> Home:
        for number, day in enumerate(days):
            pipeline.run_in_dagster(day, "all_users" if number in (0, 6) else "active_users")
            if number == 4:
                # What one user searched is delivered once more, without the first row, and the day is run again.
                file = next(pipeline.home.landing_zone().folder("searches", day).glob("*.parquet"))
                pl.read_parquet(file).slice(1).write_parquet(file)
                pipeline.run_in_dagster(day)
        return pipeline.home

    def make(path: Path) -> None:
        simulate(path / "landing", users=40, days=24, seed=3, last_day=WORLD_LAST_DAY, truth=path / "truth")

    landed = made_once("ten_days_landing", make)

    def make_whole(path: Path) -> None:
        shutil.copytree(landed, path)
        run_all(Pipeline(Home(path)))

    whole = Home(made_once("ten_days_whole", make_whole))
    shutil.copytree(landed, tmp_path / "split")
    settings = Settings.model_validate({"run": {"shards": shards, "workers": workers}})
    assert_equal(run_all(Pipeline(Home(tmp_path / "split"), settings)), whole)
