"""How a step that is written in Python becomes a snapshot asset.

A step reads frames from a `Snapshot`, user batch by user batch, and computes its new rows from them alone. It becomes
an asset that replaces exactly the rows of (`as_of`, users in scope) for every partition of the run.
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial
from typing import Any

import dagster as dg
import polars as pl

from journeys_dagster.inference.fingerprint import step_version
from journeys_dagster.inference.steps import Compute, Frames
from journeys_dagster.llm.client import LLM, Progress
from journeys_dagster.orchestration.checks import audit_specs, model_fits_result, model_fits_spec, runnable
from journeys_dagster.orchestration.language_models import answered_check, answered_spec, every_tenth
from journeys_dagster.orchestration.metadata import (
    OWNER,
    WAREHOUSE_POOL,
    merge_check_results,
    plot,
    row_metadata,
    table_metadata,
)
from journeys_dagster.orchestration.run_config import EVERYONE
from journeys_dagster.resources.audits import AuditFailedError, AuditResult
from journeys_dagster.resources.engine import LocalEngine, engine_in_use
from journeys_dagster.resources.llm import LLMResource
from journeys_dagster.resources.read_ahead import one_ahead
from journeys_dagster.resources.trained_models import model_misfit
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import Settings
from journeys_dagster.sql.models import SqlAudit
from journeys_dagster.tables import Column, Table, snapshot_columns

_USERS = "select user_id from users_in_scope where as_of = $as_of and batch = $batch"


@dataclass(frozen=True)
class Snapshot:
    """What a step sees: the warehouse as of a day, user batch by user batch.

    Attributes
    ----------
    batches : sequence of (str, str)
        First and last user of each batch, in order.
    notes : dict
        Figures a step wants shown beside its rows; numbers add up over batches.
    llm : LLM or None
        The language model, where the step is to use one.
    progress : callable or None
        Called with inputs that the model has been asked about and inputs there are.
    """

    as_of: date
    warehouse: Warehouse
    settings: Settings
    constants: Mapping[str, str]
    batches: Sequence[tuple[str, str]]
    notes: dict[str, float] = field(default_factory=dict)
    llm: LLM | None = None
    progress: Progress | None = None
    _read_last: dict[int, pl.Series] = field(default_factory=dict)

    def read(self, sql: str, *, batch: int, params: Mapping[str, object] | None = None) -> pl.DataFrame:
        """Rows of a query that names ``$as_of`` and the condition ``{of_batch}``: a user in scope of one batch.

        It may have `params` of its own. Where everyone is in scope and the query joins nothing, the rows come in the
        order in which the table has them.
        """
        # Tables lie in the order of users, so the bounds keep DuckDB from reading what other batches hold.
        first, last = self.batches[batch]
        bounds = "user_id between $first_user and $last_user"
        params = {**(params or {}), "as_of": self.as_of, "first_user": first, "last_user": last}
        if self.constants["scope"] != EVERYONE:
            return self.warehouse.query(
                sql.format(of_batch=f"{bounds} and user_id in ({_USERS})"), params | {"batch": batch}
            )
        rows = self.warehouse.query(sql.format(of_batch=bounds), params)
        if "user_id" not in rows.columns:
            return rows
        # Batches need not be spans of users, nor need a snapshot be of no one else.
        found = rows["user_id"].rle().struct.field("value").unique()
        strays = found.filter(~found.is_in(self._users(batch).implode()))
        return rows.filter(~pl.col("user_id").is_in(strays.implode())) if len(strays) else rows

    def _users(self, batch: int) -> pl.Series:
        """Users of a batch; those of the last one are kept, as a step reads several tables of it."""
        if batch not in self._read_last:
            self._read_last.clear()
            self._read_last[batch] = self.warehouse.query(_USERS, {"as_of": self.as_of, "batch": batch})["user_id"]
        return self._read_last[batch]

    def note(self, name: str, value: float) -> None:
        """Add to a figure that is shown with the materialisation."""
        self.notes[name] = self.notes.get(name, 0) + value


@dataclass(frozen=True, kw_only=True)
class SnapshotStep:
    """A step's declaration, one per file of this package.

    Attributes
    ----------
    columns : mapping of str to Column
        The table's columns besides those that every snapshot has.
    deps : sequence of str
        Assets the step reads.
    read : callable
        Takes the snapshot and the number of a user batch; returns what `compute` needs of the warehouse.
    compute : callable
        Takes those frames, the day and the settings; returns new rows with ``user_id`` and `columns`. Pure.
    is_heavy : bool
        Whether the engine that is set computes it; else this process does.
    count : callable, optional
        Takes the new rows of a batch; returns figures to be shown, which add up over batches.
    draw : callable, optional
        Takes the warehouse and a day; returns a PNG and what it shows.
    draw_example : callable, optional
        Takes the snapshot; returns a PNG of one user's rows and what it shows.
    model : Table, optional
        That of the trained model it uses; a check says so where the newest one does not fit.
    """

    name: str
    description: str
    grain: str
    columns: Mapping[str, Column]
    key: tuple[str, ...]
    deps: Sequence[str]
    kinds: frozenset[str]
    read: Callable[[Snapshot, int], Frames]
    compute: Compute
    is_heavy: bool = False
    count: Callable[[pl.DataFrame], Mapping[str, float]] | None = None
    draw: Callable[[Warehouse, date], tuple[bytes, str]] | None = None
    draw_example: Callable[[Snapshot], tuple[bytes, str]] | None = None
    model: Table | None = None

    @property
    def table(self) -> Table:
        """The step's table."""
        return Table(
            name=self.name,
            description=self.description,
            grain=self.grain,
            columns=snapshot_columns(self.columns),
            key=self.key,
            partition_column="as_of",
        )


def open_snapshot(warehouse: Warehouse, settings: Settings, as_of: date) -> Snapshot:
    """The snapshot of a day, with the scope that `users_in_scope` set for it."""
    scope = warehouse.query(
        "select any_value(scope) as scope, any_value(algorithm_version) as algorithm_version, "
        "min(user_id) as first_user, max(user_id) as last_user "
        "from users_in_scope where as_of = $as_of group by batch order by batch",
        {"as_of": as_of},
    )
    constants = {name: str(scope[name].first() or "") for name in ("scope", "algorithm_version")}
    return Snapshot(as_of, warehouse, settings, constants, scope.select("first_user", "last_user").rows())


def build_snapshot_asset(
    step: SnapshotStep,
    audits: Sequence[SqlAudit] = (),
    *,
    partitions_def: dg.PartitionsDefinition,
    asks_llm: bool = False,
) -> dg.AssetsDefinition:
    """The asset that replaces a step's snapshot for every partition of a run, with its audits as checks.

    Parameters
    ----------
    asks_llm : bool
        Whether the step uses a language model.
    """
    table = step.table
    asset = dg.asset(
        name=step.name,
        deps=list(step.deps),
        partitions_def=partitions_def,
        backfill_policy=dg.BackfillPolicy.single_run(),
        description=f"{step.description} Grain: {step.grain}.",
        group_name="inference",
        kinds={"python", "duckdb", *step.kinds, *(("openai",) if asks_llm else ())},
        pool=WAREHOUSE_POOL,
        owners=[OWNER],
        code_version=step_version(step.name),
        metadata=table_metadata(table),
        check_specs=[
            *audit_specs(step.name, audits),
            *([model_fits_spec(step.name)] if step.model is not None else []),
            *([answered_spec(step.name)] if asks_llm else []),
        ]
        or None,
    )

    def _materialize(
        context: dg.AssetExecutionContext, warehouse: Warehouse, settings: Settings, llm: LLM | None
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        notes: dict[str, float] = {}
        checked: dict[str, Sequence[AuditResult]] = {}
        for partition_key in context.partition_keys:
            snapshot = open_snapshot(warehouse, settings, date.fromisoformat(partition_key))
            if llm is not None:
                snapshot = replace(snapshot, llm=llm, progress=every_tenth(context.log.info, f"{partition_key}: "))
            try:
                checked[partition_key] = replace_step(step, snapshot, audits, log=context.log.info)
            except AuditFailedError as error:
                yield from merge_check_results(checked | {partition_key: error.results})
                raise dg.Failure(f"{partition_key}: {error}", allow_retries=False) from None
            notes = snapshot.notes
        newest = context.partition_keys[-1]
        with warehouse.read():
            metadata: dict[str, Any] = row_metadata(warehouse, table, newest) | notes
            if step.draw is not None:
                png, alt = step.draw(warehouse, date.fromisoformat(newest))
                metadata["plot"] = plot(png, alt=alt)
            if step.draw_example is not None:
                png, alt = step.draw_example(open_snapshot(warehouse, settings, date.fromisoformat(newest)))
                metadata["example"] = plot(png, alt=alt)
            misfit = model_misfit(warehouse, settings, step.model, date.fromisoformat(newest)) if step.model else ""
        results = merge_check_results(checked)
        if step.model is not None:
            results.append(model_fits_result(step.name, misfit))
        if llm is not None:
            metadata |= llm.usage.figures()
            results.append(answered_check(llm.usage))
        yield dg.MaterializeResult(metadata=metadata, check_results=results)

    if asks_llm:

        @asset
        def _snapshot_with_llm(
            context: dg.AssetExecutionContext,
            warehouse: Warehouse,
            settings: dg.ResourceParam[Settings],
            llm: dg.ResourceParam[LLMResource],
        ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
            yield from _materialize(context, warehouse, settings, llm.client())

        return _snapshot_with_llm

    @asset
    def _snapshot(
        context: dg.AssetExecutionContext, warehouse: Warehouse, settings: dg.ResourceParam[Settings]
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        yield from _materialize(context, warehouse, settings, None)

    return _snapshot


def replace_step(
    step: SnapshotStep,
    snapshot: Snapshot,
    audits: Sequence[SqlAudit] = (),
    *,
    log: Callable[[str], object] | None = None,
) -> list[AuditResult]:
    """Compute a step batch by batch, replace its rows of (`as_of`, users in scope), and run its audits."""
    with closing(_frames(step, snapshot, log)) as frames:
        return snapshot.warehouse.replace_snapshot(
            step.table, frames, as_of=snapshot.as_of, constants=snapshot.constants, audits=runnable(audits)
        )


def _frames(
    step: SnapshotStep, snapshot: Snapshot, log: Callable[[str], object] | None
) -> Generator[pl.DataFrame, None, None]:
    engine = engine_in_use(snapshot.settings, snapshot.warehouse) if step.is_heavy else LocalEngine(side_by_side=2)
    compute = partial(step.compute, as_of=snapshot.as_of, settings=snapshot.settings)
    # One batch is read while another is computed and a third one put on disk.
    read = one_ahead(_read(step, snapshot, batch) for batch in range(len(snapshot.batches)))
    with closing(read), closing(one_ahead(engine.map(compute, read))) as computed:
        for batch, rows in enumerate(computed):
            for name, value in (step.count(rows) if step.count is not None else {}).items():
                snapshot.note(name, value)
            yield rows
            if log is not None and len(snapshot.batches) > 1:
                log(f"{snapshot.as_of}: user batch {batch + 1} of {len(snapshot.batches)} done")


def _read(step: SnapshotStep, snapshot: Snapshot, batch: int) -> Frames:
    # A language model that is asked while a step reads keeps its answers in the same file.
    with snapshot.warehouse.read() if snapshot.llm is None else nullcontext():
        return step.read(snapshot, batch)
