"""Reading the SQL models: a file says in its header what it is, and in its SQL what it needs.

Dependencies, columns and column lineage are parsed from the SQL, so that they cannot drift from it. Running a model
belongs to the assets.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import sqlglot
import yaml
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.scope import traverse_scope

from journeys_dagster.errors import JourneysError
from journeys_dagster.sql.audits import Audit
from journeys_dagster.sql.lineage import DIALECT, branches, column_lineage
from journeys_dagster.sql.macros import SQL_ROOT, calls_any, canonical, definitions, load_macros
from journeys_dagster.sql.partials import NoPartialError, Partial, partials_of
from journeys_dagster.sql.per_user import LooksAcrossUsersError, check_per_user
from journeys_dagster.tables import Column, Kind, Per, Table

Materialization = Literal["view", "table", "snapshot"]

_HEADER = re.compile(r"\A\s*/\*(?P<header>.*?)\*/\s*(?P<sql>.*)\Z", re.DOTALL)
_MODEL_KEYS = {
    "name": str,
    "grain": str,
    "materialized": str,
    "per": str,
    "stream": str,
    "union_of": str,
    "description": str,
    "partition_column": str,
    "key": list,
    "order": list,
    "owner": str,
    "group": str,
    "sampled": bool,
    "histogram": str,
    "learnt_from": bool,
    "partial": list,
    "published": bool,
    "needs_everyone": bool,
}
_MODEL_REQUIRED = {"name", "grain", "materialized", "per", "description"}
_AUDIT_KEYS = {"model": str, "blocking": bool, "description": str}
_NULLABLE = "(nullable)"


class ModelError(JourneysError, ValueError, carries_user_text=False):
    """A model or audit file that breaks the conventions; the message names the file and the fault."""


@dataclass(frozen=True, kw_only=True)
class SqlModel:
    """One file of ``models/``: a SELECT and what its header says.

    Attributes
    ----------
    layer : str
        The folder: staging, intermediate or marts.
    group : str
        Where the asset graph shows it: the layer, unless the header names another group.
    materialized : {'view', 'table', 'snapshot'}
        A table is replaced as a whole each time, a snapshot its (`as_of`, users in scope).
    per : {'user', 'population'}
        Per user, a row depends on rows of its user and on tables of the population alone, so users may be computed
        some at a time. What looks across users is of the population.
    stream : str or None
        The stream that the model is a part of.
    union_of : str or None
        The stream whose parts, put together, the SELECT reads under that name.
    sampled : bool
        Whether a sample of rows is shown; not of a view that computes all of them for any.
    histogram : str, optional
        Column of a snapshot whose values are drawn.
    depends_on : frozenset of str
        Tables the SELECT reads.
    code_version : str
        Hash of the SQL without comments and layout, the macros it calls included.
    calls_macros : bool
        Whether the SELECT calls one of the macros it was loaded with.
    needs_everyone : bool
        Whether it reads all users' rows in one warehouse, so that there is no such model where users are split.
    partials : tuple of Partial
        Of a model of the population that looks at users: what shards of users compute of it, each for itself.
    """

    path: Path
    layer: str
    group: str
    materialized: Materialization
    per: Per
    stream: str | None
    union_of: str | None
    owner: str | None
    sampled: bool
    histogram: str | None
    sql: str
    table: Table
    depends_on: frozenset[str]
    code_version: str
    calls_macros: bool
    needs_everyone: bool = False
    partials: tuple[Partial, ...] = ()

    @property
    def name(self) -> str:
        """Name of the model, its table and its asset."""
        return self.table.name

    @property
    def constants(self) -> dict[str, str]:
        """Columns that have one text in every row."""
        return {
            projection.alias: projection.this.this.this
            for projection in _parse(self.path, self.sql).selects
            if isinstance(projection.this, exp.Cast) and projection.this.this.is_string
        }

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
        columns = tuple(
            (name, tuple((column, spec.type) for column, spec in tables[name].columns.items()))
            for name in sorted(self.depends_on)
        )
        upstream = column_lineage(self.sql, columns)
        return {column: upstream.get(column, frozenset()) for column in self.table.columns}


@dataclass(frozen=True, kw_only=True)
class SqlAudit(Audit):
    """One file of ``audits/``.

    Attributes
    ----------
    model : str
        The model or step it examines; a blocking audit that finds rows undoes its write.
    depends_on : frozenset of str
        Tables the query reads.
    """

    model: str
    description: str
    depends_on: frozenset[str]


def load_models(root: Path = SQL_ROOT) -> dict[str, SqlModel]:
    """All models by name.

    Raises
    ------
    ModelError
        A file breaks the conventions, two files have one name, or a model that says it is per user looks across users.
    """
    macros = load_macros(root)
    models: dict[str, SqlModel] = {}
    for path in sorted((root / "models").glob("*/*.sql")):
        model = load_model(path, macros)
        if model.name in models:
            raise ModelError(f"{path}: there is another model called {model.name}: {models[model.name].path}")
        models[model.name] = model
    united = {name: _unite(model, models.values(), macros) for name, model in models.items() if model.union_of}
    models |= united
    population = frozenset(name for name, model in models.items() if model.per == "population")
    for model in models.values():
        if model.per == "user":
            _check_per_user(model.path, model.sql, population)
    return models


def load_model(path: Path, macros: Sequence[str] = ()) -> SqlModel:
    """Read one model file; `macros` define the SQL functions it may call."""
    return _model(path, path.read_text(encoding="utf-8"), tuple(macros))


# The same text is the same model, however often definitions are built in a process.
@cache
def _model(path: Path, text: str, macros: tuple[str, ...]) -> SqlModel:
    header, sql = _split(path, text, keys=_MODEL_KEYS, required=_MODEL_REQUIRED)
    if header["name"] != path.stem:
        raise ModelError(f"{path}: the header's name {header['name']!r} is not the file's name")
    if header["materialized"] not in get_args(Materialization):
        raise ModelError(f"{path}: materialized must be one of {', '.join(get_args(Materialization))}")
    if header["per"] not in get_args(Per):
        raise ModelError(f"{path}: per must be one of {', '.join(get_args(Per))}")
    expression = _parse(path, sql)
    table = Table(
        name=header["name"],
        kind=_kind(header["materialized"], header["per"]),
        description=" ".join(header["description"].split()),
        grain=header["grain"],
        columns=_columns(path, expression),
        key=tuple(header.get("key", ())),
        order=tuple(header.get("order", ())),
        partition_column=header.get("partition_column"),
        learnt_from=header.get("learnt_from", False),
        per=header["per"],
        published=header.get("published", False),
    )
    named = (*table.key, *table.order, *filter(None, [table.partition_column, header.get("histogram")]))
    for name in named:
        if name not in table.columns:
            raise ModelError(f"{path}: the header names {name!r}, which is no column")
    if header["materialized"] == "snapshot" and table.partition_column != "as_of":
        raise ModelError(f"{path}: a snapshot must have partition_column: as_of")
    return SqlModel(
        path=path,
        layer=path.parent.name,
        group=header.get("group", path.parent.name),
        materialized=header["materialized"],
        per=header["per"],
        stream=header.get("stream"),
        union_of=header.get("union_of"),
        owner=header.get("owner"),
        sampled=header.get("sampled", True),
        histogram=header.get("histogram"),
        sql=sql,
        table=table,
        depends_on=_tables_read(expression),
        code_version=_code_version(expression, macros),
        calls_macros=calls_any(expression, macros),
        needs_everyone=header.get("needs_everyone", False),
        partials=_partials(path, expression, header.get("partial", ())),
    )


def _partials(path: Path, expression: exp.Query, names: Sequence[str]) -> tuple[Partial, ...]:
    try:
        return partials_of(expression, names)
    except NoPartialError as error:
        raise ModelError(f"{path}: {error}") from None


def _kind(materialized: Materialization, per: Per) -> Kind:
    if materialized != "snapshot":
        return materialized
    return "snapshot" if per == "user" else "population"


def _unite(model: SqlModel, models: Iterable[SqlModel], macros: Sequence[str]) -> SqlModel:
    """The model with the parts of its stream in place of the stream's name."""
    parts = [part for part in models if part.stream == model.union_of]
    if not parts:
        raise ModelError(f"{model.path}: no model says `stream: {model.union_of}`")
    selects = []
    for part in parts:
        chosen = []
        for name, column in model.table.columns.items():
            given = part.table.columns.get(name)
            if given is None and not column.nullable:
                raise ModelError(f"{part.path}: a part of the stream {model.union_of} must have a column {name!r}")
            if given is not None and given.type != column.type:
                raise ModelError(f"{part.path}: {name} is {given.type}, and {column.type} in {model.name}")
            # With all columns in one order, so that lineage can be followed by place.
            chosen.append(name if given is not None else f"null as {name}")
        selects.append(f"    select {', '.join(chosen)}\n    from {part.name}")
    sql = f"with {model.union_of} as (\n" + "\n    union all by name\n".join(selects) + f"\n)\n\n{model.sql}"
    expression = _parse(model.path, sql)
    return replace(
        model, sql=sql, depends_on=_tables_read(expression), code_version=_code_version(expression, tuple(macros))
    )


@cache
def _check_per_user(path: Path, sql: str, population: frozenset[str]) -> None:
    try:
        check_per_user(_parse(path, sql), population)
    except LooksAcrossUsersError as error:
        raise ModelError(
            f"{path}: the header says `per: user`, but {error}. What is needed of everyone belongs in a model whose "
            "header says `per: population`."
        ) from None


def load_audits(root: Path = SQL_ROOT) -> dict[str, list[SqlAudit]]:
    """Audits by the model or step they examine.

    Raises
    ------
    ModelError
        A file breaks the conventions.
    """
    audits: dict[str, list[SqlAudit]] = {}
    for path in sorted((root / "audits").glob("*.sql")):
        header, sql = _split(path, path.read_text(encoding="utf-8"), keys=_AUDIT_KEYS, required=set(_AUDIT_KEYS))
        expression = _parse(path, sql)
        audit = SqlAudit(
            name=path.stem,
            model=header["model"],
            blocking=header["blocking"],
            description=header["description"],
            sql=sql,
            depends_on=_tables_read(expression),
        )
        audits.setdefault(audit.model, []).append(audit)
    return audits


def _split(path: Path, text: str, *, keys: Mapping[str, type], required: set[str]) -> tuple[dict[str, Any], str]:
    found = _HEADER.match(text)
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
    if unknown := header.keys() - keys.keys():
        raise ModelError(f"{path}: unknown in the header: {', '.join(sorted(map(str, unknown)))}")
    for key, value in header.items():
        if not isinstance(value, keys[key]):
            raise ModelError(f"{path}: {key} in the header must be a {keys[key].__name__}, not {value!r}")
    return header, found["sql"].rstrip().rstrip(";")


def _parse(path: Path, sql: str) -> exp.Query:
    try:
        expression = sqlglot.parse_one(sql, dialect=DIALECT)
    except SqlglotError as error:
        raise ModelError(f"{path}: {error}") from None
    if not isinstance(expression, exp.Query):
        raise ModelError(f"{path}: the file must hold one SELECT")
    return expression


def _columns(path: Path, expression: exp.Query) -> dict[str, Column]:
    """Columns from the casts and comments of the (first) SELECT."""
    columns: dict[str, Column] = {}
    first, *others = branches(expression)
    for projection in first.selects:
        name, comments = projection.alias_or_name, projection.comments
        if not isinstance(projection, exp.Alias) or not isinstance(projection.this, exp.Cast):
            raise ModelError(f"{path}: column {name!r} is not cast: write cast(… as type) as {name}")
        if not comments:
            raise ModelError(f"{path}: column {name!r} has no comment behind it")
        if name in columns:
            raise ModelError(f"{path}: there are two columns {name!r}")
        description = comments[-1].strip()
        columns[name] = Column(
            type=projection.this.to.sql(dialect=DIALECT),
            description=description.removesuffix(_NULLABLE).strip(),
            nullable=description.endswith(_NULLABLE),
        )
    _check_union(path, expression)
    required = {name for name, column in columns.items() if not column.nullable}
    for branch in others:
        names = set(branch.named_selects)
        if missing := required - names:
            raise ModelError(f"{path}: a later SELECT of the union lacks {', '.join(sorted(missing))}")
        if unknown := names - columns.keys():
            raise ModelError(f"{path}: a later SELECT of the union adds {', '.join(sorted(unknown))}")
    return columns


def _check_union(path: Path, expression: exp.Expr) -> None:
    if isinstance(expression, exp.SetOperation):
        if not expression.args.get("by_name"):
            raise ModelError(f"{path}: SELECTs are put together by union [all] by name only")
        _check_union(path, expression.left)
        _check_union(path, expression.right)


def tables_of(*queries: str) -> frozenset[str]:
    """Tables that queries of a step read; a query may hold the condition ``{of_batch}``."""
    parsed = (sqlglot.parse_one(sql.replace("{of_batch}", "true"), dialect=DIALECT) for sql in queries)
    return frozenset(name for query in parsed if isinstance(query, exp.Query) for name in _tables_read(query))


def _tables_read(expression: exp.Query) -> frozenset[str]:
    return frozenset(
        source.name
        for scope in traverse_scope(expression)
        for source in scope.sources.values()
        if isinstance(source, exp.Table) and source.name
    )


def _code_version(expression: exp.Query, macros: tuple[str, ...]) -> str:
    # A macro may call another one, so a model that calls one depends on all of them.
    called = definitions(macros) if calls_any(expression, macros) else ()
    return hashlib.sha256(";".join([canonical(expression), *called]).encode()).hexdigest()[:12]
