"""`journeys rejected`: rejected rows with what to do about them, masked, and the same by reason for other commands."""

import json
from collections.abc import Collection
from datetime import date, datetime
from typing import Any

import click

from journeys_dagster.cli.errors import plain_errors
from journeys_dagster.cli.landing_reports import add_row, plain_table, rejected_table
from journeys_dagster.cli.progress import out
from journeys_dagster.reporting.text import json_value
from journeys_dagster.resources.home import Home
from journeys_dagster.resources.warehouse import Warehouse, WarehouseError
from journeys_dagster.settings import load_settings
from journeys_dagster.sources.contracts import REJECTED_SHARE, declared_sources
from journeys_dagster.sources.cures import cure
from journeys_dagster.sources.shapes import row_shape

_WHICH = "($source is null or source = $source) and ($days is null or arrival_day in (select unnest($days::date[])))"
_BY_REASON = f"""
    select source, reason, count(*) as rows, count(distinct arrival_day) as days,
        arg_min(struct_pack(arrival_day, file, row_number), (arrival_day, file, coalesce(row_number, 0))) as first
    from rejected_rows where {_WHICH}
    group by all order by rows desc, source, reason
"""
_NEWEST = f"""
    select arrival_day as day, source, file, row_number as "row", reason, "row" as "shape"
    from rejected_rows where {_WHICH}
    order by arrival_day desc, source, file, row_number limit $limit
"""

_OVER = f"""
    select source, arrival_day, {REJECTED_SHARE} as share from landed_days
    where share > $limit and arrival_day in (select unnest($days::date[]))
    order by source, arrival_day
"""
_DAYS_NAMED = 5


def rejected_by_reason(
    warehouse: Warehouse, *, days: Collection[date] | None = None, source: str | None = None
) -> list[dict[str, Any]]:
    """Rejected rows of some days, by source and reason, most first.

    Parameters
    ----------
    days : collection of date, optional
        Default: all.

    Returns
    -------
    list of dict
        ``source``, ``reason``, ``rows``, ``days``, ``first_day``, ``first_file``, ``first_row``, ``cure``.
    """
    if not warehouse.has_table("rejected_rows"):
        return []
    found = warehouse.query(_BY_REASON, _which(days, source))
    return [
        {
            **{name: row[name] for name in ("source", "reason", "rows", "days")},
            "first_day": row["first"]["arrival_day"],
            "first_file": row["first"]["file"],
            "first_row": row["first"]["row_number"],
            "cure": cure(row["reason"]),
        }
        for row in found.iter_rows(named=True)
    ]


def days_over(warehouse: Warehouse, limit: float, days: Collection[date]) -> str:
    """Sources and days of which a larger share than the limit was rejected."""
    found = warehouse.query(_OVER, {"limit": limit, "days": sorted(days)})
    shares: dict[str, list[str]] = {}
    for source, day, share in found.iter_rows():
        shares.setdefault(source, []).append(f"{day} ({share:.1%})")
    return "; ".join(
        f"{source} on {', '.join(listed[:_DAYS_NAMED])}"
        + (f", +{len(listed) - _DAYS_NAMED} more" if len(listed) > _DAYS_NAMED else "")
        for source, listed in shares.items()
    )


def _which(days: Collection[date] | None, source: str | None) -> dict[str, Any]:
    return {"source": source, "days": None if days is None else sorted(days)}


@click.command("rejected")
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), help="Only rows that arrived on this day.")
@click.option("--source", help="Only rows of this source.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="Rows to show, newest day first.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of tables.")
def rejected_command(day: datetime | None, source: str | None, limit: int, as_json: bool) -> None:
    """Show rejected landing rows and what to do about them; ids and texts by their shape alone."""
    with plain_errors():
        home, settings = Home.from_environment(), load_settings()
        sources = declared_sources(settings)
        if source is not None and source not in sources:
            raise click.BadParameter(f"one of {', '.join(sources)}", param_hint="--source")
        if not home.warehouse_path.exists():
            raise WarehouseError(f"no warehouse at {home.warehouse_path}: nothing has been run in this home yet")
        warehouse = home.warehouse(settings)
        days = None if day is None else [day.date()]
        reasons = rejected_by_reason(warehouse, days=days, source=source)
        rows = []
        if reasons:
            found = warehouse.query(_NEWEST, {**_which(days, source), "limit": limit})
            rows = [{**row, "shape": row_shape(row["shape"], sources.get(row["source"]))} for row in found.to_dicts()]
    total = sum(each["rows"] for each in reasons)
    if as_json:
        click.echo(json.dumps(json_value({"rejected": total, "reasons": reasons, "rows": rows}), ensure_ascii=False))
        return
    if not total:
        out.print("No row is rejected.")
        return
    out.print(f"{total:,} rejected in all.", highlight=False)
    out.print(rejected_table(reasons), highlight=False)
    table = plain_table("day", "source", "file", "row", "reason", "what it looks like (x a letter, 9 a digit)")
    for row in rows:
        number = "" if row["row"] is None else f"{row['row']:,}"
        add_row(table, str(row["day"]), row["source"], row["file"], number, row["reason"], row["shape"])
    out.print(f"The newest {len(rows):,}:", highlight=False)
    out.print(table, highlight=False)
