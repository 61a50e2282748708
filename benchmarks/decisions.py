"""Decisions of a million users: what the asset `notification_decisions` takes, beside its floor.

Run ``python benchmarks/decisions.py --users 1000000``. It fills a warehouse with drawn rows of what the asset reads (4
journeys a user, half of the users with 4 sends of late, 20 events of activity), and decides on everyone, as a full run
does: reading, deciding and writing. With ``--model`` a model of sends scores, trained on drawn sends. The floor is the
time to read what it reads once and to write its rows once. Only ratios travel to other machines.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from meter import Meter

from assets.notification_decisions import notification_decisions
from journeys_dagster.definitions import declared_tables
from journeys_dagster.inference.embedding import model_revision
from journeys_dagster.notification.features import FEATURES
from journeys_dagster.orchestration.snapshot_asset import open_snapshot, replace_step
from journeys_dagster.resources.home import Home
from journeys_dagster.resources.trained_models import keep_send_model
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import Settings, settings_of
from journeys_dagster.training.sender import attempt_send_model

DAY = date(2025, 6, 30)
KEYWORDS = 8_500
EVENTS, JOURNEYS, SENDS, MEMBERS = 20, 4, 4, 5
_SNAPSHOT = "date '2025-06-30' as as_of, user_id, 'all_users' as scope, 'v' as algorithm_version"
_USERS = "(select 'u' || printf('%08d', i) as user_id, i from range({users}) as t(i))"
_WORD = f"'word ' || (hash(i, n, {{salt}}) % {KEYWORDS})"
ROWS: Mapping[str, str] = {
    "users_in_scope": f"select {_SNAPSHOT}, i // 20000 as batch, '' as landing_fingerprint from {_USERS}",
    "user_journeys": f"""
        select {_SNAPSHOT}, 'j' || n as journey_id, n + 1 as rank, 'name' as name, 'keyword' as namer,
            hash(i, n, 1) % 10 < 9 as may_notify,
            [{{{{'keyword': {_WORD.format(salt="m")}, 'shown': 'Word', 'weight': 1.0, 'sources': ['search'],
                'last_seen': timestamp '2025-06-20'}}}} for m in range({MEMBERS})] as keywords,
            if(n = 0, 'evergreen', 'situational') as lifecycle, if(hash(i, n, 2) % 4 = 0, 'ended', 'ongoing') as stage,
            'unknown' as phase, 'rule' as stage_model, (hash(i, n, 3) % 100) / 100 as return_probability,
            0.4 + (hash(i, n, 4) % 60) / 100 as confidence, 0.5 as score, 'heuristic' as ranker, 3 as search_count,
            hash(i, n, 5) % 40 as action_count, timestamp '2025-04-01' as first_seen,
            timestamp '2025-06-29' - to_days(cast(hash(i, n, 6) % 30 as integer)) as last_seen,
            date '2025-08-01' as ends_on, null as evergreen_until
        from {_USERS} cross join range({JOURNEYS}) as m(n) order by user_id, rank
    """,
    "user_events": f"""
        select {_SNAPSHOT}, 'engagement' as source, 'closeup' as action, null as query,
            'item ' || (hash(i, n) % 20000) as item_id, null as board_id,
            timestamp '2025-06-30' - to_hours(cast((hash(i, n, 7) % 1300) as integer)) as occurred_at
        from {_USERS} cross join range({EVENTS}) as m(n) order by user_id, occurred_at
    """,
    "names": f"""
        select {_SNAPSHOT}, 'j' || n as journey_id, 'name' as name, {_WORD.format(salt="0")} as keyword,
            0.0 as centrality, 0.5 as name_score, 'keyword' as namer, 'name' as keyword_name, null as title_keywords
        from {_USERS} cross join range({JOURNEYS}) as m(n) order by user_id, journey_id
    """,
    "notification_sends": f"""
        select 's' || i || '-' || n as send_id, date '2025-06-28' - cast(7 * n as integer) as as_of,
            date '2025-06-29' - cast(7 * n as integer) as day, user_id, 1 as place,
            'j' || (n % {JOURNEYS}) as journey_id, 'name' as name,
            [{_WORD.format(salt="m")} for m in range({MEMBERS})] as keywords, 'push' as channel,
            16 as utc_hour, 16 as local_hour, 'keyword' as lead_kind, 'word' as lead, 'best' as reason, 0.5 as score,
            'rule' as scored_by, 1.0 as propensity, null as features, 'to' as export,
            timestamp '2025-06-01' as exported_at
        from {_USERS} cross join range({SENDS}) as m(n) where i % 2 = 0 order by user_id, day
    """,
    "notification_feedback": """
        select day as arrival_day, user_id, journey_id, channel, event, cast(day as timestamp) as occurred_at,
            if(hash(send_id, event) % 10 = 0, null, send_id) as send_id
        from notification_sends cross join (values ('sent', 1), ('opened', 3), ('clicked', 9)) as e(event, share)
        where hash(send_id) % share = 0 order by user_id
    """,
    "keyword_items": f"""
        select date '2025-06-30' as as_of, 'word ' || k as keyword, 'item ' || (3 * k + n) as item_id, n + 1 as rank,
            9 as users
        from range({KEYWORDS}) as w(k) cross join range(3) as m(n)
    """,
}
"""What the asset reads, by table; the others are empty."""
_READ = ("users_in_scope", "user_journeys", "user_events", "names", "notification_sends", "notification_feedback")


def fill(warehouse: Warehouse, settings: Settings, users: int) -> None:
    """Draw the rows that the asset reads."""
    tables = declared_tables(settings)
    empty = ("unwanted_journeys", "expansions", "controls_in_force", "notification_decisions", "send_model")
    revision = model_revision(settings.embedding.model, settings.embedding.revision)
    vectors = np.random.default_rng(0).normal(size=(KEYWORDS, 384)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for table in (*empty, "keyword_embeddings"):
        with warehouse.write() as connection:
            connection.execute(tables[table].create_sql())
    with warehouse.write() as connection:
        words = pl.DataFrame({"keyword": [f"word {number}" for number in range(KEYWORDS)], "embedding": vectors})
        words = words.with_columns(pl.col("embedding").arr.to_list(), model_revision=pl.lit(revision))
        connection.register("words", words)
        connection.execute("insert into keyword_embeddings by name from words")
        connection.unregister("words")
    for table, select in ROWS.items():
        with warehouse.write() as connection:
            connection.execute(tables[table].create_sql())
            connection.execute(f"insert into {table} by name {select.format(users=users)}")


def train_on_chance(warehouse: Warehouse, settings: Settings) -> None:
    """Keep a model as large as one that has learnt something, in use."""
    draw, rows = np.random.default_rng(0), 60_000
    columns = {name: draw.random(rows) for name in FEATURES}
    opened = draw.random(rows) < 0.2 + 0.6 * columns["click_rate"] * columns["confidence"]
    sends = pl.DataFrame(
        {
            "user_id": [f"u{number % 5000}" for number in range(rows)],
            "day": [DAY - timedelta(days=4 + number % 60) for number in range(rows)],
            "opened": opened,
            "clicked": opened & (draw.random(rows) < columns["return_probability"]),
            **columns,
        }
    )
    found = attempt_send_model(sends, settings.notifications, known_until=DAY, current=None)
    if not found.promoted:
        raise RuntimeError(f"no model to decide by: {found.decision}")
    keep_send_model(warehouse, DAY, found)


def measure(users: int, *, by_model: bool, folder: Path) -> dict[str, object]:
    """Fill a home, decide, and measure the floor."""
    settings = settings_of({"notifications": {"enabled": True}}, place="this benchmark")
    warehouse = Home(folder).warehouse(settings)
    fill(warehouse, settings, users)
    if by_model:
        train_on_chance(warehouse, settings)
    # What is compiled, and what libraries load, is not of a day's run.
    snapshot = open_snapshot(warehouse, settings, DAY)
    notification_decisions.compute(notification_decisions.frames(snapshot, 0), as_of=DAY, settings=settings)
    meter = Meter()
    replace_step(notification_decisions, open_snapshot(warehouse, settings, DAY))
    meter.end("notification_decisions")
    counted = dict(
        warehouse.query("select reason, count(*) from notification_decisions group by reason order by 2 desc").rows()
    )
    started = time.perf_counter()
    for table in _READ:
        warehouse.query(f'select bit_xor(hash(rows)) from "{table}" as rows')
    with warehouse.write() as connection:
        connection.execute("create table floor as from notification_decisions")
    floor = time.perf_counter() - started
    (step,) = meter.rows
    return {
        "users": users,
        "by": "model" if by_model else "rule",
        **{name: step[name] for name in ("seconds", "processor_seconds", "peak_gib")},
        "floor_seconds": floor,
        "over_floor": step["seconds"] / floor,
        "cores": os.cpu_count(),
        "reasons": counted,
    }


def main() -> None:
    """Measure in a folder that is removed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--model", action="store_true", help="let a model of sends score, not the rule")
    parser.add_argument("--home", type=Path, help="folder to work in (default: a temporary one)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.home) as folder:
        found = measure(chosen.users, by_model=chosen.model, folder=Path(folder))
    if chosen.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name}: {value}")


if __name__ == "__main__":
    main()
