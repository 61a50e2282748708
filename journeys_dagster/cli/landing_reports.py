"""What commands print about the landing zone: what is passed over, and what is rejected, each with what to do."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from journeys_dagster.cli.progress import err, say
from journeys_dagster.reporting.text import printable
from journeys_dagster.sources.survey import Survey

_SHOWN = 20
_WIDEST_PATH = 48


def print_passed_over(survey: Survey, landing: Path) -> None:
    """Print what is not read of the landing zone, to stderr; nothing where everything is."""
    passed_over = survey.passed_over
    if not passed_over:
        return
    widest = max(len(each.path) for each in passed_over[:_SHOWN])
    table = plain_table("not read", "files", "why", "what to do", first_width=min(widest, _WIDEST_PATH))
    for each in passed_over[:_SHOWN]:
        add_row(table, each.path, f"{each.files:,}", each.why, each.cure)
    _print(f"Passed over in {landing}: {survey.summary()}.", table, len(passed_over), "journeys status --json")


def print_rejected(rejected: Sequence[dict[str, Any]], what: str) -> None:
    """Print rejected rows by reason, to stderr; nothing where there are none.

    Parameters
    ----------
    rejected : sequence of dict
        From `journeys_dagster.cli.rejected.rejected_by_reason`.
    what : str
        Of which days, for the heading.
    """
    if rejected:
        _print(f"Rejected {what}:", rejected_table(rejected), len(rejected), "journeys rejected --json")


def rejected_table(rejected: Iterable[dict[str, Any]]) -> Table:
    """Rejected rows by source and reason."""
    table = plain_table("source", "reason", "rows", "days", "first file and row", "what to do")
    for each in list(rejected)[:_SHOWN]:
        line = f":{each['first_row']}" if each["first_row"] is not None else ""
        first = f"{each['first_day']} {each['first_file']}{line}"
        add_row(table, each["source"], each["reason"], f"{each['rows']:,}", f"{each['days']:,}", first, each["cure"])
    return table


def plain_table(*heads: str, first_width: int | None = None) -> Table:
    """A table whose cells are text as it is; its first column is as wide as told."""
    table = Table()
    for head in heads:
        right = head in {"files", "rows", "days"}
        table.add_column(head, justify="right" if right else "left", overflow="fold", no_wrap=right)
    # Not its least width: a table that is made narrower and then has one grows past the line's end, and is cut there.
    table.columns[0].width = first_width
    return table


def add_row(table: Table, *cells: str) -> None:
    """Add cells that mean nothing to the console, whatever they hold."""
    table.add_row(*(Text(printable(cell)) for cell in cells))


def _print(heading: str, table: Table, rows: int, where: str) -> None:
    say(heading)
    err.print(table, highlight=False)
    if rows > _SHOWN:
        say(f"+{rows - _SHOWN:,} more: `{where}`")
