"""Reading the SQL models: a file says in its header what it is, and in its SQL what it needs.

Dependencies, columns and column lineage are parsed from the SQL, so that they cannot drift from it. Running a model
belongs to the assets.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import sqlglot
import yaml
from sqlglot import exp

from journeys_dagster.tables import Column, Table

SQL_ROOT = Path(__file__).resolve().parents[1] / "dbt_like_sql"
Materialization = Literal["view", "snapshot"]

_DIALECT = "duckdb"
_HEADER = re.compile(r"\A\s*/\*(?P<header>.*?)\*/\s*(?P<sql>.*)\Z", re.DOTALL)
_MODEL_KEYS = {"name", "grain", "materialized", "partition_column", "description", "key", "owner", "kinds"}
_AUDIT_KEYS = {"model", "blocking", "description"}
_NULLABLE = "(nullable)"


class ModelError(ValueError):
    """A model or audit file that breaks the conventions; the message names the file and the fault."""


@dataclass(frozen=True, kw_only=True)
class SqlModel:
    """One file of ``models/``: a SELECT and what its header says.

    Attributes
    ----------
    layer : str
        The folder: staging, intermediate or marts.
    materialized : {'view', 'snapshot'}
        A snapshot replaces its (`as_of`, users in scope) each time.
    depends_on : frozenset of str
        Tables the SELECT reads.
    code_version : str
        Hash of the SQL without comments and layout.
    """

    path: Path
    layer: str
    materialized: Materialization
    owner: str | None
    sql: str
    table: Table
    depends_on: frozenset[str]
    code_version: str

    @property
    def name(self) -> str:
        """Name of the model, its table and its asset."""
        return self.table.name

    @cached_property
    def expression(self) -> exp.Query:
        """The parsed SELECT."""
        return _parse(self.path, self.sql)

    def column_lineage(self, tables: Mapping[str, Table]) -> dict[str, frozenset[tuple[str, str]]]:
        """Which upstream columns each column is made of.

        Parameters
        ----------
        tables : mapping of str to Table
            The tables that the SELECT reads; their columns resolve unqualified names.

        Returns
        -------
        dict of str to frozenset of (table, column)
        """
        from sqlglot.lineage import lineage
        from sqlglot.optimizer.qualify import qualify

        schema = {
            name: {column: spec.type for column, spec in tables[name].columns.items()}
            for name in self.depends_on
        }
        upstream: dict[str, set[tuple[str, str]]] = {column: set() for column in self.table.columns}
        # Branch by branch: sqlglot follows the branches of a union by position, ours are matched by name.
        for branch in _branches(self.expression):
            qualified = qualify(
                branch.copy(), schema=schema, dialect=_DIALECT, validate_qualify_columns=False
            )
            for column in set(branch.named_selects) & upstream.keys():
                for node in lineage(column, qualified, schema=schema, dialect=_DIALECT).walk():
                    if isinstance(node.expression, exp.Table) and node.expression.name in self.depends_on:
                        upstream[column].add((node.expression.name, node.name.rsplit(".", 1)[-1].strip('"')))
        return {column: frozenset(leaves) for column, leaves in upstream.items()}


@dataclass(frozen=True, kw_only=True)
class SqlAudit:
    """One file of ``audits/``: a query that must return no rows."""

    name: str
    model: str
    blocking: bool
    description: str
    sql: str


def load_models(root: Path = SQL_ROOT) -> dict[str, SqlModel]:
    """All models by name.

    Raises
    ------
    ModelError
        A file breaks the conventions, or two files have one name.
    """
    models: dict[str, SqlModel] = {}
    for path in sorted((root / "models").glob("*/*.sql")):
        model = load_model(path)
        if model.name in models:
            raise ModelError(f"{path}: there is another model called {model.name}: {models[model.name].path}")
        models[model.name] = model
    return models


def load_model(path: Path) -> SqlModel:
    """Read one model file."""
    header, sql = _split(path, allowed=_MODEL_KEYS, required={"name", "grain", "materialized", "description"})
    if header["name"] != path.stem:
        raise ModelError(f"{path}: the header's name {header['name']!r} is not the file's name")
    if header["materialized"] not in get_args(Materialization):
        raise ModelError(f"{path}: materialized must be one of {', '.join(get_args(Materialization))}")
    expression = _parse(path, sql)
    return SqlModel(
        path=path,
        layer=path.parent.name,
        materialized=header["materialized"],
        owner=header.get("owner"),
        sql=sql,
        table=Table(
            name=header["name"],
            description=" ".join(header["description"].split()),
            grain=header["grain"],
            columns=_columns(path, expression),
            key=tuple(header.get("key", ())),
            partition_column=header.get("partition_column"),
        ),
        depends_on=_tables_read(expression),
        code_version=_canonical_hash(expression),
    )


def load_audits(root: Path = SQL_ROOT) -> dict[str, list[SqlAudit]]:
    """Audits by the table they examine."""
    audits: dict[str, list[SqlAudit]] = {}
    for path in sorted((root / "audits").glob("*.sql")):
        header, sql = _split(path, allowed=_AUDIT_KEYS, required=_AUDIT_KEYS)
        _parse(path, sql)
        audit = SqlAudit(
            name=path.stem,
            model=header["model"],
            blocking=header["blocking"],
            description=header["description"],
            sql=sql,
        )
        audits.setdefault(audit.model, []).append(audit)
    return audits


def load_macros(root: Path = SQL_ROOT) -> list[str]:
    """The statements that create the SQL functions models use."""
    return [path.read_text(encoding="utf-8") for path in sorted((root / "macros").glob("*.sql"))]


def _split(path: Path, *, allowed: set[str], required: set[str]) -> tuple[dict[str, Any], str]:
    found = _HEADER.match(path.read_text(encoding="utf-8"))
    if not found:
        raise ModelError(f"{path}: the file must start with a /* header */ of YAML")
    try:
        header = yaml.safe_load(found["header"])
    except yaml.YAMLError as error:
        raise ModelError(f"{path}: the header is not YAML: {error}") from None
    if not isinstance(header, dict):
        raise ModelError(f"{path}: the header is not a mapping")
    if missing := required - header.keys():
        raise ModelError(f"{path}: the header lacks {', '.join(sorted(missing))}")
    if unknown := header.keys() - allowed:
        raise ModelError(f"{path}: unknown in the header: {', '.join(sorted(unknown))}")
    return header, found["sql"].rstrip().rstrip(";")


def _parse(path: Path, sql: str) -> exp.Query:
    try:
        expression = sqlglot.parse_one(sql, dialect=_DIALECT)
    except sqlglot.ParseError as error:
        raise ModelError(f"{path}: {error}") from None
    if not isinstance(expression, exp.Query):
        raise ModelError(f"{path}: the file must hold one SELECT")
    return expression


def _columns(path: Path, expression: exp.Query) -> dict[str, Column]:
    """Columns from the casts and comments of the (first) SELECT."""
    columns: dict[str, Column] = {}
    for projection in _branches(expression)[0].selects:
        name, comments = projection.alias_or_name, projection.comments
        if not isinstance(projection, exp.Alias) or not isinstance(projection.this, exp.Cast):
            raise ModelError(f"{path}: column {name!r} is not cast: write cast(… as type) as {name}")
        if not comments:
            raise ModelError(f"{path}: column {name!r} has no comment behind it")
        description = comments[-1].strip()
        columns[name] = Column(
            type=projection.this.to.sql(dialect=_DIALECT),
            description=description.removesuffix(_NULLABLE).strip(),
            nullable=description.endswith(_NULLABLE),
        )
    return columns


def _branches(expression: exp.Expr) -> list[exp.Query]:
    """The SELECTs of a union, or the SELECT itself."""
    if isinstance(expression, exp.SetOperation):
        return [*_branches(expression.left), *_branches(expression.right)]
    return [expression] if isinstance(expression, exp.Query) else []


def _tables_read(expression: exp.Query) -> frozenset[str]:
    own = {cte.alias for cte in expression.find_all(exp.CTE)}
    return frozenset(
        table.name for table in expression.find_all(exp.Table) if table.name and table.name not in own
    )


def _canonical_hash(expression: exp.Query) -> str:
    canonical = expression.sql(dialect=_DIALECT, comments=False, normalize=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]
