"""How an asset is declared: a thin wrapper of `dg.asset`, in the asset's own file.

The decorator adds what every asset has: partitions, backfill policy, pool, owner, kinds, code version, columns and
grain, and the model's audits as checks. What depends on settings, such as the first partition, is known only when a
code location is put together, so a decorated function is a declaration that `definitions.py` builds.
"""

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, TypedDict, Unpack

import dagster as dg
import polars as pl

from journeys_dagster.inference.algorithm import Algorithm
from journeys_dagster.inference.embedding import TextEmbedder
from journeys_dagster.inference.fingerprint import step_version
from journeys_dagster.llm.client import LLM
from journeys_dagster.orchestration.checks import audit_specs, llm_check, llm_spec
from journeys_dagster.orchestration.metadata import row_metadata, table_metadata
from journeys_dagster.orchestration.sharded import gather, materialize_sharded
from journeys_dagster.resources.landing_zone import LandingZone
from journeys_dagster.resources.shards import Shards
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import Settings
from journeys_dagster.sql.models import SqlAudit, tables_of
from journeys_dagster.tables import Per, Table

OWNER = "team:journeys"
WAREHOUSE_POOL = "warehouse"
"""Dagster's pool of all that write to the warehouse: one run at a time, see `dagster.yaml`."""

Results = Iterator[dg.MaterializeResult | dg.AssetCheckResult]
Condition = Callable[["Location"], dg.AutomationCondition]


@dataclass(frozen=True, kw_only=True)
class Location:
    """What all assets of a code location share.

    Attributes
    ----------
    algorithm : Algorithm
        What decides results, as the settings and the code of this location have it.
    assets : frozenset of str
        Names of all assets.
    tables : mapping of str to Table
        All tables and views by name.
    audits : mapping of str to sequence of SqlAudit
        By the table they examine.
    key_prefix : sequence of str
        What the keys of all assets begin with.
    group_names : mapping of str to str
        Names of groups in the place of those that assets declare.
    views : mapping of str to frozenset of str
        Views, and the tables that they read.
    """

    settings: Settings
    partitions_def: dg.PartitionsDefinition
    algorithm: Algorithm
    assets: frozenset[str]
    tables: Mapping[str, Table] = field(default_factory=dict)
    audits: Mapping[str, Sequence[SqlAudit]] = field(default_factory=dict)
    views: Mapping[str, frozenset[str]] = field(default_factory=dict)
    key_prefix: Sequence[str] = ()
    group_names: Mapping[str, str] = field(default_factory=dict)

    def key(self, name: str) -> dg.AssetKey:
        """The key of an asset here."""
        return dg.AssetKey([*self.key_prefix, name])

    def step(self, name: str) -> str:
        """The name of the step that makes an asset, by which a run is configured."""
        return self.key(name).to_python_identifier()

    def select(self, assets: Iterable["Asset"]) -> dg.AssetSelection:
        """Assets by their keys: others may have groups of the same names."""
        return dg.AssetSelection.assets(*(self.key(asset.name) for asset in assets))


@dataclass(frozen=True, kw_only=True)
class Run:
    """What an asset is handed when it is materialised.

    Attributes
    ----------
    days : sequence of date
        The partitions of the run, in order; empty for an asset without partitions.
    location : Location
        The code location.
    warehouse : Warehouse
    embedder, landing_zone, llm, config, instance : optional
        Where the asset asks for them; `llm` only where a use of it that the asset names is turned on.
    log : callable
        Takes a line for the run's log.
    warn : callable
        Takes a line that whoever started the run is told.
    shards : Shards or None
        Where users are split, the driver has their shards.
    shard : int or None
        Where users are split, the number of the shard that the warehouse is of; none in the driver.
    shows : bool
        Whether plots are drawn, and what is not of the shard's own rows is checked: one of several shards does it.
    """

    days: Sequence[date]
    location: Location
    warehouse: Warehouse
    embedder: TextEmbedder | None = None
    landing_zone: LandingZone | None = None
    llm: LLM | None = None
    config: Any = None
    instance: dg.DagsterInstance | None = None
    log: Callable[[str], object] = lambda _: None
    warn: Callable[[str], object] = lambda _: None
    shards: Shards | None = None
    shard: int | None = None
    shows: bool = True

    @property
    def settings(self) -> Settings:
        """The settings."""
        return self.location.settings

    @property
    def landing(self) -> LandingZone:
        """The landing zone, of an asset that asks for it."""
        if self.landing_zone is None:
            raise LookupError("the asset does not ask for the landing zone: add it to `needs`")
        return self.landing_zone

    @property
    def vectors(self) -> TextEmbedder:
        """The embedder, of an asset that asks for it."""
        if self.embedder is None:
            raise LookupError("the asset does not ask for the embedder: add it to `needs`")
        return self.embedder

    def of_users(self, sql: str, params: Mapping[str, Any], *, merge: str, partial: str | None = None) -> pl.DataFrame:
        """Rows of a query that looks across users.

        Parameters
        ----------
        merge : str
            Where users are split: what makes these rows of ``parts``, the rows of each shard.
        partial : str, optional
            What each shard gives for it. Default: the same query.
        """
        if self.shards is None:
            return self.warehouse.query(sql, params)
        return gather(self, self.shards, partial or sql, params, merge=merge)


@dataclass(frozen=True, kw_only=True)
class Asset:
    """One asset as its file declares it.

    Attributes
    ----------
    table : Table or None
        What it fills; none for an operation.
    materialize : callable
        Takes a `Run` and yields Dagster's results.
    deps : frozenset of str
        Tables that are read; those that are no asset are left out when the asset is built.
    checks : sequence of AssetCheckSpec
        Besides the table's audits.
    needs : frozenset of str
        Resources besides the warehouse and settings: ``embedder``, ``landing_zone``.
    llm : tuple of str
        Switches of ``[llm]``: with one of them on, the asset is handed a language model.
    only_with_llm : bool
        Whether there is no such asset while these are off.
    only_with : callable, optional
        Takes the settings; says whether there is such an asset.
    partitioned : bool
        Whether it has a partition per day.
    decides : bool
        Whether it has a part in what is inferred, and so in `algorithm_version`.
    condition : callable, optional
        When it is materialised by itself; takes the location.
    per : str or None
        What an operation without a table is of: of each user, or of everyone.
    gathers : bool
        Whether it knows by itself what to do where users are split: it asks shards, or hands rows to them.
    needs_everyone : bool
        Whether it reads all users' rows in one warehouse, so that there is no such asset where users are split.
    """

    name: str
    description: str
    table: Table | None
    materialize: Callable[[Run], Results]
    module: str
    group: str
    kinds: frozenset[str]
    deps: frozenset[str] = frozenset()
    checks: Sequence[dg.AssetCheckSpec] = ()
    needs: frozenset[str] = frozenset()
    llm: tuple[str, ...] = ()
    only_with_llm: bool = False
    only_with: Callable[[Settings], bool] | None = None
    partitioned: bool = True
    config: type[dg.Config] | None = None
    decides: bool = True
    condition: Condition | None = None
    owner: str = OWNER
    code_version: str | None = None
    per: Per | None = None
    gathers: bool = False
    needs_everyone: bool = False

    @property
    def is_per_user(self) -> bool:
        """Whether its rows are of one user each."""
        return self.table.is_per_user if self.table is not None else self.per == "user"

    def uses_llm(self, settings: Settings) -> bool:
        """Whether a use of the language model that the asset names is turned on."""
        return any(getattr(settings.llm, switch) for switch in self.llm)

    def is_in_use(self, settings: Settings) -> bool:
        """Whether the code location has it."""
        if self.needs_everyone and settings.run.shards > 1:
            return False
        if self.only_with is not None:
            return self.only_with(settings)
        return self.uses_llm(settings) or not self.only_with_llm

    def build(self, location: Location) -> dg.AssetsDefinition:
        """The asset as Dagster has it."""
        key, with_llm = location.key(self.name), self.uses_llm(location.settings)
        audits = location.audits.get(self.name, ())
        checks = [*audit_specs(self.name, audits), *self.checks, *([llm_spec(self.name)] if with_llm else [])]

        def materialize(context: dg.AssetExecutionContext, config: dg.Config | None = None) -> Results:
            run = self._run(context, location, config, with_llm=with_llm)
            if run.shards is not None:
                yield from materialize_sharded(self, run, run.shards)
            else:
                yield from self.materialize(run)

        return dg.asset(
            key=key,
            deps=[location.key(name) for name in sorted((self.deps & location.assets) - {self.name})],
            required_resource_keys={
                "warehouse",
                *self.needs,
                *({"llm"} if with_llm else ()),
                *({"shards"} if location.settings.run.shards > 1 else ()),
            },
            partitions_def=location.partitions_def if self.partitioned else None,
            backfill_policy=dg.BackfillPolicy.single_run() if self.partitioned else None,
            description=self.description,
            group_name=location.group_names.get(self.group, self.group),
            kinds={"duckdb", *self.kinds, *({"openai"} if with_llm else ())},
            pool=WAREHOUSE_POOL,
            owners=[self.owner],
            code_version=self.code_version or step_version(self.module),
            metadata=table_metadata(self.table) if self.table else None,
            automation_condition=self.condition(location) if self.condition else None,
            check_specs=[check.replace_key(dg.AssetCheckKey(key, check.name)) for check in checks] or None,
        )(_with_config(materialize, self.config))

    def _run(self, context: dg.AssetExecutionContext, location: Location, config: object, *, with_llm: bool) -> Run:
        resources = context.resources
        return Run(
            days=[date.fromisoformat(key) for key in context.partition_keys] if self.partitioned else [],
            location=location,
            warehouse=resources.warehouse,
            embedder=resources.embedder if "embedder" in self.needs else None,
            landing_zone=resources.landing_zone if "landing_zone" in self.needs else None,
            llm=resources.llm() if with_llm else None,
            config=config,
            instance=context.instance,
            shards=resources.shards if location.settings.run.shards > 1 else None,
            log=context.log.info,
            warn=context.log.warning,
        )


class Declared(TypedDict, total=False):
    """Attributes of `Asset` that a decorator passes on."""

    checks: Sequence[dg.AssetCheckSpec]
    needs: frozenset[str]
    llm: tuple[str, ...]
    only_with_llm: bool
    only_with: Callable[[Settings], bool]
    config: type[dg.Config]
    decides: bool
    condition: Condition
    partitioned: bool
    per: Per
    gathers: bool
    needs_everyone: bool


def table_asset(
    table: Table | None,
    *,
    kinds: set[str],
    group: str = "inference",
    sql: Sequence[str] = (),
    deps: Sequence[str] = (),
    **declared: Unpack[Declared],
) -> Callable[[Callable[[Run], dg.MaterializeResult]], Asset]:
    """Declare an asset by a function that fills its table and says what is to be shown of it.

    Row and user counts and a sample of the newest day are added to what the function shows, and what a language model
    took.

    Parameters
    ----------
    table : Table or None
        What the asset fills.
    sql : sequence of str
        Queries that the function runs: the tables they read are dependencies.
    deps : sequence of str
        Tables that are read besides.
    declared
        Further attributes of `Asset`.
    """

    def declare(function: Callable[[Run], dg.MaterializeResult]) -> Asset:
        @functools.wraps(function)
        def materialize(run: Run) -> Results:
            result = function(run)
            shown = dict(result.metadata or {})
            checks = list(result.check_results or [])
            if run.days and table is not None and "dagster/row_count" not in shown:
                shown = row_metadata(run.warehouse, table, run.days[-1].isoformat()) | shown
            if run.llm is not None:
                shown |= run.llm.usage.figures()
                checks.append(llm_check(run.llm.usage))
            yield dg.MaterializeResult(metadata=shown, check_results=checks)

        declared.setdefault("partitioned", table is not None and table.kind != "trained")
        return Asset(
            name=table.name if table else function.__name__,
            description=described(table) if table else text_of(function),
            table=table,
            materialize=materialize,
            module=function.__module__,
            group=group,
            kinds=frozenset(kinds),
            deps=tables_of(*sql) | set(deps),
            **declared,
        )

    return declare


def described(table: Table) -> str:
    """An asset's description: what the table is for, and its grain."""
    return f"{table.description} Grain: {table.grain}."


def text_of(function: Callable[..., object]) -> str:
    """A function's docstring on one line."""
    return " ".join((inspect.getdoc(function) or "").split())


def _with_config(materialize: Callable[..., Results], config_type: type[dg.Config] | None) -> Callable[..., Results]:
    """The function with the parameters that Dagster is to see."""
    if config_type is None:

        def without_config(context: dg.AssetExecutionContext) -> Results:
            yield from materialize(context)

        return without_config

    def with_config(context: dg.AssetExecutionContext, config: dg.Config) -> Results:
        yield from materialize(context, config=config)

    with_config.__annotations__["config"] = config_type
    return with_config
