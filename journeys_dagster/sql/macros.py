"""The SQL functions of `dbt_like_sql/macros`: the statements that make them, and which queries call them."""

from functools import cache
from pathlib import Path

import sqlglot
from sqlglot import exp

from journeys_dagster.sql.lineage import DIALECT

SQL_ROOT = Path(__file__).resolve().parents[2] / "dbt_like_sql"


def load_macros(root: Path = SQL_ROOT) -> list[str]:
    """The statements that create the SQL functions models use."""
    return _statements(root / "macros")


def load_landing_macros(root: Path = SQL_ROOT) -> list[str]:
    """The statements that create the SQL functions with which landing rows are read."""
    return _statements(root / "macros" / "landing")


def calls_any(expression: exp.Query, macros: tuple[str, ...]) -> bool:
    """Whether a query calls one of the macros."""
    names, _ = _parsed(macros)
    return not names.isdisjoint(function.name.lower() for function in expression.find_all(exp.Anonymous))


def definitions(macros: tuple[str, ...]) -> tuple[str, ...]:
    """The statements that define macros, without comments and layout."""
    return _parsed(macros)[1]


def canonical(expression: exp.Expr) -> str:
    """SQL without comments and layout."""
    return expression.sql(dialect=DIALECT, comments=False, normalize=True)


# To parse the macros takes longer than to parse all models.
@cache
def _parsed(macros: tuple[str, ...]) -> tuple[frozenset[str], tuple[str, ...]]:
    statements = [statement for text in macros for statement in sqlglot.parse(text, dialect=DIALECT) if statement]
    names = (table.name for statement in statements if (table := statement.find(exp.Table)))
    return frozenset(names), tuple(map(canonical, statements))


def _statements(folder: Path) -> list[str]:
    return [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.sql"))]
