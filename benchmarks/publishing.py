"""How fast current lists are published and looked up, on made-up users.

Run ``python benchmarks/publishing.py --users 1000000 --changed 10000``. The warehouse has the real tables and
views, with rows that DuckDB makes up: some journeys a user, six keywords each. What is timed is `publish`, and looking
users up. With ``--redis VARIABLE`` lists go to the server whose URL the variable holds, and are gone afterwards.
"""

import argparse
import json
import os
import random
import resource
import tempfile
import time
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from journeys_dagster.definitions import declared_tables
from journeys_dagster.resources.home import Home
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.serving.publication import Store
from journeys_dagster.serving.publish import folder_of, publish
from journeys_dagster.serving.store import FolderStore
from journeys_dagster.settings import Settings
from journeys_dagster.sql.macros import load_macros
from journeys_dagster.sql.models import load_models

DAY = date(2025, 6, 30)
MADE_UP = {
    "journey_id": "'j' || place || '-' || user_id",
    "rank": "place",
    "name": "'journey ' || (hash(user_id, place) % 5000)",
    "keywords": "list_transform(range(6), lambda i: {keyword: 'keyword ' || (hash(user_id, place, i) % 100000), "
    "shown: 'Keyword ' || (hash(user_id, place, i) % 100000), weight: random() + .1, "
    "sources: ['search', 'engagement'], last_seen: timestamp '2025-06-01 10:00:00'})",
    "evergreen_until": "null",
}
BY_TYPE = {
    "VARCHAR": "'some text'",
    "TEXT": "'some text'",
    "INTEGER": "1",
    "INT": "1",
    "BIGINT": "7",
    "DOUBLE": "random()",
    "BOOLEAN": "true",
    "DATE": "date '2025-07-20'",
    "TIMESTAMP": "timestamp '2025-06-30 12:00:00'",
}


def write_lists(warehouse: Warehouse, day: date, users: str, *, journeys: int) -> None:
    tables = declared_tables(Settings())
    named = {"as_of": f"date '{day}'", "user_id": "user_id", "scope": "'all_users'", "algorithm_version": "'v'"}
    with warehouse.write() as connection:
        for name in ("user_controls", "user_snapshots", "users_in_scope", "user_journeys"):
            connection.execute(tables[name].create_sql())
        for name, of in (
            ("user_snapshots", ""),
            ("users_in_scope", ""),
            ("user_journeys", f", range(1, {journeys + 1}) t(place)"),
        ):
            made = named | (MADE_UP if of else {})
            values = ", ".join(
                f'{made[column] if column in made else BY_TYPE[spec.type]} as "{column}"'
                for column, spec in tables[name].columns.items()
            )
            connection.execute(f"insert into {name} by name select {values} from ({users}){of}")
        for macro in load_macros():
            connection.execute(macro)
        for view in ("controls_in_force", "current_user_journeys"):
            connection.execute(f"create or replace view {view} as {load_models()[view].sql}")


def timed_look_ups(store: Store, users: int, look_ups: int) -> dict[str, float]:
    drawn = [f"user {number:08}" for number in random.Random(5).choices(range(users), k=look_ups)]  # noqa: S311
    taken = np.empty(look_ups)
    with closing(store.lists()) as lists:
        for place, user in enumerate(drawn):
            begun = time.perf_counter()
            _, found = lists.get([user])
            rows = found[user].rows(DAY)
            taken[place] = time.perf_counter() - begun
            if rows[0]["user_id"] != user:
                raise SystemExit(f"{user}: the list of {rows[0]['user_id']} was found")
    return {f"look_up_p{q:g}_ms": float(np.percentile(taken, q) * 1e3) for q in (50, 99, 99.9)}


def of_server(variable: str, publication: str) -> dict[str, float]:
    """Memory of the server, and how long it answered nobody while it made a publication visible."""
    import redis

    with redis.Redis.from_url(os.environ[variable]) as client:
        eval_of: Any = client.info("commandstats")
        memory: Any = client.info("memory")
        client.config_resetstat()
    return {
        f"{publication}_switch_s": eval_of["cmdstat_eval"]["usec"] / 1e6,
        f"{publication}_server_gb": memory["used_memory"] / 1e9,
    }


def forget(variable: str, prefix: str) -> None:
    import redis

    with redis.Redis.from_url(os.environ[variable]) as client:
        client.unlink(*(f"{{{prefix}}}:{name}" for name in ("lists", "marks", "publication")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--changed", type=int, default=10_000)
    parser.add_argument("--journeys", type=int, default=4)
    parser.add_argument("--look-ups", type=int, default=50_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--redis", metavar="VARIABLE")
    options = parser.parse_args()
    figures: dict[str, float] = {"users": options.users, "changed": options.changed}
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        warehouse = Home(Path(folder)).warehouse(Settings())
        everyone = f"select printf('user %08d', i) as user_id from range({options.users}) t(i)"
        write_lists(warehouse, DAY, everyone, journeys=options.journeys)
        store: Store = FolderStore(folder_of(warehouse.file))
        if options.redis:
            from journeys_dagster.serving.redis_store import RedisStore

            store = RedisStore(options.redis, Path(folder).name)
        begun, busy = time.perf_counter(), time.process_time()
        publish(warehouse.file, store, whole=True)
        figures["full_s"] = time.perf_counter() - begun
        figures["full_processor_s"] = time.process_time() - busy
        if options.redis:
            figures |= of_server(options.redis, "full")
        else:
            data = folder_of(warehouse.file) / "data.mdb"
            figures["store_gb"] = data.stat().st_blocks * 512 / 1e9
        next_day = DAY + timedelta(days=1)
        every = options.users // options.changed
        some = f"select printf('user %08d', i * {every}) as user_id from range({options.changed}) t(i)"
        write_lists(warehouse, next_day, some, journeys=options.journeys)
        begun, busy = time.perf_counter(), time.process_time()
        published = publish(warehouse.file, store, days=[next_day])
        figures["changed_s"] = time.perf_counter() - begun
        figures["changed_processor_s"] = time.process_time() - busy
        if published is None or published.changed != options.changed:
            raise SystemExit(f"{options.changed} lists changed, and this was published: {published}")
        if options.redis:
            figures |= of_server(options.redis, "changed")
        begun = time.perf_counter()
        published = publish(warehouse.file, store, days=[next_day])
        figures["nothing_s"] = time.perf_counter() - begun
        figures |= timed_look_ups(store, options.users, options.look_ups)
        figures["peak_memory_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        if options.redis:
            forget(options.redis, Path(folder).name)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
