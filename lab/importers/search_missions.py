"""Searches and clicks with the missions that human annotators drew in them (the format of Webis-SMC-12).

The texts are private: nothing here returns, prints or raises one.
"""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from journeys_dagster.errors import ExpectedError

_COLUMNS = ("user_id", "query", "occurred_at", "clicked_domain", "mission_id")
CLICK = "clickthrough"


class SearchMissionsError(ExpectedError, ValueError, carries_user_text=False):
    """A file that cannot be used; the message names the file and the column or line, never a text."""


@dataclass(frozen=True)
class SearchMissions:
    """The rows of a file, as landing frames, and what they belong to.

    Attributes
    ----------
    frames : dict of str to DataFrame
        ``searches``, and ``engagements``: each click, with the domain as its item. No items are known.
    rows : DataFrame
        Columns ``user_id``, ``query``, ``mission_id``.
    """

    frames: dict[str, pl.DataFrame]
    rows: pl.DataFrame


def read_search_missions(path: Path) -> SearchMissions:
    """Read a tab-separated file with one row per query and click.

    Parameters
    ----------
    path : Path
        Columns ``user_id``, ``query``, ``occurred_at`` (YYYY-MM-DD HH:MM:SS), ``clicked_domain`` (may be empty) and
        ``mission_id``; others are left out. Quotes mean nothing.

    Raises
    ------
    SearchMissionsError
        The file or a column is missing, or a value is empty or no time.
    """
    if not path.is_file():
        raise SearchMissionsError(f"{path} is no file; give the path of search missions as tab-separated text")
    try:
        table = pl.read_csv(path, separator="\t", quote_char=None, infer_schema=False)
    except pl.exceptions.PolarsError:
        # The reader's own words quote the line.
        raise SearchMissionsError(f"{path} cannot be read as tab-separated text with a header") from None
    if missing := [name for name in _COLUMNS if name not in table.columns]:
        raise SearchMissionsError(f"{path}: column {', '.join(missing)} is missing; needed are {', '.join(_COLUMNS)}")
    times = table["occurred_at"].str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us", strict=False)
    table = table.with_columns(occurred_at=times, arrival_day=times.dt.date())
    # The reader makes nulls of what is empty.
    for name in ("user_id", "query", "mission_id", "occurred_at"):
        if (empty := table[name].is_null()).any():
            raise SearchMissionsError(f"{path}, line {empty.arg_max() + 2}: {name} is empty or not readable")  # type: ignore[operator]
    clicks = table.filter(pl.col("clicked_domain").fill_null("") != "")
    return SearchMissions(
        frames={
            "searches": table.select("user_id", "query", "occurred_at", "arrival_day").unique(maintain_order=True),
            "engagements": clicks.select(
                "user_id",
                "occurred_at",
                "arrival_day",
                item_id="clicked_domain",
                action=pl.lit(CLICK),
            ),
        },
        rows=table.select("user_id", "query", "mission_id"),
    )
