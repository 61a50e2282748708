"""Which upstream columns each column of a SELECT is made of, read from the SQL."""

from functools import cache
from typing import cast

import sqlglot
from sqlglot import exp

DIALECT = "duckdb"


@cache
def column_lineage(
    sql: str, columns: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
) -> dict[str, frozenset[tuple[str, str]]]:
    """The upstream columns that each column of a SELECT is made of, where there are any.

    Parameters
    ----------
    sql : str
        A SELECT, or several united by name.
    columns : tuple of (str, tuple of (str, str))
        Names and types of the columns of each table that it reads; they resolve unqualified names.

    Returns
    -------
    dict of str to frozenset of (table, column)
    """
    from sqlglot.lineage import lineage

    schema: dict[str, object] = {name: dict(of_table) for name, of_table in columns}
    expression = cast("exp.Query", sqlglot.parse_one(sql, dialect=DIALECT))
    upstream: dict[str, set[tuple[str, str]]] = {}
    # Branch by branch: sqlglot follows the branches of a union by position, ours are matched by name.
    for branch in branches(expression):
        alone = branch.copy()
        if branch is not expression:
            for cte in expression.ctes:
                alone = alone.with_(cte.alias, as_=cte.this.copy(), dialect=DIALECT)
        nodes = lineage(
            None,
            alone,
            schema=schema,
            dialect=DIALECT,
            validate_qualify_columns=False,
            copy=False,
            trim_selects=False,
        )
        for column in nodes:
            for node in nodes[column].walk():
                if isinstance(node.expression, exp.Table) and node.expression.name in schema:
                    leaf = node.expression.name, node.name.rsplit(".", 1)[-1].strip('"')
                    upstream.setdefault(column, set()).add(leaf)
    return {column: frozenset(leaves) for column, leaves in upstream.items()}


def branches(expression: exp.Expr) -> list[exp.Query]:
    """The SELECTs of a union, or the SELECT itself."""
    if isinstance(expression, exp.SetOperation):
        return [*branches(expression.left), *branches(expression.right)]
    return [expression] if isinstance(expression, exp.Query) else []
