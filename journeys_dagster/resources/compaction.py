"""Giving the space of deleted rows back to the disk.

DuckDB keeps the blocks of deleted rows for later ones, and neither CHECKPOINT nor VACUUM makes the file smaller. Where
enough of it is free, it is copied into a new file, compared, and put in the old one's place.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import duckdb

from journeys_dagster.errors import without_quoted
from journeys_dagster.resources.database_file import catalog_name
from journeys_dagster.resources.disk import flush_to_disk
from journeys_dagster.resources.warehouse import Warehouse, WarehouseError
from journeys_dagster.tables import quote_literal

_UNFINISHED = ".compacting"
_DISK_MARGIN = 1.2
_BLOCKS = """
    select block_size, total_blocks, free_blocks
    from pragma_database_size() where database_name = current_database()
"""


class CompactionError(WarehouseError, carries_user_text=False):
    """The file could not be rewritten; the old one stands."""


@dataclass(frozen=True)
class Blocks:
    """The blocks of a database file, in bytes.

    Attributes
    ----------
    total : int
    free : int
        Those without data.
    """

    total: int
    free: int

    @property
    def free_share(self) -> float:
        """Share of the file without data."""
        return self.free / self.total if self.total else 0.0


def checkpointed_blocks(warehouse: Warehouse) -> Blocks:
    """How much of the file holds data, after its log was folded in."""
    with warehouse.get_connection() as connection:
        connection.execute("checkpoint").fetchall()
        size, total, free = connection.sql(_BLOCKS).fetchall()[0]
    return Blocks(total * size, free * size)


def compact(warehouse: Warehouse, *, above_free_share: float) -> tuple[Blocks, Blocks]:
    """Rewrite the file without its free blocks where they are more than a share of it.

    Whenever the process is killed, the file is the old one or the new one, whole. Others wait meanwhile.

    Returns
    -------
    before, after : Blocks
        Equal where it was not worth it.

    Raises
    ------
    CompactionError
        There is too little disk, or the copy is not the same; the old file stands.
    """
    path = warehouse.path.resolve()
    copy = path.with_name(f".{path.name}{_UNFINISHED}")
    before = checkpointed_blocks(warehouse)
    with warehouse.alone() as connection:
        # What a process left that was killed.
        _remove(copy)
        if before.free_share <= above_free_share:
            return before, before
        _require_disk(path, before)
        try:
            _copy(connection, path, copy)
            _publish(copy, path)
        except (duckdb.Error, OSError) as error:
            raise CompactionError(
                f"warehouse {path} could not be rewritten: {without_quoted(str(error))}. The old file stands."
            ) from None
        finally:
            _remove(copy)
    return before, checkpointed_blocks(warehouse)


def _require_disk(path: Path, blocks: Blocks) -> None:
    needed, free = int((blocks.total - blocks.free) * _DISK_MARGIN), shutil.disk_usage(path.parent).free
    if free < needed:
        raise CompactionError(
            f"warehouse {path} could not be rewritten: that takes {needed:,} bytes of disk for a while, and "
            f"{path.parent} has {free:,}. The old file stands; its free blocks are used by later runs."
        )


def _copy(connection: duckdb.DuckDBPyConnection, path: Path, copy: Path) -> None:
    old, new = catalog_name(path), catalog_name(copy)
    connection.execute(f"attach {quote_literal(str(copy))} as {new}").fetchall()
    try:
        connection.execute(f"copy from database {old} to {new}").fetchall()
        _require_equal(connection, path, copy)
        connection.execute(f"checkpoint {new}").fetchall()
    finally:
        connection.execute(f"detach {new}").fetchall()


def _require_equal(connection: duckdb.DuckDBPyConnection, path: Path, copy: Path) -> None:
    """See that both hold the same tables, views and macros, and the same rows in any order."""
    was, now = (_definitions(connection, file) for file in (path, copy))
    differing = [name for _, name, _ in was ^ now]
    for kind, name, _ in was:
        if kind == "table" and _digest(connection, path, name) != _digest(connection, copy, name):
            differing.append(name)
    if differing:
        raise CompactionError(
            f"the copy of warehouse {path} differs in {', '.join(sorted(set(differing)))}. The old file stands."
        )


def _definitions(connection: duckdb.DuckDBPyConnection, file: Path) -> set[tuple[str, str, str]]:
    return set(
        connection.sql(
            """
            select 'table', table_name, sql from duckdb_tables() where database_name = $file
            union all select 'view', view_name, sql from duckdb_views() where database_name = $file and not internal
            union all
            select 'macro', function_name, cast(parameters as varchar) || macro_definition
            from duckdb_functions() where database_name = $file and not internal
            """,
            params={"file": str(file)},
        ).fetchall()
    )


def _digest(connection: duckdb.DuckDBPyConnection, file: Path, table: str) -> tuple[int, int]:
    digest = f'select count(*), sum(hash(rows)) from {catalog_name(file)}.main."{table}" as rows'
    return connection.sql(digest).fetchall()[0]


def _publish(copy: Path, path: Path) -> None:
    """Put the copy in the file's place; the connection still holds the old file, so that nobody can have changed it."""
    if any(file.with_name(file.name + ".wal").exists() for file in (copy, path)):
        raise CompactionError(f"a log lies beside warehouse {path}. The old file stands; try again after a run.")
    shutil.copymode(path, copy)
    flush_to_disk(copy)
    # Not opened by Python before: closing it would drop DuckDB's lock on it.
    copy.replace(path)
    flush_to_disk(path.parent)


def _remove(copy: Path) -> None:
    copy.unlink(missing_ok=True)
    copy.with_name(copy.name + ".wal").unlink(missing_ok=True)
