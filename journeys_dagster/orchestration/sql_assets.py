"""The files of `dbt_like_sql/models` as assets: what a file says in its header and SQL is all there is to declare."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import dagster as dg

from journeys_dagster.orchestration.asset import OWNER, Asset, Results, Run, described
from journeys_dagster.orchestration.checks import merge_check_results
from journeys_dagster.orchestration.metadata import column_lineage, plot, row_metadata, sample_metadata
from journeys_dagster.orchestration.sharded import with_parts
from journeys_dagster.reporting.plots import histogram
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.sources.parameters import query_parameters
from journeys_dagster.sql.audits import AuditFailedError, AuditResult
from journeys_dagster.sql.macros import load_macros
from journeys_dagster.sql.models import SqlAudit, SqlModel


def sql_asset(model: SqlModel) -> Asset:
    """The asset of one SQL model.

    Audits run inside the write: a blocking one that finds rows undoes it.
    """
    return Asset(
        name=model.name,
        description=f"{described(model.table)}\n\n```sql\n{model.sql}\n```",
        table=model.table,
        materialize=partial(_materialize, model),
        module="",
        group=model.group,
        kinds=frozenset({"sql", "view" if model.table.kind == "view" else "table"}),
        deps=model.depends_on,
        owner=model.owner or OWNER,
        code_version=model.code_version,
        gathers=bool(model.partials),
        needs_everyone=model.needs_everyone,
    )


def replace_model(
    warehouse: Warehouse, model: SqlModel, audits: Sequence[SqlAudit], params: Mapping[str, Any]
) -> list[AuditResult]:
    """Replace a model's rows, or redefine its view, and run its audits."""
    macros = load_macros() if model.calls_macros else ()
    if model.table.kind == "view":
        return warehouse.replace_view(model.name, model.sql, macros=macros, audits=audits, params=params)
    return warehouse.replace_snapshot_sql(model.table, model.sql, params=params, audits=audits, before=macros)


def _materialize(model: SqlModel, run: Run) -> Results:
    warehouse, audits = run.warehouse, run.location.audits.get(model.name, ())
    checked: dict[str, Sequence[AuditResult]] = {}
    for day in run.days[-1:] if model.table.kind == "table" else run.days:
        params = query_parameters(run.settings, day)
        try:
            with with_parts(run, model, params) as sql:
                checked[day.isoformat()] = replace_model(warehouse, replace(model, sql=sql), audits, params)
        except AuditFailedError as error:
            yield from merge_check_results(checked | {day.isoformat(): error.results})
            raise dg.Failure(f"{day}: {error}", allow_retries=False) from None
    newest = run.days[-1]
    metadata: dict[str, Any] = {"partition": newest.isoformat()}
    if model.table.kind != "view":
        metadata = row_metadata(warehouse, model.table, newest.isoformat())
    elif model.sampled and run.shows:
        metadata = sample_metadata(warehouse, model.table, newest.isoformat())
    if run.shows:
        lineage = model.column_lineage(run.location.tables)
        metadata["dagster/column_lineage"] = column_lineage(lineage, run.location.key)
    if model.histogram is not None and run.shows:
        values = warehouse.query(f'select "{model.histogram}" from "{model.name}" where as_of = $day', {"day": newest})
        title = f"{model.histogram} of {model.table.grain.removeprefix('one row per as_of and ')}s, {newest}"
        found = values[model.histogram]
        png = histogram(found, title=title, x_label=model.histogram, y_label="rows", integer=found.dtype.is_integer())
        metadata["plot"] = plot(png, alt=title)
    yield dg.MaterializeResult(metadata=metadata, check_results=merge_check_results(checked))
