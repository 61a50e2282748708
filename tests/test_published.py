"""Published lists: equal to the view on any day, all of one publication, and repaired by the next one."""

import os
from collections.abc import Mapping
from contextlib import ExitStack, closing
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import lmdb
import pytest
from conftest import REDIS_VARIABLE, Pipeline

from assets.published_journeys import published_journeys
from journeys_dagster.definitions import algorithm_in_use, declared_tables
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.serving.publication import Store, StoreError, UnreachableStoreError
from journeys_dagster.serving.publish import folder_of, publish, store_of
from journeys_dagster.serving.store import FolderStore, PublishedLists
from journeys_dagster.settings import Settings
from journeys_dagster.sql.macros import load_macros
from journeys_dagster.sql.models import load_models

DAY = date(2025, 6, 10)
NEXT = DAY + timedelta(days=1)
TABLES = declared_tables(Settings())
SOME: Mapping[str, Any] = {
    **dict.fromkeys(("INTEGER", "INT", "BIGINT"), 1),
    "DOUBLE": 0.1 + 0.2,
    "BOOLEAN": True,
    "DATE": DAY + timedelta(days=5),
    "TIMESTAMP": datetime(2025, 6, 9, 18, 0, 0, 123456),
}
KEYWORDS = [
    {"keyword": 'a "q" é\n', "shown": "x", "weight": 1 / 3, "sources": ["search"], "last_seen": datetime(2025, 6, 1)}
]


def fill(warehouse: Warehouse, table: str, *rows: Mapping[str, Any]) -> None:
    """Add rows, in which what a row does not say is nothing or something."""
    columns = TABLES[table].columns
    with warehouse.write() as connection:
        connection.execute(TABLES[table].create_sql())
        for row in rows:
            given = {
                name: row.get(name, None if spec.nullable else SOME.get(spec.type, "any"))
                for name, spec in columns.items()
            }
            places = ", ".join(f"${name}" for name in given)
            connection.execute(f'insert into "{table}" ({", ".join(given)}) values ({places})', given)


def listed(warehouse: Warehouse, day: date, lists: Mapping[str, list[dict[str, Any]]]) -> None:
    """A snapshot of some users."""
    fill(
        warehouse, "user_snapshots", *({"as_of": day, "user_id": user, "journeys": len(lists[user])} for user in lists)
    )
    fill(warehouse, "users_in_scope", *({"as_of": day, "user_id": user, "scope": "active_users"} for user in lists))
    rows = [
        {"as_of": day, "user_id": user, "rank": place, "keywords": KEYWORDS, **journey}
        for user, journeys in lists.items()
        for place, journey in enumerate(journeys, start=1)
    ]
    fill(warehouse, "user_journeys", *rows)


@pytest.fixture
def stocked(warehouse: Warehouse) -> Warehouse:
    fill(warehouse, "user_controls")
    listed(
        warehouse,
        DAY,
        {
            "ann": [{"journey_id": "a1"}, {"journey_id": "a2", "evergreen_until": DAY + timedelta(days=3)}],
            "bob é": [{"journey_id": "b1", "ends_on": DAY, "may_notify": False}],
            "x" * 600: [{"journey_id": "long id"}],
            "cyd": [{"journey_id": "c1", "name": "lamp"}],
            "nobody": [],
        },
    )
    with warehouse.write() as connection:
        for macro in load_macros():
            connection.execute(macro)
        for view in ("controls_in_force", "current_user_journeys"):
            connection.execute(f"create view {view} as {load_models()[view].sql}")
    return warehouse


def in_view(warehouse: Warehouse, on: date) -> list[dict[str, Any]]:
    """Rows of `current_user_journeys` as they would be were `on` the newest inferred day."""
    sql = load_models()["current_user_journeys"].sql
    newest = "select max(as_of) as read_on from user_snapshots"
    assert newest in sql
    read_then = sql.replace(newest, f"select date '{on}' as read_on")
    return warehouse.query(f"from ({read_then}) order by user_id, rank, journey_id").to_dicts()


def in_store(warehouse: Warehouse, on: date, store: Store | None = None) -> list[dict[str, Any]]:
    users = warehouse.query("select distinct user_id from user_snapshots")["user_id"].to_list()
    with closing((store or FolderStore(folder_of(warehouse.file))).lists()) as lists:
        _, found = lists.get(users)
    rows = [row for each in found.values() for row in each.rows(on)]
    return sorted(rows, key=lambda row: (row["user_id"], row["rank"], row["journey_id"]))


def assert_equal_on_any_day(warehouse: Warehouse, first: date, store: Store | None = None, *, days: int = 70) -> None:
    for on in (first + timedelta(days=ahead) for ahead in range(0, days, 7)):
        assert in_store(warehouse, on, store) == in_view(warehouse, on)


def test_a_run_publishes_what_the_view_says_on_any_day(finished: Pipeline):
    newest = finished.table("user_snapshots")["as_of"].max()
    assert isinstance(newest, date)
    assert len(in_store(finished.warehouse, newest)) > 50
    assert_equal_on_any_day(finished.warehouse, newest)


def test_texts_numbers_and_long_ids_come_back_as_they_were(stocked: Warehouse, store: Store):
    published = publish(stocked.file, store)
    assert published is not None
    assert (published.version, published.day, published.users, published.changed) == (1, DAY, 4, 4)
    assert_equal_on_any_day(stocked, DAY, store, days=8)
    with closing(store.lists()) as lists:
        assert lists.get(["nobody", "stranger"])[1] == {}


def test_only_what_differs_is_written_and_the_store_is_the_view_after(stocked: Warehouse, store: Store):
    publish(stocked.file, store)
    again = publish(stocked.file, store, days=[DAY])
    assert again is not None
    assert again.version == 1
    listed(stocked, NEXT, {"ann": [{"journey_id": "a2"}], "cyd": []})
    third = publish(stocked.file, store, days=[NEXT])
    assert third is not None
    assert (third.version, third.day, third.users, third.changed, third.removed) == (2, NEXT, 3, 1, 1)
    assert_equal_on_any_day(stocked, NEXT, store, days=8)
    # A full inference writes all of it anew.
    whole = publish(stocked.file, store, days=[NEXT], whole=True)
    assert whole is not None
    assert (whole.version, whole.changed) == (3, 3)
    assert_equal_on_any_day(stocked, NEXT, store, days=8)


def test_what_a_user_hides_is_gone_with_the_next_publication_and_comes_back(stocked: Warehouse, store: Store):
    publish(stocked.file, store)
    hidden = {"arrival_day": DAY, "user_id": "ann", "control": "hide_journey", "journey_id": "a1"}
    fill(stocked, "user_controls", {**hidden, "occurred_at": datetime(2025, 6, 10)})
    publish(stocked.file, store)
    assert [row["journey_id"] for row in in_store(stocked, DAY, store) if row["user_id"] == "ann"] == ["a2"]
    fill(stocked, "user_controls", {**hidden, "control": "undo", "occurred_at": datetime(2025, 6, 11)})
    publish(stocked.file, store)
    assert_equal_on_any_day(stocked, DAY, store, days=8)


def test_keywords_alone_that_changed_are_published_of_whoever_was_inferred(stocked: Warehouse, store: Store):
    publish(stocked.file, store)
    with stocked.write() as connection:
        connection.execute("update user_journeys set keywords = [] where user_id = 'ann'")
    publish(stocked.file, store, days=[DAY])
    assert_equal_on_any_day(stocked, DAY, store, days=8)


def test_what_is_missing_in_the_store_is_written_by_the_next_publication(stocked: Warehouse, store: Store):
    publish(stocked.file, store)
    # Nobody publishes these days, as where a run is killed after its marts.
    listed(stocked, NEXT, {"cyd": [{"journey_id": "c2"}]})
    repaired = publish(stocked.file, store)
    assert repaired is not None
    assert repaired.changed == 1
    assert_equal_on_any_day(stocked, NEXT, store, days=8)


def test_lists_of_another_shape_say_so_and_are_published_anew(stocked: Warehouse):
    folder = folder_of(stocked.file)
    publish(stocked.file)
    with lmdb.open(str(folder), max_dbs=2) as environment, environment.begin(write=True) as transaction:
        about = environment.open_db(b"about", transaction)
        stored = transaction.get(b"publication", db=about)
        assert stored is not None
        transaction.put(b"publication", stored.replace(b'"shape":"', b'"shape":"older '), db=about)
    with PublishedLists(folder) as lists, pytest.raises(StoreError, match="another version of this code"):
        lists.get(["ann"])
    anew = publish(stocked.file)
    assert anew is not None
    assert (anew.version, anew.changed) == (2, 4)


def test_what_an_exception_ends_is_not_seen(stocked: Warehouse, store: Store):
    publish(stocked.file, store)

    def fail() -> None:
        with store.publishing(day=NEXT) as ended:
            ended.remove("ann")
            raise LookupError("something else")

    with pytest.raises(LookupError, match="something else"):
        fail()
    with closing(store.lists()) as lists:
        publication, found = lists.get(["ann"])
    assert (publication.version, set(found)) == (1, {"ann"})


def test_where_nothing_is_published_readers_are_told_what_to_do(tmp_path: Path):
    with pytest.raises(StoreError, match=r"nothing is published in .*: use `journeys run` first"):
        PublishedLists(tmp_path)


def test_publishing_can_be_turned_off_and_has_no_part_in_what_is_inferred():
    off = Settings.model_validate({"serving": {"publish": False}})
    assert published_journeys.is_in_use(Settings())
    assert not published_journeys.is_in_use(off)
    assert algorithm_in_use(off).version == algorithm_in_use(Settings()).version


def test_ids_are_drawn_from_all_places(stocked: Warehouse):
    publish(stocked.file)
    with PublishedLists(folder_of(stocked.file)) as lists:
        assert lists.near(b"bob") == "bob é"
        assert lists.near(b"zzz") == "x" * 600
        assert lists.near(b"cyd") == "cyd"


def test_everybody_is_drawn_and_nobody_else(stocked: Warehouse, store: Store):
    publish(stocked.file, store)
    with closing(store.lists()) as lists:
        drawn = {lists.anybody() for _ in range(50)}
    assert {"ann", "cyd"} & drawn
    assert drawn <= {"ann", "bob é", "cyd", "x" * 600}


def test_a_publication_that_another_overtakes_changes_nothing(stocked: Warehouse, redis_server: None, tmp_path: Path):
    from journeys_dagster.serving.redis_store import RedisStore

    store = RedisStore(REDIS_VARIABLE, tmp_path.name)
    publish(stocked.file, store)
    with ExitStack() as stack:
        slow = stack.enter_context(store.publishing(day=NEXT))
        slow.remove("ann")
        with store.publishing(day=NEXT) as fast:
            fast.remove("cyd")
        with pytest.raises(StoreError, match="another publication"):
            stack.close()
    with closing(store.lists()) as lists:
        publication, found = lists.get(["ann", "cyd"])
    assert (publication.version, set(found)) == (2, {"ann"})
    # What it had written is gone.
    import redis

    with redis.Redis.from_url(os.environ[REDIS_VARIABLE]) as client:
        assert sorted(client.keys(f"{{{tmp_path.name}}}:*")) == [
            f"{{{tmp_path.name}}}:{name}".encode() for name in ("lists", "marks", "publication")
        ]


def test_a_server_that_lost_its_data_is_filled_by_the_next_publication(
    stocked: Warehouse, redis_server: None, tmp_path: Path
):
    import redis

    from journeys_dagster.serving.redis_store import RedisStore

    store = RedisStore(REDIS_VARIABLE, tmp_path.name)
    publish(stocked.file, store)
    with redis.Redis.from_url(os.environ[REDIS_VARIABLE]) as client:
        client.flushall()
    with closing(store.lists()) as lists, pytest.raises(StoreError, match="nothing is published in the server"):
        lists.get(["ann"])
    filled = publish(stocked.file, store)
    assert filled is not None
    assert (filled.version, filled.users, filled.changed) == (1, 4, 4)
    assert_equal_on_any_day(stocked, DAY, store, days=8)
    # As a server does that is short of memory and may.
    with redis.Redis.from_url(os.environ[REDIS_VARIABLE]) as client:
        client.delete(store.key("lists"))
    with closing(store.lists()) as lists, pytest.raises(StoreError, match="has lost lists"):
        lists.get(["ann"])
    filled = publish(stocked.file, store)
    assert filled is not None
    assert (filled.version, filled.changed) == (2, 4)
    assert_equal_on_any_day(stocked, DAY, store, days=8)


def test_a_server_that_is_not_there_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    pytest.importorskip("redis", reason="redis missing: install the extra [redis]")
    settings = Settings.model_validate({"serving": {"store": "redis"}}).serving
    monkeypatch.delenv("JOURNEYS_REDIS", raising=False)
    with pytest.raises(StoreError, match="set JOURNEYS_REDIS to the URL of a Redis or Valkey server"):
        store_of(tmp_path, settings)
    monkeypatch.setenv("JOURNEYS_REDIS", f"unix://:secret@{tmp_path}/none")
    store = store_of(tmp_path, settings)
    with (
        pytest.raises(UnreachableStoreError, match="that JOURNEYS_REDIS names") as refused,
        closing(store.lists()) as lists,
    ):
        lists.get(["ann"])
    assert "secret" not in str(refused.value)
    with pytest.raises(UnreachableStoreError), store.publishing(day=DAY):
        pass
