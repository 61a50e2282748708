"""How a snapshot of users is declared: what it reads, and a pure function that computes its new rows.

Frames are read for one batch of users at a time, rows are computed from them alone, and exactly the rows of (`as_of`,
users in scope) are replaced for every partition of the run.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial
from typing import Any, Unpack

import dagster as dg
import polars as pl

from journeys_dagster.inference.frames import Compute, Frames
from journeys_dagster.llm.client import LLM, Progress
from journeys_dagster.orchestration.asset import Asset, Declared, Results, Run, described, text_of
from journeys_dagster.orchestration.checks import (
    llm_check,
    merge_check_results,
    model_fits_result,
    model_fits_spec,
)
from journeys_dagster.orchestration.metadata import plot as plot_metadata
from journeys_dagster.orchestration.metadata import row_metadata
from journeys_dagster.orchestration.run_config import EVERYONE
from journeys_dagster.resources.engine import LocalEngine, engine_in_use, one_ahead
from journeys_dagster.resources.trained_models import model_misfit
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import Settings
from journeys_dagster.sql.audits import AuditFailedError, AuditResult
from journeys_dagster.sql.connection import used_params
from journeys_dagster.sql.models import SqlAudit, tables_of
from journeys_dagster.tables import Column, Table, snapshot_columns

OF_BATCH = "{of_batch}"
"""Where a query is limited to the users of a batch."""
Read = Callable[["Snapshot", int, dict[str, pl.DataFrame]], Frames]
Plot = Callable[[Warehouse, date], tuple[bytes, str]]

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
        """Rows of a query that names ``$as_of`` and, if it is of users, the condition ``{of_batch}``.

        It may have `params` of its own. Where everyone is in scope and the query joins nothing, the rows come in the
        order in which the table has them.
        """
        params = {**(params or {}), "as_of": self.as_of}
        if OF_BATCH not in sql and "$first_user" not in sql:
            return self.warehouse.query(sql, used_params(sql, params))
        # Tables lie in the order of users, so the bounds keep DuckDB from reading what other batches hold.
        first, last = self.batches[batch]
        bounds = "user_id between $first_user and $last_user"
        params |= {"first_user": first, "last_user": last}
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
class SnapshotAsset(Asset):
    """An asset of `snapshot_asset`, whose parameters these attributes are."""

    table: Table
    compute: Compute
    reads: Mapping[str, str] = field(default_factory=dict)
    read: Read | None = None
    model: Table | None = None
    empty_until_trained: Sequence[Table] = ()
    heavy: bool = False
    count: Callable[[pl.DataFrame], Mapping[str, float]] | None = None
    plot: Plot | None = None
    example: Callable[[Snapshot], tuple[bytes, str]] | None = None
    materialize: Callable[[Run], Results] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "materialize", partial(_materialize, self))

    def frames(self, snapshot: Snapshot, batch: int) -> Frames:
        """What `compute` needs of a batch of users."""
        # A language model that is asked while a step reads keeps its answers in the same file.
        with snapshot.warehouse.read() if snapshot.llm is None else nullcontext():
            frames = {name: snapshot.read(sql, batch=batch) for name, sql in self.reads.items()}
            return frames if self.read is None else self.read(snapshot, batch, frames)


def snapshot_asset(
    *,
    grain: str,
    columns: Mapping[str, Column],
    key: tuple[str, ...],
    reads: Mapping[str, str] | None = None,
    read: Read | None = None,
    deps: Sequence[str] = (),
    model: Table | None = None,
    empty_until_trained: Sequence[Table] = (),
    kinds: set[str],
    heavy: bool = False,
    count: Callable[[pl.DataFrame], Mapping[str, float]] | None = None,
    plot: Plot | None = None,
    example: Callable[[Snapshot], tuple[bytes, str]] | None = None,
    of_every_user: bool = True,
    **declared: Unpack[Declared],
) -> Callable[[Compute], SnapshotAsset]:
    """Declare a snapshot of users by the pure function that computes it; its docstring describes the asset.

    Parameters
    ----------
    columns : mapping of str to Column
        The table's columns besides those that every snapshot has.
    reads : mapping of str to str
        Queries by the name of the frame they give, see `Snapshot.read`. The tables they read are dependencies.
    read : callable, optional
        Adds to these frames what SQL alone does not say; takes the snapshot, the batch's number and the frames.
    deps : sequence of str
        Tables that `read` reads.
    model : Table, optional
        That of the trained model which is used where there is one that fits; a check says so where it does not.
    empty_until_trained : sequence of Table
        Tables that training fills, which are read as empty before.
    heavy : bool
        Whether the engine that is set computes it; else this process does.
    count : callable, optional
        Takes the new rows of a batch; returns figures to be shown, which add up over batches.
    plot : callable, optional
        Takes the warehouse and a day; returns a PNG and what it shows.
    example : callable, optional
        Takes the snapshot; returns a PNG of one user's rows and what it shows.
    of_every_user : bool
        As `Table.of_every_user`.
    declared
        Further attributes of `Asset`.
    """

    def declare(compute: Compute) -> SnapshotAsset:
        table = Table(
            name=compute.__name__,
            kind="snapshot",
            description=text_of(compute),
            grain=grain,
            columns=snapshot_columns(columns),
            key=key,
            partition_column="as_of",
            of_every_user=of_every_user,
        )
        trained = [each.name for each in (model, *empty_until_trained) if each is not None]
        if model is not None:
            declared["checks"] = [*declared.get("checks", ()), model_fits_spec(table.name)]
        return SnapshotAsset(
            name=table.name,
            description=described(table),
            table=table,
            compute=compute,
            module=compute.__module__,
            group="inference",
            kinds=frozenset({"python", *kinds}),
            deps=tables_of(*(reads or {}).values()) | {*deps, *trained, "users_in_scope"},
            reads=reads or {},
            read=read,
            model=model,
            empty_until_trained=empty_until_trained,
            heavy=heavy,
            count=count,
            plot=plot,
            example=example,
            **declared,
        )

    return declare


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


def replace_step(
    step: SnapshotAsset,
    snapshot: Snapshot,
    audits: Sequence[SqlAudit] = (),
    *,
    log: Callable[[str], object] | None = None,
) -> list[AuditResult]:
    """Compute a step batch by batch, replace its rows of (`as_of`, users in scope), and run its audits."""
    snapshot.warehouse.create_missing([step.table, *step.empty_until_trained])
    with closing(_rows(step, snapshot, log)) as rows:
        return snapshot.warehouse.replace_snapshot(
            step.table, rows, as_of=snapshot.as_of, constants=snapshot.constants, audits=audits
        )


def _rows(
    step: SnapshotAsset, snapshot: Snapshot, log: Callable[[str], object] | None
) -> Generator[pl.DataFrame, None, None]:
    engine = engine_in_use(snapshot.settings, snapshot.warehouse) if step.heavy else LocalEngine(side_by_side=2)
    compute = partial(step.compute, as_of=snapshot.as_of, settings=snapshot.settings)
    # One batch is read while another is computed and a third one put on disk.
    read = one_ahead(step.frames(snapshot, batch) for batch in range(len(snapshot.batches)))
    with closing(read), closing(one_ahead(engine.map(compute, read))) as computed:
        for batch, rows in enumerate(computed):
            for name, value in (step.count(rows) if step.count is not None else {}).items():
                snapshot.note(name, value)
            yield rows
            if log is not None and len(snapshot.batches) > 1:
                log(f"{snapshot.as_of}: user batch {batch + 1} of {len(snapshot.batches)} done")


def _materialize(step: SnapshotAsset, run: Run) -> Results:
    """Replace the snapshot of each day of a run, with the table's audits as checks."""
    warehouse, settings = run.warehouse, run.settings
    audits = run.location.audits.get(step.name, ())
    notes: dict[str, float] = {}
    checked: dict[str, Sequence[AuditResult]] = {}
    for day in run.days:
        snapshot = open_snapshot(warehouse, settings, day)
        if run.llm is not None:
            snapshot = replace(snapshot, llm=run.llm, progress=_every_tenth(run.log, f"{day}: "))
        try:
            checked[day.isoformat()] = replace_step(step, snapshot, audits, log=run.log)
        except AuditFailedError as error:
            yield from merge_check_results(checked | {day.isoformat(): error.results})
            raise dg.Failure(f"{day}: {error}", allow_retries=False) from None
        notes = snapshot.notes
    newest = run.days[-1]
    with warehouse.read():
        metadata: dict[str, Any] = row_metadata(warehouse, step.table, newest.isoformat()) | notes
        if step.plot is not None and run.shows:
            png, alt = step.plot(warehouse, newest)
            metadata["plot"] = plot_metadata(png, alt=alt)
        if step.example is not None and run.shows:
            png, alt = step.example(open_snapshot(warehouse, settings, newest))
            metadata["example"] = plot_metadata(png, alt=alt)
    results = merge_check_results(checked)
    if step.model is not None:
        results.append(model_fits_result(step.name, model_misfit(warehouse, settings, step.model, newest)))
    if run.llm is not None:
        metadata |= run.llm.usage.figures()
        results.append(llm_check(run.llm.usage))
    yield dg.MaterializeResult(metadata=metadata, check_results=results)


def _every_tenth(log: Callable[[str], object], prefix: str) -> Progress:
    """Progress that is logged at each tenth of the inputs."""
    last = 0

    def progress(done: int, inputs: int) -> None:
        nonlocal last
        if (tenth := 10 * done // max(inputs, 1)) != last:
            last = tenth
            log(f"{prefix}{done:,} of {inputs:,} inputs of the language model done")

    return progress
