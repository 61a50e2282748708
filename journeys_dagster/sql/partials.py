"""What shards of users compute of a query that looks across users, and how that is put together.

Such a query names the subqueries (CTEs) that read rows of users and aggregate them. Each shard computes these of its
own users; their rows are merged by what they are aggregated with: counts and sums are added, smallest and largest ones
compared. The rest of the query runs once, on the merged rows. Users are of one shard each, so counts of distinct users
are added too. Sums are of whole numbers or decimals, which are the same in any order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlglot
from sqlglot import exp

from journeys_dagster.errors import JourneysError
from journeys_dagster.sql.lineage import DIALECT

_USER = "user_id"


class NoPartialError(JourneysError, ValueError, carries_user_text=False):
    """A subquery that cannot be computed shard by shard; the message says why."""


@dataclass(frozen=True)
class Partial:
    """A subquery that each shard computes for itself.

    Attributes
    ----------
    select : str
        The query of a shard.
    merge : str
        A query that puts the rows of all shards together; it reads them as ``parts``.
    """

    name: str
    select: str
    merge: str


def partials_of(query: exp.Query, names: Sequence[str]) -> tuple[Partial, ...]:
    """The named subqueries of a query, as parts of it.

    Raises
    ------
    NoPartialError
        There is no such subquery, or what it aggregates cannot be put together.
    """
    with_ = query.args.get("with_")
    ctes: list[exp.CTE] = list(with_.expressions) if with_ is not None else []
    places = {cte.alias: place for place, cte in enumerate(ctes)}
    if unknown := [name for name in names if name not in places]:
        raise NoPartialError(f"partial: there is no subquery {', '.join(unknown)}")
    return tuple(_partial(ctes[: places[name] + 1]) for name in names)


def merged(query: str, sources: Mapping[str, str]) -> str:
    """A query with some of its subqueries replaced by others, and without what only those have read."""
    expression = sqlglot.parse_one(query, dialect=DIALECT)
    with_ = expression.args["with_"]
    for cte in with_.expressions:
        if cte.alias in sources:
            cte.set("this", sqlglot.parse_one(sources[cte.alias], dialect=DIALECT))
    _drop_unread(expression, with_)
    return expression.sql(dialect=DIALECT)


def _drop_unread(expression: exp.Expr, with_: exp.With) -> None:
    while True:
        read = {table.name for table in expression.find_all(exp.Table)}
        kept = [cte for cte in with_.expressions if cte.alias in read]
        if len(kept) == len(with_.expressions):
            return
        with_.set("expressions", kept)


def _partial(ctes: Sequence[exp.CTE]) -> Partial:
    wanted = ctes[-1]
    select = wanted.this
    if not isinstance(select, exp.Select):
        raise NoPartialError(f"partial: {wanted.alias} is no simple SELECT")
    alone = exp.select("*").from_(wanted.alias)
    alone.set("with_", exp.With(expressions=[cte.copy() for cte in ctes]))
    _drop_unread(alone, alone.args["with_"])
    return Partial(wanted.alias, alone.sql(dialect=DIALECT), _merge(wanted.alias, select))


def _merge(name: str, select: exp.Select) -> str:
    if select.find(exp.Window) is not None:
        raise NoPartialError(f"partial: {name} has a window, which does not see the users of other shards")
    if any(select.args.get(clause) is not None for clause in ("having", "qualify", "limit", "offset")):
        raise NoPartialError(f"partial: {name} leaves out rows that those of other shards may add to")
    if select.args.get("distinct") is not None:
        return "select distinct * from parts"
    group = select.args.get("group")
    keys = {each.sql(dialect=DIALECT) for each in group.expressions} if group is not None else set()
    return f"select {', '.join(_merged_column(name, each, keys) for each in select.selects)} from parts" + (
        " group by all" if keys else ""
    )


def _merged_column(name: str, projection: exp.Expr, keys: set[str]) -> str:
    column = f'"{projection.alias_or_name}"'
    value = projection.unalias()
    if value.sql(dialect=DIALECT) in keys or projection.alias_or_name in keys:
        return column
    aggregate = value
    while isinstance(aggregate, exp.Filter | exp.IgnoreNulls):
        aggregate = aggregate.this
    if isinstance(aggregate, exp.Count):
        distinct = aggregate.this if isinstance(aggregate.this, exp.Distinct) else None
        if distinct is not None and [each.name for each in distinct.expressions] != [_USER]:
            raise NoPartialError(f"partial: {name}.{column} counts what may be in several shards")
        return f"cast(sum({column}) as bigint) as {column}"
    if isinstance(aggregate, exp.Sum):
        if not (isinstance(aggregate.this, exp.Cast) and aggregate.this.to.is_type("decimal")):
            raise NoPartialError(f"partial: {name}.{column} sums what is no decimal: cast what is summed to one")
        return f"sum({column}) as {column}"
    if isinstance(aggregate, exp.Min | exp.AnyValue):
        return f"min({column}) as {column}"
    if isinstance(aggregate, exp.Max):
        return f"max({column}) as {column}"
    raise NoPartialError(f"partial: {name}.{column} is neither a group nor a count, a sum, min or max")
