"""All that a warehouse holds, to be compared with another one."""

from pathlib import Path

import polars as pl

from journeys_dagster.resources.home import Home
from journeys_dagster.settings import Settings

_TABLES = """
    select table_name
    from information_schema.tables
    where table_catalog = current_database()
    order by table_name
"""


def all_tables(path: Path) -> dict[str, pl.DataFrame]:
    """Every table and view of a home's warehouse file with its rows in a fixed order; none where there is no file."""
    if not path.exists():
        return {}
    warehouse = Home(path.parent).warehouse(Settings())
    names = warehouse.query(_TABLES)["table_name"].to_list()
    return {name: warehouse.query(f'from "{name}" order by all') for name in names}


def differing_rows(one: dict[str, pl.DataFrame], other: dict[str, pl.DataFrame]) -> dict[str, int]:
    """Rows that only one of two warehouses has, by table; no table where there are none."""
    differing = {}
    for name in one.keys() | other.keys():
        if name not in one or name not in other:
            differing[name] = len(one.get(name, other.get(name, pl.DataFrame()))) or 1
        elif not one[name].equals(other[name]):
            rows, others = (set(map(repr, frame.iter_rows())) for frame in (one[name], other[name]))
            # At least one: the same rows in other numbers, or a column that differs.
            differing[name] = len(rows ^ others) or 1
    return differing
