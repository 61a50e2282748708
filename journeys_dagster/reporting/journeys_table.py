"""A user's journeys as `journeys show` prints them: a table for people, records for programs."""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from journeys_dagster.reporting.text import printable

_STAGE_STYLES = {"evergreen": "green", "ongoing": "cyan", "ended": "dim"}


def journeys_table(rows: Iterable[Mapping[str, Any]], *, user_id: str, max_keywords: int = 5) -> Group:
    """Lay out one user's journeys under a heading, best first.

    Parameters
    ----------
    rows
        Rows of `current_user_journeys`; rows of other users are left out. "d ago" counts to read_on (date), the
        day that stages refer to, or to as_of where there is no such column. Needed are as_of (date), user_id
        (str), rank (int), name and stage (str), confidence (float in [0, 1]), keywords (list of mappings with
        keyword, weight and sources, a list of str), search_count and action_count (int), last_seen (datetime).
    user_id
        Whose journeys.
    max_keywords
        The most keywords to show of a journey, heaviest first; how many are left is said.

    Returns
    -------
    rich.console.Group
        For a rich console of 80 columns or more. User text is shown literally: no markup, no control
        characters.

    Raises
    ------
    KeyError
        If a column is missing.
    ValueError
        If `max_keywords` is below 1.
    """
    if max_keywords < 1:
        raise ValueError(f"max_keywords must be at least 1, got {max_keywords}")
    own = _ordered([row for row in rows if row["user_id"] == user_id])
    heading = Text("User ", style="bold").append(printable(user_id))
    if not own:
        return Group(heading, Text("No journeys."))
    count = "1 journey" if len(own) == 1 else f"{len(own)} journeys"
    days = sorted({row["as_of"].isoformat() for row in own if row["as_of"] is not None})
    heading.append(f" · {count} as of {', '.join(days)}", style="not bold")
    table = Table(box=box.HORIZONTALS, show_lines=True, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("journey, and its keywords (from)", overflow="fold")
    table.add_column("stage", no_wrap=True)
    table.add_column("conf.", justify="right", no_wrap=True)
    table.add_column("searches\n/ actions", justify="right", no_wrap=True)
    table.add_column("last seen", no_wrap=True)
    for row in own:
        table.add_row(
            Text(_whole(row["rank"])),
            Text.assemble((printable(row["name"] or ""), "bold"), "\n", _keywords(row["keywords"] or [], max_keywords)),
            _stage(row["stage"]),
            Text("" if row["confidence"] is None else f"{row['confidence']:.2f}"),
            Text(f"{_whole(row['search_count'])} / {_whole(row['action_count'])}"),
            _last_seen(row["last_seen"], row.get("read_on", row["as_of"])),
        )
    return Group(heading, table)


def journeys_records(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Turn journeys into plain data that `json.dumps` takes.

    Parameters
    ----------
    rows
        Rows of `current_user_journeys`; other columns are kept too.

    Returns
    -------
    list of dict
        One for each row, ordered by user_id and rank where these columns exist, with the columns as keys.
        Days and points in time are in ISO 8601 (with an offset only where the column has a time zone),
        durations in seconds, NaN and infinities null. Text is unchanged.
    """
    return [{name: _json_value(value) for name, value in row.items()} for row in _ordered(rows)]


def _ordered(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    def place(row: Mapping[str, Any]) -> tuple[tuple[bool, Any], ...]:
        return tuple((row[name] is None, row[name] or 0) for name in ("user_id", "rank") if name in row)

    return sorted(rows, key=place)


def _stage(stage: str | None) -> Text:
    name = printable(stage or "")
    return Text(name, style=_STAGE_STYLES.get(name, ""))


def _keywords(keywords: Sequence[Mapping[str, Any]], limit: int) -> Text:
    heaviest = sorted(keywords, key=lambda keyword: -(keyword["weight"] or 0.0))
    line = Text()
    for index, keyword in enumerate(heaviest[:limit]):
        line.append(", " if index else "").append(printable(keyword["keyword"] or ""))
        if keyword["sources"]:
            line.append(f" ({printable(', '.join(keyword['sources']))})", style="dim")
    if len(keywords) > limit:
        line.append(f", +{len(keywords) - limit} more", style="dim")
    return line


def _last_seen(seen: datetime | None, today: date | None) -> Text:
    if seen is None:
        return Text()
    line = Text(f"{seen:%Y-%m-%d}")
    if today is not None and seen.date() <= today:
        days = (today - seen.date()).days
        line.append(f"\n{days} d ago" if days else "\ntoday", style="dim")
    return line


def _whole(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _json_value(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: _json_value(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(inner) for inner in value]
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
