"""Table versions: how a warehouse that an older version of the code made becomes one of this version.

A change of a table that exists in warehouses is one file, ``dbt_like_sql/migrations/NNNN_what_it_does.sql``; its number
is the version it leads to. A warehouse holds its version in a table of one row; one without has version 1.
"""

import functools
import re
from dataclasses import dataclass
from pathlib import Path

import duckdb

from journeys_dagster.environment import PROJECT_ROOT
from journeys_dagster.errors import without_quoted
from journeys_dagster.resources.database_file import WarehouseError

FOLDER = PROJECT_ROOT / "dbt_like_sql" / "migrations"
FIRST_VERSION = 1
_FILE = re.compile(r"(?P<version>\d{4})_(?P<name>\w+)\.sql")
_VERSION = "select version from table_version"
_SET_VERSION = "create or replace table table_version as select cast($version as integer) as version"
_VIEWS_ON_FILES = (
    "select view_name from duckdb_views() where database_name = current_database() and contains(sql, 'read_parquet(')"
)
_HAS_TABLES = "select exists (from duckdb_tables() where database_name = current_database() and not internal)"


class MigrationError(WarehouseError, carries_user_text=False):
    """A warehouse of another table version that cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class Migration:
    """One change of tables.

    Attributes
    ----------
    version : int
        The table version that it leads to.
    sql : str
        Statements that run within a transaction. They do nothing to a table that the warehouse does not have.
    """

    version: int
    name: str
    sql: str


def load_migrations(folder: Path) -> tuple[Migration, ...]:
    """The migrations of a folder, in order.

    Raises
    ------
    ValueError
        A file is not named as it should be, or a number is missing or there twice.
    """
    migrations = []
    for path in sorted(folder.glob("*.sql")):
        found = _FILE.fullmatch(path.name)
        expected = FIRST_VERSION + 1 + len(migrations)
        if found is None or int(found["version"]) != expected:
            raise ValueError(f"{path}: the next migration is to be called {expected:04}_what_it_does.sql")
        migrations.append(Migration(expected, found["name"], path.read_text(encoding="utf-8")))
    return tuple(migrations)


_loaded = functools.cache(load_migrations)


def newest_version() -> int:
    """The table version of this code."""
    return FIRST_VERSION + len(_loaded(FOLDER))


def is_current(connection: duckdb.DuckDBPyConnection, path: Path) -> bool:
    """Whether a warehouse has the table version of this code; a file without tables has it.

    Raises
    ------
    MigrationError
        It is of a newer version; `path` names it in the message.
    """
    return _known(connection, _version_held(connection), path) == newest_version()


def require_current(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """See that a warehouse has the table version of this code.

    Raises
    ------
    MigrationError
        It has not.
    """
    if not is_current(connection, path):
        raise MigrationError(
            f"warehouse {path} was made by an older version of this code, and reading changes nothing. Run `journeys "
            f"migrate`, which brings it to table version {newest_version()} in one transaction; so does every run when "
            "it starts. The older code cannot use it afterwards."
        )


def migrate(connection: duckdb.DuckDBPyConnection, path: Path) -> tuple[int, int]:
    """Bring a warehouse to the table version of this code, in one transaction.

    Parameters
    ----------
    connection : DuckDBPyConnection
        One that may write, outside a transaction.
    path : Path
        The warehouse, for messages.

    Returns
    -------
    (int, int)
        Table versions before and after; a file without tables has the version of this code.

    Raises
    ------
    MigrationError
        It is of a newer version, or a migration failed; nothing was changed.
    """
    held = _version_held(connection)
    found, newest = _known(connection, held, path), newest_version()
    if found < newest:
        _apply(connection, path, found)
    elif held is None:
        connection.execute(_SET_VERSION, {"version": newest})
    return found, newest


def _apply(connection: duckdb.DuckDBPyConnection, path: Path, found: int) -> None:
    connection.execute("begin transaction")
    # Views on files of shards are made again by the next run, with the columns of the new version.
    for (view,) in connection.execute(_VIEWS_ON_FILES).fetchall():
        connection.execute(f'drop view "{view}"')
    for migration in _loaded(FOLDER)[found - FIRST_VERSION :]:
        try:
            connection.execute(migration.sql)
        except duckdb.Error as error:
            connection.execute("rollback")
            raise MigrationError(
                f"warehouse {path} could not be migrated from table version {found} to {newest_version()}: migration "
                f"{migration.version:04}_{migration.name} failed: {without_quoted(str(error))}. Nothing was changed: "
                "use the code that made it, or start with a new home."
            ) from None
    connection.execute(_SET_VERSION, {"version": newest_version()})
    connection.execute("commit")


def _version_held(connection: duckdb.DuckDBPyConnection) -> int | None:
    try:
        rows = connection.execute(_VERSION).fetchall()
    except duckdb.CatalogException:
        return None
    return rows[0][0]


def _known(connection: duckdb.DuckDBPyConnection, held: int | None, path: Path) -> int:
    if held is None:
        return FIRST_VERSION if connection.execute(_HAS_TABLES).fetchall()[0][0] else newest_version()
    if held > newest_version():
        raise MigrationError(
            f"warehouse {path} has table version {held}, made by a newer version of this code; this one knows "
            f"versions up to {newest_version()}. Install the newer code, or start with a new home (JOURNEYS_HOME)."
        )
    return held
