"""The asset of decisions: what it reads of a warehouse, and that it is there only where it is turned on."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner

from assets.notification_decisions import notification_decisions, reasons
from journeys_dagster.cli import cli
from journeys_dagster.definitions import algorithm_in_use, declared_tables
from journeys_dagster.inference.embedding import model_revision
from journeys_dagster.notification.sends import SENT
from journeys_dagster.orchestration.snapshot_asset import open_snapshot, replace_step
from journeys_dagster.resources.home import Home
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import Settings

DAY, LATER = date(2025, 6, 10), date(2025, 6, 12)
ON = Settings.model_validate({"notifications": {"enabled": True, "holdout_share": 0.0, "exploration_share": 0.0}})
USERS = ("ann", "bob", "cyd", "dan", "eve")
TABLES = declared_tables(ON)
SOME: Mapping[str, Any] = {
    **dict.fromkeys(("INTEGER", "INT", "BIGINT"), 0),
    "DOUBLE": 0.5,
    "BOOLEAN": True,
    "DATE": DAY,
    "TIMESTAMP": datetime(2025, 6, 9, 18),
}


def fill(warehouse: Warehouse, table: str, *rows: Mapping[str, Any]) -> None:
    """A table with rows, in which what a row does not say is nothing or something."""
    columns = TABLES[table].columns
    with warehouse.write() as connection:
        connection.execute(TABLES[table].create_sql())
        for row in rows:
            given = {
                name: row.get(name, None if spec.nullable else [] if "[" in spec.type else SOME.get(spec.type, "any"))
                for name, spec in columns.items()
            }
            names = ", ".join(f'"{name}"' for name in given)
            places = ", ".join(f"${name}" for name in given)
            connection.execute(f'insert into "{table}" ({names}) values ({places})', given)


@pytest.fixture
def filled(home: Home) -> Warehouse:
    warehouse = home.warehouse(ON)
    fill(warehouse, "users_in_scope", *({"as_of": DAY, "user_id": user, "scope": "all_users"} for user in USERS))
    tent = [{"keyword": "tents", "shown": "Tents", "weight": 1.0, "sources": [], "last_seen": None}]
    good = {"as_of": DAY, "journey_id": "j", "stage": "ongoing", "confidence": 0.9, "return_probability": 0.9}
    fill(warehouse, "user_journeys", *({**good, "user_id": user, "keywords": tent} for user in USERS))
    for table in ("unwanted_journeys", "keyword_items", "expansions", "names", "keyword_embeddings"):
        fill(warehouse, table)
    forever = {"control": "opt_out", "valid_from": DAY, "valid_until": date(9999, 12, 31)}
    fill(
        warehouse,
        "controls_in_force",
        {"user_id": "ann", "about": "push", **forever},
        {"user_id": "bob", "about": "", **forever},
        # Not yet, and no opt-out.
        {"user_id": "eve", "about": "", **forever, "valid_from": DAY + timedelta(days=1)},
        {"user_id": "eve", "about": "", **forever, "control": "not_interested"},
    )
    event = {"event": "sent", "channel": "Push", "journey_id": "j", "arrival_day": DAY}
    fill(
        warehouse,
        "notification_feedback",
        {"user_id": "cyd", **event, "occurred_at": datetime(2025, 6, 9, 12)},
        # Opened, arrived later, or long ago.
        {"user_id": "eve", **event, "event": "opened"},
        {"user_id": "eve", **event, "arrival_day": DAY + timedelta(days=1)},
        {"user_id": "eve", **event, "occurred_at": datetime(2025, 5, 1, 12)},
    )
    at_night = [
        {"as_of": DAY, "user_id": "ann", "occurred_at": datetime(2025, 6, 9, 2, minute)} for minute in range(30)
    ]
    fill(warehouse, "user_events", *at_night)
    yesterday = {"as_of": DAY - timedelta(days=1), "day": DAY, "journey_id": "j", "channel": "push"}
    fill(
        warehouse,
        "notification_sends",
        {**yesterday, "send_id": "1", "user_id": "dan"},
        # Of the day itself, and so of no account for what is decided on it.
        {**yesterday, "send_id": "2", "user_id": "eve", "as_of": DAY, "day": DAY + timedelta(days=1)},
    )
    return warehouse


def decided(warehouse: Warehouse) -> Sequence[tuple[Any, ...]]:
    replace_step(notification_decisions, open_snapshot(warehouse, ON, DAY))
    columns = "user_id, is_sent, reason, channel, utc_hour"
    return warehouse.query(
        f"select {columns} from notification_decisions where as_of = $day order by user_id", {"day": DAY}
    ).rows()


def test_decisions_obey_what_was_said_and_sent_and_a_second_run_decides_the_same(filled: Warehouse):
    expected = [
        ("ann", True, "best", "email", 2),
        ("bob", False, "opted out", None, None),
        ("cyd", False, "cool-down", None, None),
        # Exported the day before, it is sent on this one.
        ("dan", False, "cool-down", None, None),
        ("eve", True, "best", "push", 16),
    ]
    assert decided(filled) == expected
    rows = filled.query("from notification_decisions where as_of = $day order by user_id", {"day": DAY})
    assert decided(filled) == expected
    assert rows.equals(filled.query("from notification_decisions where as_of = $day order by user_id", {"day": DAY}))
    sends = rows.filter("is_sent")
    assert sends["score"].to_list() == [pytest.approx(0.81)] * 2
    assert sends["propensity"].to_list() == [1.0] * 2
    png, alt = reasons(filled, DAY)
    assert png.startswith(b"\x89PNG")
    assert str(DAY) in alt


def test_a_send_leads_to_an_item_that_is_new_to_the_user_or_to_a_search_and_what_resembles_it_counts_less(
    filled: Warehouse,
):
    def leads() -> dict[str, tuple[str, str]]:
        decided(filled)
        sends = filled.query("from notification_decisions where is_sent and as_of = $day", {"day": DAY})
        return {row["user_id"]: (row["lead_kind"], row["lead"]) for row in sends.to_dicts()}

    assert leads() == {"ann": ("keyword", "Tents"), "eve": ("keyword", "Tents")}
    fill(filled, "names", *({"as_of": DAY, "user_id": user, "journey_id": "j", "keyword": "tents"} for user in USERS))
    offer = {"as_of": DAY, "user_id": "eve", "because_of": "tents"}
    fill(filled, "expansions", {**offer, "rank": 2, "related": "maps"}, {**offer, "rank": 1, "related": "stoves"})
    assert leads() == {"ann": ("keyword", "Tents"), "eve": ("related", "stoves")}
    items = [{"as_of": DAY, "keyword": "tents", "item_id": f"tent {rank}", "rank": rank} for rank in (1, 2)]
    fill(filled, "keyword_items", *items)
    fill(filled, "user_events", {"as_of": DAY, "user_id": "eve", "item_id": "tent 1"})
    assert leads() == {"ann": ("item", "tent 1"), "eve": ("item", "tent 2")}
    revision = model_revision(ON.embedding.model, ON.embedding.revision)
    fill(
        filled,
        "keyword_embeddings",
        {"keyword": "tents", "model_revision": revision, "embedding": [1.0, 0.0]},
        {"keyword": "camping", "model_revision": revision, "embedding": [0.9, 0.435]},
        {"keyword": "stocks", "model_revision": revision, "embedding": [0.0, 1.0]},
    )
    # A week before the day that is decided for, with a word that nobody has seen; and something else, the day before.
    sent = {"user_id": "eve", "channel": "push", "as_of": date(2025, 5, 1)}
    fill(
        filled,
        "notification_sends",
        {**sent, "journey_id": "a", "day": DAY - timedelta(days=6), "keywords": ["camping", "unseen"]},
        {**sent, "journey_id": "b", "day": DAY, "keywords": ["stocks"]},
    )
    decided(filled)
    (eve,) = filled.query("from notification_decisions where user_id = 'eve' and as_of = $day", {"day": DAY}).to_dicts()
    assert eve["features"]["similar_lately"] == 0.5
    # With what the platform sent of its own in May.
    assert (eve["features"]["sent_7"], eve["features"]["sent_56"]) == (2.0, 3.0)
    assert eve["score"] == pytest.approx(0.81 * ON.notifications.fatigue_penalty**0.5)
    fill(filled, "unwanted_journeys", {"as_of": DAY, "user_id": "ann", "journey_id": "j"})
    assert decided(filled)[0][:3] == ("ann", False, "no journey that may be notified")


def test_what_was_decided_is_exported_once_with_a_manifest_and_counts_from_then_on(filled: Warehouse, tmp_path: Path):
    def journeys(*words: str, status: int = 0) -> str:
        home = {"JOURNEYS_HOME": str(filled.path.parent), "COLUMNS": "200"}
        found = CliRunner().invoke(cli, ["export-notifications", *words], env=home)
        assert found.exit_code == status, found.output
        return found.output

    decided(filled)
    to = tmp_path / "exports"
    # Of eve something is logged as of this day, so nothing is sent on top.
    made = json.loads(journeys("--to", str(to), "--json"))
    folder = Path(made["path"])
    assert sorted(path.name for path in folder.iterdir()) == ["_SUCCESS", "manifest.json", "notifications.parquet"]
    manifest = json.loads((folder / "manifest.json").read_text())
    file = folder / manifest["file"]
    assert (manifest["rows"], manifest["as_of"], manifest["day"]) == (1, "2025-06-10", "2025-06-11")
    assert manifest["rows_left_out"] == 1
    assert manifest["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    (row,) = pl.read_parquet(file).to_dicts()
    assert (row["user_id"], row["channel"], row["lead"], row["keywords"]) == ("ann", "email", "Tents", ["Tents"])
    assert "Left out: 1 decisions as of 2025-06-10" in (said := journeys("--to", str(to)))
    assert "nothing was written" in said
    assert [*to.iterdir()] == [folder]
    # The id depends on the decision alone.
    with filled.write() as connection:
        connection.execute("delete from notification_sends")
    assert "2 notifications to be sent on 2025-06-11" in journeys("--to", str(tmp_path / "today.ndjson"))
    again = pl.read_ndjson(tmp_path / "today.ndjson")
    assert row["send_id"] in again["send_id"].to_list()
    assert json.loads((tmp_path / "today.ndjson.manifest.json").read_text())["rows"] == len(again) == 2
    assert "is there already" in journeys("--to", str(tmp_path / "today.ndjson"), status=1)
    of_ann = {"as_of": LATER, "user_id": "ann"}
    fill(filled, "users_in_scope", {**of_ann, "scope": "all_users"})
    good = {"journey_id": "j", "stage": "ongoing", "confidence": 0.9, "return_probability": 0.9}
    fill(filled, "user_journeys", {**of_ann, **good})
    replace_step(notification_decisions, open_snapshot(filled, ON, LATER))
    later = filled.query("select reason from notification_decisions where as_of = $day", {"day": LATER})
    assert later["reason"].to_list() == ["cool-down"]


def test_feedback_is_about_the_send_that_it_names_or_else_the_newest_of_the_kind(home: Home):
    warehouse = home.warehouse(ON)
    send = {"user_id": "ann", "journey_id": "j", "channel": "push", "as_of": date(2025, 5, 31)}
    fill(
        warehouse,
        "notification_sends",
        {**send, "send_id": "1", "day": date(2025, 6, 1), "keywords": ["tent"]},
        {**send, "send_id": "2", "day": date(2025, 6, 8)},
        {**send, "send_id": "3", "day": date(2025, 6, 8), "journey_id": "k", "channel": "email"},
        {**send, "send_id": "4", "day": date(2025, 6, 8), "user_id": "bob"},
    )
    said = {"user_id": "ann", "journey_id": "j", "channel": "Push", "arrival_day": DAY}
    fill(
        warehouse,
        "notification_feedback",
        # Sent: what is logged, again, after midnight too; on another day; and by another's id.
        {**said, "event": "sent", "occurred_at": datetime(2025, 6, 1, 9)},
        {**said, "event": "sent", "occurred_at": datetime(2025, 6, 9, 0, 5)},
        {**said, "event": "sent", "occurred_at": datetime(2025, 6, 5, 9)},
        {**said, "event": "sent", "occurred_at": datetime(2025, 6, 8, 9), "user_id": "bob", "send_id": "2"},
        # Late, by its id; too late without; within the days that count; of a day to come.
        {**said, "event": "clicked", "occurred_at": datetime(2025, 6, 9, 9), "send_id": "1"},
        {**said, "event": "opened", "occurred_at": datetime(2025, 6, 9, 9), "channel": "email", "journey_id": "k"},
        {**said, "event": "clicked", "occurred_at": datetime(2025, 6, 6, 9)},
        {**said, "event": "clicked", "occurred_at": datetime(2025, 6, 9), "user_id": "bob", "arrival_day": LATER},
    )

    def known_on(day: date) -> list[tuple[Any, ...]]:
        params = {"as_of": day, "since": date(2025, 5, 1), "feedback_days": 3}
        found = warehouse.query(SENT.format(of_batch="true"), params)
        shown = found.select("user_id", "journey_id", "channel", pl.col("day").dt.day(), "opened", "clicked")
        return sorted(shown.rows(), key=str)

    of_ann = [
        ("ann", "j", "push", 1, True, True),
        ("ann", "j", "push", 5, None, None),
        ("ann", "j", "push", 8, False, False),
        ("ann", "k", "email", 8, True, False),
    ]
    own = ("bob", "j", "push", 8, None, None)
    assert known_on(DAY) == [*of_ann, ("bob", "j", "push", 8, False, False), own]
    assert known_on(LATER) == [*of_ann, own, ("bob", "j", "push", 8, True, True)]


def test_there_is_no_such_asset_until_it_is_turned_on_and_journeys_stay_the_same():
    assert not notification_decisions.is_in_use(Settings())
    assert notification_decisions.is_in_use(ON)
    assert algorithm_in_use(ON).version == algorithm_in_use(Settings()).version


def test_the_decisions_of_users_in_scope_are_those_of_everyone(filled: Warehouse):
    everyone = {row[0]: row for row in decided(filled)}
    with filled.write() as connection:
        connection.execute("delete from notification_decisions where as_of = $day", {"day": DAY})
        connection.execute("delete from users_in_scope where user_id not in ('ann', 'dan')")
        connection.execute("update users_in_scope set scope = 'active_users'")
    assert decided(filled) == [everyone["ann"], everyone["dan"]]
