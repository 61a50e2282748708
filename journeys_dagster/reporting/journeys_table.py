"""A user's journeys as `journeys show` prints them for people."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from journeys_dagster.reporting.text import isolated, printable

_MAX_KEYWORDS = 5
_STAGE_STYLES = {"evergreen": "green", "ongoing": "cyan", "ended": "dim"}


def journeys_table(rows: Sequence[Mapping[str, Any]], *, user_id: str) -> Group:
    """Lay out one user's journeys under a heading, the five heaviest keywords of each and how many more there are.

    Parameters
    ----------
    rows
        The user's rows of `current_user_journeys`, best first. "d ago" counts to read_on, the day that stages refer
        to, or to as_of in a warehouse that an older version made.
    user_id
        Whose journeys.

    Returns
    -------
    rich.console.Group
        For a rich console of 80 columns or more. User text is shown literally: no markup, no control
        characters.
    """
    heading = Text("User ", style="bold").append(isolated(user_id))
    if not rows:
        return Group(heading, Text("No journeys."))
    count = "1 journey" if len(rows) == 1 else f"{len(rows)} journeys"
    heading.append(f" · {count} as of {rows[0]['as_of']}", style="not bold")
    table = Table(box=box.HORIZONTALS, show_lines=True, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("journey, and its keywords (from)", overflow="fold")
    table.add_column("stage", no_wrap=True)
    table.add_column("conf.\nreturn", justify="right", no_wrap=True)
    table.add_column("searches\n/ actions", justify="right", no_wrap=True)
    table.add_column("last seen", no_wrap=True)
    for row in rows:
        table.add_row(
            Text(_whole(row["rank"])),
            Text.assemble((isolated(row["name"] or ""), "bold"), "\n", _keywords(row["keywords"] or [])),
            _stage(row["stage"]),
            Text(f"{_share(row['confidence'])}\n{_share(row['return_probability'])}"),
            Text(f"{_whole(row['search_count'])} / {_whole(row['action_count'])}"),
            _last_seen(row["last_seen"], row.get("read_on", row["as_of"])),
        )
    return Group(heading, table)


def _stage(stage: str | None) -> Text:
    name = printable(stage or "")
    return Text(name, style=_STAGE_STYLES.get(name, ""))


def _keywords(keywords: Sequence[Mapping[str, Any]]) -> Text:
    # Two that differ by a mistake alone are one to whoever reads.
    by_shown: dict[str, list[str]] = {}
    for keyword in sorted(keywords, key=lambda keyword: -(keyword["weight"] or 0.0)):
        sources = by_shown.setdefault(keyword["shown"] or "", [])
        sources += [source for source in keyword["sources"] or [] if source not in sources]
    heaviest = list(by_shown.items())
    line = Text()
    for index, (shown, sources) in enumerate(heaviest[:_MAX_KEYWORDS]):
        line.append(", " if index else "").append(isolated(shown))
        if sources:
            line.append(f" ({printable(', '.join(sources))})", style="dim")
    if len(heaviest) > _MAX_KEYWORDS:
        line.append(f", +{len(heaviest) - _MAX_KEYWORDS} more", style="dim")
    return line


def _last_seen(seen: datetime | None, today: date | None) -> Text:
    if seen is None:
        return Text()
    line = Text(f"{seen:%Y-%m-%d}")
    if today is not None and seen.date() <= today:
        days = (today - seen.date()).days
        line.append(f"\n{days} d ago" if days else "\ntoday", style="dim")
    return line


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _whole(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"
