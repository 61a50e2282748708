"""Publishing current lists: what differs from the warehouse is written, and nothing else."""

from collections.abc import Iterator, Sequence
from datetime import date
from io import BytesIO
from pathlib import Path

import duckdb
import polars as pl

from journeys_dagster.resources.warehouse_file import WarehouseFile
from journeys_dagster.serving.lists import KEYWORD_FIELDS, PUBLISHED_COLUMNS
from journeys_dagster.serving.publication import Publication, Publishing, Store
from journeys_dagster.serving.store import FOLDER, FolderStore
from journeys_dagster.settings import ServingSettings

_USERS_AT_ONCE = 50_000
_NEWEST_DAY = "select max(as_of) as day from user_snapshots"
_FLAT = [name for name in PUBLISHED_COLUMNS if name != "keywords"]
# Keywords take most of the time to read; they change with these columns, and whoever was inferred just now is compared
# with all of theirs. What people want changes their lists without a new snapshot.
_MARKS = f"""
    with wishes as (
        select user_id, bit_xor(hash(control, about, valid_from)) as mark
        from controls_in_force
        where valid_until = date '9999-12-31' and control <> 'opt_out'
        group by user_id
    ),

    lists as (
        select user_id, as_of, bit_xor(hash(as_of, {", ".join(_FLAT)})) as mark
        from user_journeys
        join (select user_id, max(as_of) as as_of from user_snapshots group by user_id) using (user_id, as_of)
        group by user_id, as_of
    )

    select user_id, as_of, xor(lists.mark, coalesce(wishes.mark, 0)) as mark
    from lists left join wishes using (user_id)
    order by user_id
"""
_JUST_INFERRED = "select distinct user_id from users_in_scope where as_of in (select unnest($days::date[]))"
_KEYWORD = ", ".join(f"keyword.{name}" for name in KEYWORD_FIELDS)
_JOURNEY = ", ".join(
    f"list_transform(keywords, lambda keyword: json_array({_KEYWORD}))" if name == "keywords" else name
    for name in PUBLISHED_COLUMNS
)
# Journey by journey: to put them together in DuckDB takes longer.
_LISTS = f"""
    select
        user_id,
        rank,
        cast(json_array(user_id, as_of) as varchar) as begins,
        cast(json_array({_JOURNEY}) as varchar) as journey
    from current_user_journeys
    where {{condition}}
"""
_COMPARED = "as_of between $first_day and $last_day and user_id in (select user_id from compared)"
_MARK = ("user_id", "mark")


def folder_of(warehouse: WarehouseFile) -> Path:
    """Where a warehouse's lists are published if nowhere else: beside it."""
    return warehouse.path.parent / FOLDER


def store_of(home: Path, settings: ServingSettings) -> Store:
    """Where a home's lists are published.

    Raises
    ------
    StoreError
        It is a server, and the extra or its URL is missing.
    """
    if settings.store == "folder":
        return FolderStore(home / FOLDER)
    from journeys_dagster.serving.redis_store import RedisStore

    return RedisStore(settings.redis_variable, settings.redis_prefix)


def publish(
    warehouse: WarehouseFile,
    store: Store | None = None,
    *,
    days: Sequence[date] = (),
    whole: bool = False,
    newest: date | None = None,
) -> Publication | None:
    """Publish each user's current list; none where nothing has been inferred yet.

    What is published is compared with the warehouse user by user, so what an earlier publication failed to write is
    written now.

    Parameters
    ----------
    store : Store, optional
        Where to. Default: the folder beside the warehouse.
    days : sequence of date
        Days that were just inferred.
    whole : bool
        Write all lists anew.
    newest : date, optional
        The newest inferred day of all users, where the warehouse is of some of them.
    """
    store = store or FolderStore(folder_of(warehouse))
    with warehouse.read() as connection:
        (day,) = connection.execute(_NEWEST_DAY).fetchall()[0]
        day = newest or day
        if day is None:
            return None
        with store.publishing(day=day) as made:
            marks = connection.sql(_MARKS).pl()
            if whole or made.before is None or not made.before.is_of_this_shape:
                _publish_whole(connection, made, marks)
            else:
                _publish_changes(connection, made, marks, days)
            made.marks = _as_bytes(marks.select(_MARK))
    return made.publication


def _publish_whole(connection: duckdb.DuckDBPyConnection, made: Publishing, marks: pl.DataFrame) -> None:
    made.clear()
    # LMDB adds keys in order at the end, without a search; DuckDB and LMDB both order by bytes.
    for begin in range(0, len(marks), _USERS_AT_ONCE):
        span = marks["user_id"][begin : begin + _USERS_AT_ONCE]
        bounds = {"first": span[0], "last": span[-1]}
        rows = connection.sql(_LISTS.format(condition="user_id between $first and $last"), params=bounds).pl()
        for user, text in _put_together(rows):
            made.put(user, text, in_order=True)


def _publish_changes(
    connection: duckdb.DuckDBPyConnection, made: Publishing, marks: pl.DataFrame, days: Sequence[date]
) -> None:
    stored = pl.read_ipc(BytesIO(made.marks)) if made.marks else marks.select(_MARK).clear()
    differing = marks.join(stored, on="user_id", how="full", coalesce=True).filter(
        pl.col("mark").ne_missing(pl.col("mark_right"))
    )
    inferred = connection.sql(_JUST_INFERRED, params={"days": list(days)}).pl()
    users = pl.concat([differing.select("user_id"), inferred]).unique().join(marks, on="user_id", how="left")
    # Apart, as most are of the newest day, whose rows lie together in the table.
    is_newest = pl.col("as_of") == pl.col("as_of").max()
    for group in (users.filter(is_newest), users.filter(~is_newest)):
        for span in group.sort("as_of", "user_id").iter_slices(_USERS_AT_ONCE):
            connection.register("compared", span)
            bounds = {"first_day": span["as_of"].min(), "last_day": span["as_of"].max()}
            rows = connection.sql(_LISTS.format(condition=_COMPARED), params=bounds).pl()
            connection.unregister("compared")
            for user, text in _put_together(rows):
                made.put(user, text)
            for user in span.join(rows, on="user_id", how="anti")["user_id"]:
                made.remove(user)
    for user in users.filter(pl.col("as_of").is_null())["user_id"]:
        made.remove(user)


def _put_together(rows: pl.DataFrame) -> Iterator[tuple[str, str]]:
    """Users in order, and the list of each as JSON has a `UserList`."""
    lists = (
        rows.sort("user_id", "rank", "journey")
        .group_by("user_id", maintain_order=True)
        .agg(pl.col("begins").first().str.strip_suffix("]"), pl.col("journey").str.join(","))
        .select("user_id", pl.format("{},[{}]]", "begins", "journey"))
    )
    return lists.iter_rows()


def _as_bytes(marks: pl.DataFrame) -> bytes:
    file = BytesIO()
    marks.write_ipc(file)
    return file.getvalue()
