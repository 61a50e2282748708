"""Which snapshots of a warehouse go, and the one transaction in which they do. What is read later stays the same.

Of the older snapshots, each user's newest is kept: whatever continues a user's journeys looks for the newest snapshot
before a day. So every day within the kept span can be inferred again with the same result, and users who went quiet
keep their journeys.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import duckdb
import polars as pl

from journeys_dagster.resources.warehouse import Warehouse, WarehouseError, table_names
from journeys_dagster.settings import RetentionSettings
from journeys_dagster.tables import Table

_CURRENT = "current_user_journeys"
_LABELS = "feedback_labels"
_DAYS = """
    select as_of, bool_or(scope = 'all_users') as is_full
    from users_in_scope
    group by as_of
    order by as_of
"""


def pruned_tables(tables: Mapping[str, Table]) -> list[Table]:
    """Tables whose rows of old days go: snapshots of users, and of the population by day."""
    return [table for table in tables.values() if table.kind in {"snapshot", "population"}]


class RetentionError(WarehouseError, carries_user_text=False):
    """Pruning would have changed what it must not; nothing was pruned."""


@dataclass(frozen=True)
class Pruning:
    """What was pruned, or would be.

    Attributes
    ----------
    keep_from : date or None
        First day of which all snapshots stay; none where there are no snapshots.
    whole_days : list of date
        Older days that stay whole.
    tables : DataFrame
        ``table``, ``rows`` before, ``pruned``, and ``days`` and ``days_pruned``: those of which rows went.
    """

    keep_from: date | None
    whole_days: list[date]
    tables: pl.DataFrame

    @property
    def rows_pruned(self) -> int:
        """Rows of all tables."""
        return int(self.tables["pruned"].sum())


def days_to_keep(
    days: Sequence[date], full_days: Sequence[date], settings: RetentionSettings
) -> tuple[date | None, list[date]]:
    """First day from which everything stays, and the older days that stay whole.

    Parameters
    ----------
    days : sequence of date
        The days that have been inferred. Ages count from the newest, not from today: a feed that stops loses nothing.
    full_days : sequence of date
        Those on which everyone was.
    """
    if not days:
        return None, []
    keep_from = max(days) - timedelta(days=settings.keep_days)
    month_ends = {(day.year, day.month): day for day in sorted(days)} if settings.keep_month_ends else {}
    # The newest full snapshot has the version of the algorithm by which everyone was inferred.
    whole = {*month_ends.values(), *sorted(full_days)[-1:]}
    return keep_from, sorted(day for day in whole if day < keep_from)


def prune(
    warehouse: Warehouse, tables: Sequence[Table], settings: RetentionSettings, *, dry_run: bool = False
) -> Pruning:
    """Delete the snapshots that have grown old, in one transaction.

    Parameters
    ----------
    tables : sequence of Table
        Those of snapshots and of the population by day. Those that the warehouse does not have yet are passed over.
    dry_run : bool
        Only count.

    Raises
    ------
    RetentionError
        `current_user_journeys` would not have been the same; nothing was deleted.
    """
    with warehouse.read() if dry_run else warehouse.write() as connection:
        there = table_names(connection)
        inferred = connection.sql(_DAYS).fetchall() if "users_in_scope" in there else []
        keep_from, whole_days = days_to_keep(
            [day for day, _ in inferred], [d for d, full in inferred if full], settings
        )
        present = [table for table in tables if table.name in there]
        if keep_from is None:
            return Pruning(None, [], pl.DataFrame(schema=_REPORT))
        _note_what_stays(connection, present, keep_from, labels=_LABELS in there)
        params = {"keep_from": keep_from, "whole_days": whole_days}
        report = pl.DataFrame([_count(connection, table, params) for table in present], schema=_REPORT)
        if not dry_run:
            _delete(connection, present, params, expected=report, guarded=_CURRENT in there)
        return Pruning(keep_from, whole_days, report)


_REPORT = {"table": pl.String, "rows": pl.Int64, "pruned": pl.Int64, "days": pl.Int64, "days_pruned": pl.Int64}


def _note_what_stays(
    connection: duckdb.DuckDBPyConnection, tables: Sequence[Table], keep_from: date, *, labels: bool
) -> None:
    """Two temporary tables: older snapshots of users that stay, and older journeys that labels are about."""
    # A run that was cut off may have left a newer snapshot in one table than in another; both stay in all of them.
    newest = " union all ".join(
        f'select user_id, max(as_of) as as_of from "{table.name}" where as_of < $keep_from group by user_id'
        for table in tables
        if "user_id" in table.columns and table.of_every_user
    )
    params = {"keep_from": keep_from}
    connection.execute(
        f"create or replace temp table kept_snapshots as select distinct user_id, as_of from ({newest})", params
    ).fetchall()
    labelled = f"from {_LABELS} where as_of < $keep_from" if labels else "from kept_snapshots where $keep_from is null"
    journey = "journey_id" if labels else "user_id"
    connection.execute(
        "create or replace temp table kept_journeys as "
        f"select distinct user_id, {journey} as journey_id, as_of {labelled}",
        params,
    ).fetchall()


def _condition(table: Table) -> str:
    """What is true of the rows that go."""
    condition = "as_of < $keep_from and as_of not in (select unnest($whole_days::date[]))"
    if "user_id" in table.columns:
        condition += f" and {_not_among('kept_snapshots', table, 'user_id', 'as_of')}"
    if table.learnt_from:
        condition += f" and {_not_among('kept_journeys', table, 'user_id', 'journey_id', 'as_of')}"
    return condition


def _not_among(kept: str, table: Table, *columns: str) -> str:
    same = " and ".join(f'{kept}.{column} = "{table.name}".{column}' for column in columns)
    return f"not exists (select 1 from {kept} where {same})"


def _count(connection: duckdb.DuckDBPyConnection, table: Table, params: dict[str, Any]) -> dict[str, Any]:
    found = connection.sql(
        f"""
        select
            $table as "table",
            (select count(*) from "{table.name}") as rows,
            (select count(*) from "{table.name}" where {_condition(table)}) as pruned,
            (select count(distinct as_of) from "{table.name}") as days,
            (select count(distinct as_of) from "{table.name}" where {_condition(table)}) as days_pruned
        """,
        params={"table": table.name, **params},
    )
    return found.pl().row(0, named=True)


def _delete(
    connection: duckdb.DuckDBPyConnection,
    tables: Sequence[Table],
    params: dict[str, Any],
    *,
    expected: pl.DataFrame,
    guarded: bool,
) -> None:
    before = _digest(connection) if guarded else None
    counts = dict(expected.select("table", "pruned").iter_rows())
    for table in tables:
        deleted = connection.execute(f'delete from "{table.name}" where {_condition(table)}', params).fetchall()[0][0]
        if deleted != counts[table.name]:
            raise RetentionError(
                f"{deleted} rows of {table.name} went instead of {counts[table.name]}: nothing is pruned"
            )
    if guarded and _digest(connection) != before:
        raise RetentionError(f"pruning would have changed {_CURRENT}: nothing was pruned")


def _digest(connection: duckdb.DuckDBPyConnection) -> tuple[Any, ...]:
    """Rows of `current_user_journeys` and the sum of their hashes, in whatever order they come."""
    return connection.sql(f"select count(*), sum(hash(rows)) from {_CURRENT} as rows").fetchall()[0]
