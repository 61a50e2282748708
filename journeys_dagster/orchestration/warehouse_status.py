"""A home's status by warehouse and landing zone: ingestion, inference, algorithm, models."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import Any

import duckdb

from journeys_dagster.inference.algorithm import Algorithm
from journeys_dagster.orchestration import shortfalls
from journeys_dagster.resources.home import Home
from journeys_dagster.resources.landing_state import LANDED_DAY_KEY, UNSEEN_LANDING_DAYS
from journeys_dagster.resources.landing_zone import complete_days
from journeys_dagster.resources.warehouse import table_names
from journeys_dagster.settings import Settings
from journeys_dagster.sources.contracts import REJECTED_SHARE, declared_sources
from journeys_dagster.sources.cures import cure
from journeys_dagster.sources.survey import Survey

EXPLAINED_DAYS = 20
"""Stale days, newest first, for which the landing days at fault are looked for."""
_LANDED = f"""
    select source, arrival_day, fingerprint, files, unreadable_files, {REJECTED_SHARE} as rejected_share
    from landed_days
"""
_UNREADABLE = """
    select arrival_day, source, mode(reason) as reason from rejected_rows where row_number is null group by all
"""
_STALE = f"""
    with days as (select arrival_day, sum({LANDED_DAY_KEY}) as added from landed_days group by arrival_day),
    running as (select arrival_day, sum(added) over (order by arrival_day) as total from days)
    select as_of, scope, coalesce(total, 0) - try_cast(landing_fingerprint as hugeint) as difference
    from inferred_days asof left join running on inferred_days.as_of >= running.arrival_day
    where landing_fingerprint != '' and cast(coalesce(total, 0) as varchar) != landing_fingerprint
    order by as_of desc, scope
"""
_CHANGES = f"""
    with states as (from seen_landing_days union all ({UNSEEN_LANDING_DAYS}))

    select number, source, arrival_day, cast({LANDED_DAY_KEY} as hugeint) as key,
        lag(key) over (partition by source, arrival_day order by number) as previous
    from states
    order by number desc, arrival_day desc, source
"""
_USERS = """
    with newest as (select user_id, max(as_of) as as_of from user_snapshots group by user_id)
    select as_of, scope, algorithm_version, count(*) as users
    from newest join user_snapshots using (user_id, as_of)
    group by all order by all
"""
_UNFINISHED = """
    select distinct as_of, scope
    from users_in_scope anti join inferred_days using (as_of, scope, algorithm_version, landing_fingerprint)
    order by as_of
"""
_LAST_FULL = "select as_of, algorithm_version from inferred_days where scope = 'all_users' order by as_of desc limit 1"
_PARTS = "select part, value from algorithm_parts where algorithm_version = $version"
_MODEL = """
    select arg_max(model_id, as_of) filter (promoted) as model_id, max(as_of) filter (promoted) as as_of,
        max(as_of) as last_trained, arg_max(decision, as_of) as decision
    from {table}
"""
_TRAINED = ("ranking_model", "stage_model")


@dataclass(frozen=True)
class _Warehouse:
    """One read of the warehouse, all queries of one moment; without a file, everything is empty."""

    connection: duckdb.DuckDBPyConnection | None
    tables: frozenset[str] = frozenset()

    def rows(self, sql: str, *tables: str, params: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Rows of a query, none where one of the tables it needs is not there."""
        if self.connection is None or not set(tables) <= self.tables:
            return []
        found = self.connection.sql(sql, params=dict(params) if params else None)
        return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]


def warehouse_status(home: Home, settings: Settings, algorithm: Algorithm) -> dict[str, Any]:
    """What `journeys_dagster.cli.home_status.home_status` says, but for what Dagster knows."""
    survey = home.landing_zone().survey(declared_sources(settings))
    with _read(home, settings) as warehouse:
        users = warehouse.rows(_USERS, "user_snapshots")
        return {
            "landing": _landing(survey, warehouse, settings),
            "inference": (inference := _inference(warehouse, users)),
            "shortfalls": _shortfalls(survey, warehouse, inference["newest_day"], settings),
            "algorithm": _algorithm(warehouse, algorithm, users),
            "models": _models(warehouse),
        }


@contextmanager
def _read(home: Home, settings: Settings) -> Iterator[_Warehouse]:
    if not home.warehouse_path.exists():
        yield _Warehouse(None)
        return
    with home.warehouse(settings).read() as connection:
        yield _Warehouse(connection, table_names(connection))


def _landing(survey: Survey, warehouse: _Warehouse, settings: Settings) -> dict[str, Any]:
    landed = survey.days
    taken_in = {(row["source"], row["arrival_day"]): row for row in warehouse.rows(_LANDED, "landed_days")}
    today = datetime.now(UTC).date()
    first = settings.landing.first_day or date.min
    complete, incomplete = complete_days(landed)
    due = {pair: day for pair, day in landed.items() if pair[1] in complete and first <= pair[1] < today}
    limit = settings.landing.max_rejected_share
    return {
        "complete_days": len(complete),
        "incomplete": _pairs(incomplete),
        "not_taken_in": _pairs(pair for pair in due if pair not in taken_in),
        "changed": _pairs(
            pair for pair, day in due.items() if pair in taken_in and taken_in[pair]["fingerprint"] != day.fingerprint
        ),
        "not_whole": _not_whole(survey, warehouse, taken_in),
        "passed_over": [asdict(each) for each in survey.passed_over],
        "passed_over_in_short": survey.summary(),
        "left_out_on_purpose": survey.left_out,
        "marked_at_root": sorted(survey.marked_at_root),
        "held_up": [
            {"source": source, "day": day, "rejected_share": round(taken_in[source, day]["rejected_share"], 4)}
            for source, day in sorted(taken_in, key=lambda pair: (pair[1], pair[0]))
            if taken_in[source, day]["rejected_share"] > limit
        ],
        "not_over": sorted(day for day in complete if day >= today),
        "newest_landed": max(complete, default=None),
        "newest_taken_in": max((day for _, day in taken_in), default=None),
    }


def _not_whole(
    survey: Survey, warehouse: _Warehouse, taken_in: Mapping[tuple[str, date], Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Days with files that were not read, as they were ingested or as they lie."""
    reasons = {
        (row["source"], row["arrival_day"]): row["reason"]
        for row in warehouse.rows(_UNREADABLE, "rejected_rows")
    }  # fmt: skip
    found = {
        pair: {"files": row["unreadable_files"], "what_to_do": cure(reasons.get(pair, ""))}
        for pair, row in taken_in.items()
        if row["unreadable_files"]
    }
    for each in survey.passed_over:
        if each.source is not None and each.day is not None:
            day = found.setdefault((each.source, each.day), {"files": 0, "what_to_do": each.cure})
            day["files"] += each.files
    in_order = sorted(found, key=lambda pair: (pair[1], pair[0]))
    return [{"source": source, "day": day, **found[source, day]} for source, day in in_order]


def _shortfalls(survey: Survey, warehouse: _Warehouse, newest: date | None, settings: Settings) -> dict[str, Any]:
    """What the lists lack, as of the newest day that was inferred."""
    if newest is None:
        return {}
    day, lookback = {"as_of": newest}, {"lookback_days": settings.keywords.lookback_days}
    landed = warehouse.rows(shortfalls.LANDED_ROWS, "landed_days", params=day)
    items = warehouse.rows(shortfalls.UNKNOWN_ITEMS, "user_events", "items", params=day)
    none = [{"users": 0, "day": None}]
    by_items = warehouse.rows(shortfalls.OUTDATED_BY_ITEMS, "user_snapshots", "items", "stg_events", params=lookback)
    by_rows = warehouse.rows(shortfalls.OUTDATED_BY_ROWS, "user_snapshots", "user_activity", "inferred_days")
    without = warehouse.rows(shortfalls.WITHOUT_KEYWORDS, "user_snapshots")
    has_unknown = bool(items and items[0]["unknown"])
    return {
        "no_data": shortfalls.no_data(landed[0], newest) if landed else None,
        "unknown_items": items[0] if has_unknown else None,
        "unknown_items_said": shortfalls.unknown_items(items[0], newest, shortfalls.item_days_after(survey, newest))
        if has_unknown
        else None,
        "users_without_keywords": without[0]["users"] if without else 0,
        "users_outdated_by_items": (by_items or none)[0],
        "users_outdated_by_rows": (by_rows or none)[0],
    }


def _pairs(pairs: Iterable[tuple[str, date]]) -> list[dict[str, Any]]:
    return [{"source": source, "day": day} for source, day in sorted(pairs, key=lambda pair: (pair[1], pair[0]))]


def _inference(warehouse: _Warehouse, users: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    by_snapshot: Counter[tuple[date, str]] = Counter()
    for row in users:
        by_snapshot[row["as_of"], row["scope"]] += row["users"]
    stale = warehouse.rows(_STALE, "inferred_days", "landed_days")
    changes = warehouse.rows(_CHANGES, "seen_landing_days", "landed_days") if stale else []
    days = warehouse.rows(
        "select as_of, scope, users, journeys from inferred_days order by as_of, scope", "inferred_days"
    )
    full = [day["as_of"] for day in days if day["scope"] == "all_users"]
    return {
        "days": len({day["as_of"] for day in days}),
        "newest_day": days[-1]["as_of"] if days else None,
        "newest_full_day": full[-1] if full else None,
        "users": sum(by_snapshot.values()),
        "stale": [
            {
                "as_of": row["as_of"],
                "scope": row["scope"],
                "users": by_snapshot[row["as_of"], row["scope"]],
                "because": _because(row, changes) if number < EXPLAINED_DAYS else [],
            }
            for number, row in enumerate(stale)
        ],
        "users_with_stale_journeys": sum(by_snapshot[row["as_of"], row["scope"]] for row in stale),
        "unfinished": warehouse.rows(_UNFINISHED, "users_in_scope", "inferred_days"),
    }


def _because(stale: Mapping[str, Any], changes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Landing days whose state has changed since a snapshot: the newest changes that add up to what it differs by."""
    remaining, found = stale["difference"], []
    number = None
    for change in changes:
        if change["arrival_day"] > stale["as_of"]:
            continue
        # What one inference saw at once has changed at once.
        if remaining == 0 and change["number"] != number:
            break
        number = change["number"]
        remaining -= change["key"] - (change["previous"] or 0)
        kind = "arrived later" if change["previous"] is None else "changed"
        found.append({"source": change["source"], "day": change["arrival_day"], "how": kind})
    return found[::-1] if remaining == 0 else []


def _algorithm(warehouse: _Warehouse, algorithm: Algorithm, users: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    last = warehouse.rows(_LAST_FULL, "inferred_days")
    version = last[0]["algorithm_version"] if last else None
    changes = []
    if version is not None and version != algorithm.version:
        found = warehouse.rows(_PARTS, "algorithm_parts", params={"version": version})
        before = {row["part"]: row["value"] for row in found}
        changes = [
            {"part": part, "before": before.get(part), "now": algorithm.parts.get(part)}
            for part in sorted(before.keys() | algorithm.parts.keys())
            if before and before.get(part) != algorithm.parts.get(part)
        ]
    return {
        "version": algorithm.version,
        "last_full_version": version,
        "last_full_day": last[0]["as_of"] if last else None,
        "changes": changes,
        "users_by_another_version": sum(row["users"] for row in users if row["algorithm_version"] != algorithm.version),
    }


def _models(warehouse: _Warehouse) -> dict[str, Any]:
    models: dict[str, Any] = {}
    for table in _TRAINED:
        found = warehouse.rows(_MODEL.format(table=table), table)
        models[table] = found[0] if found else dict.fromkeys(("model_id", "as_of", "last_trained", "decision"))
    naming = warehouse.rows("select max(as_of) as as_of, count(*) as keywords from naming_model", "naming_model")
    models["naming_model"] = naming[0] if naming else {"as_of": None, "keywords": 0}
    return models
