"""What a warehouse table is: its columns, key and grain, and the DDL that follows from them."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a warehouse table.

    Attributes
    ----------
    type : str
        DuckDB type.
    description : str
        What the value means, with its unit.
    nullable : bool
        Whether a missing value is allowed.
    """

    type: str
    description: str
    nullable: bool = False


@dataclass(frozen=True, kw_only=True)
class Table:
    """One warehouse table (or view), which is also one asset.

    Attributes
    ----------
    name : str
        Name of the table and of the asset.
    description : str
        What the table is for.
    grain : str
        What one row stands for.
    columns : mapping of str to Column
        In order.
    key : tuple of str
        Columns that identify a row.
    partition_column : str or None
        DATE column that a partition key selects: ``arrival_day`` of the data or ``as_of`` of a snapshot.
    order : tuple of str
        Columns by which a query's rows are put in order when they are written.
    """

    name: str
    description: str
    grain: str
    columns: Mapping[str, Column]
    key: tuple[str, ...] = ()
    partition_column: str | None = None
    order: tuple[str, ...] = ()
    constraints: tuple[str, ...] = field(default=())

    def create_sql(self) -> str:
        """``create table if not exists`` with every type and NOT NULL spelled out.

        A column missing from an insert by name would become NULL; NOT NULL turns that into an error.
        """
        lines = [
            f'"{name}" {column.type}{"" if column.nullable else " not null"}' for name, column in self.columns.items()
        ]
        body = ",\n    ".join([*lines, *self.constraints])
        return f'create table if not exists "{self.name}" (\n    {body}\n)'


def quote_literal(text: str) -> str:
    """Text as an SQL literal, for names that DuckDB does not take as parameters everywhere."""
    return "'" + text.replace("'", "''") + "'"


def snapshot_columns(columns: Mapping[str, Column]) -> dict[str, Column]:
    """Columns of a snapshot table: the given ones between those that every snapshot row carries."""
    return {
        "as_of": Column(type="DATE", description="day the snapshot was taken; sees what arrived until then"),
        "user_id": Column(type="VARCHAR", description="the user"),
        **columns,
        "scope": Column(type="VARCHAR", description="kind of run that wrote the row: active_users or all_users"),
        "algorithm_version": Column(
            type="VARCHAR", description="fingerprint of step code, model revisions and settings"
        ),
    }
