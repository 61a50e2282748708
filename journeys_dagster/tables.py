"""What a warehouse table is: its columns, key and grain, and the DDL that follows from them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

Per = Literal["user", "population"]
"""What a row is of: of one user, so that users may be computed apart; or of everyone together."""
Kind = Literal["landed", "view", "table", "snapshot", "population", "trained", "kept"]
"""What becomes of a table's rows.

landed
    Replaced by arrival day.
view
    Holds none.
table
    Of everyone together and of all days, replaced as a whole.
snapshot
    Of users, replaced by (`as_of`, users in scope); pruned when they are old.
population
    Of everyone together, replaced by `as_of`; pruned when they are old.
trained
    Models and what they are trained on; made now and then, for all days to come.
kept
    Added to and never pruned: records, verdicts, embeddings, metrics.
"""


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


def _column(type_: str) -> Callable[..., Column]:
    def column(description: str, *, nullable: bool = False) -> Column:
        return Column(type=type_, description=description, nullable=nullable)

    return column


text, texts = _column("VARCHAR"), _column("VARCHAR[]")
integer, bigint, double = _column("INTEGER"), _column("BIGINT"), _column("DOUBLE")
boolean, utc_day, timestamp = _column("BOOLEAN"), _column("DATE"), _column("TIMESTAMP")


@dataclass(frozen=True, kw_only=True)
class Table:
    """One warehouse table (or view), most of which are also an asset.

    Attributes
    ----------
    name : str
        Name of the table and of the asset.
    kind : str
        What becomes of its rows, see `Kind`.
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
    of_every_user : bool
        Of a snapshot: whether each user in scope has a row, so that the newest one tells the user's newest snapshot.
    learnt_from : bool
        Of a snapshot: whether models learn from what it says of journeys that people gave feedback on; these rows stay.
    per : str or None
        What a row is of, see `Per`. Left out: of a user where there is a column ``user_id``.
    published : bool
        Of a table of users: whether readers of all shards see it.
    """

    name: str
    kind: Kind
    description: str
    grain: str
    columns: Mapping[str, Column]
    key: tuple[str, ...] = ()
    partition_column: str | None = None
    order: tuple[str, ...] = ()
    of_every_user: bool = True
    learnt_from: bool = False
    per: Per | None = None
    published: bool = False

    @property
    def is_per_user(self) -> bool:
        """Whether a row is of one user, and lies in that user's shard where there are shards."""
        return self.per == "user" if self.per is not None else "user_id" in self.columns

    def create_sql(self) -> str:
        """``create table if not exists`` with every type and NOT NULL spelled out.

        A column missing from an insert by name would become NULL; NOT NULL turns that into an error.
        """
        lines = [
            f'"{name}" {column.type}{"" if column.nullable else " not null"}' for name, column in self.columns.items()
        ]
        body = ",\n    ".join(lines)
        return f'create table if not exists "{self.name}" (\n    {body}\n)'


def quote_literal(text: str) -> str:
    """Text as an SQL literal, for names that DuckDB does not take as parameters everywhere."""
    return "'" + text.replace("'", "''") + "'"


def snapshot_columns(columns: Mapping[str, Column]) -> dict[str, Column]:
    """Columns of a snapshot table: the given ones between those that every snapshot row carries."""
    return {
        "as_of": utc_day("day the snapshot was taken; sees what had arrived by then"),
        "user_id": text("the user"),
        **columns,
        "scope": text("kind of run that wrote the row: active_users or all_users"),
        "algorithm_version": text("fingerprint of step code, model revisions and settings"),
    }
