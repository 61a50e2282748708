"""Inspecting a landing zone before anything is run: what would be read and rejected, and what looks wrong.

Nothing is written but a temporary folder, which is removed. Rows go through the reader's own checks, batch by batch.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from journeys_dagster.settings import Settings
from journeys_dagster.sources.contracts import Source, declared_sources
from journeys_dagster.sources.cures import cure
from journeys_dagster.sources.files import display_name, landing_files
from journeys_dagster.sources.inspected_facts import (
    NO_ROWS,
    clock_facts,
    day_counts,
    gaps,
    item_facts,
    rejected_facts,
    source_facts,
    text_facts,
)
from journeys_dagster.sources.inspected_ids import id_facts
from journeys_dagster.sources.inspected_rows import IDS, RowKeeper, create_tables
from journeys_dagster.sources.inspection_findings import findings, verdict
from journeys_dagster.sources.reader import check_files, fatal_files
from journeys_dagster.sources.shapes import row_shape
from journeys_dagster.sources.survey import Survey, survey
from journeys_dagster.sources.work_database import prepare_values
from journeys_dagster.sources.writer import day_folder
from journeys_dagster.sql.connection import start_duckdb

_BATCH_BYTES = 128 << 20
_MEMORY = "1GB"
Days = dict[date, list[Path]]
Progress = Callable[[str, int, int], None]
"""Takes what is read, how many batches are, and how many there are."""


@dataclass(frozen=True)
class _Zone:
    """What there is to be read: the survey, each source's files by day, and those that cannot be read."""

    landing: Path
    sources: dict[str, Source]
    survey: Survey
    files: dict[str, Days]
    unreadable: dict[Path, str]

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(_size(path) for days in self.files.values() for paths in days.values() for path in paths)


def inspect_zone(
    landing: Path,
    settings: Settings,
    *,
    today: date,
    unreadable_share: Callable[[Sequence[str]], float],
    progress: Progress,
) -> dict[str, Any]:
    """Look at a whole landing zone, complete days and others.

    Parameters
    ----------
    landing : Path
        Its folder.
    settings : Settings
        By which it would be read.
    today : date
        UTC day; it and later ones are not over.
    unreadable_share : callable
        The share of texts that the embedder cannot read.
    progress : callable
        Told before each batch of days.

    Returns
    -------
    dict
        ``verdict``, ``findings`` (what to do, in order), ``sources``, ``rejected``, ``passed_over``, ``ids``,
        ``items``, ``clocks`` and ``texts``. No id and no text of a user but by its shape.
    """
    sources = declared_sources(settings)
    found = survey(landing, sources)
    files: dict[str, Days] = {name: {} for name in sources}
    for name, day in sorted(found.days):
        # DuckDB gives back the paths of files without links and dots.
        files[name][day] = landing_files(day_folder(landing, source=name, day=day).resolve())
    zone = _Zone(landing, sources, found, files, {})
    try:
        facts = _facts(zone, settings, progress)
    except duckdb.FatalException:
        # As in `reader.read_days`; what was counted is gone with the database.
        for name, days in files.items():
            zone.unreadable.update(fatal_files(sources[name], days, settings.landing))
        facts = _facts(zone, settings, progress)
    # A model needs memory, which the database has given back.
    for texts in facts["texts"].values():
        texts["unreadable_share"] = unreadable_share(texts.pop("sample"))
    return _report(zone, facts, settings, today)


def _facts(zone: _Zone, settings: Settings, progress: Progress) -> dict[str, Any]:
    """All that is counted of the rows; adds the files that cannot be read to the zone's."""
    events = [source.name for source in zone.sources.values() if source.has_events and source.has_user_events]
    with_items = [name for name in events if "item_id" in zone.sources[name].fields]
    with tempfile.TemporaryDirectory(prefix="journeys-inspect-") as folder, _database(folder, settings) as connection:
        # DuckDB would print its own onto stdout where Python has no script.
        connection.execute("set enable_progress_bar = false")
        prepare_values(connection)
        create_tables(connection)
        _read(connection, zone, settings, progress)
        return {
            "sources": source_facts(connection),
            "days": day_counts(connection),
            "rejected": rejected_facts(connection),
            "ids": id_facts(connection),
            "items": item_facts(connection, with_items),
            "clocks": clock_facts(connection, events, lookback_days=settings.keywords.lookback_days),
            "texts": text_facts(connection),
        }


def _database(folder: str, settings: Settings) -> duckdb.DuckDBPyConnection:
    threads = settings.run.warehouse_threads
    return start_duckdb(
        {
            "memory_limit": _MEMORY,
            "temp_directory": folder,
            "preserve_insertion_order": False,
            **({"threads": threads} if threads else {}),
        }
    )


def _read(connection: duckdb.DuckDBPyConnection, zone: _Zone, settings: Settings, progress: Progress) -> None:
    """All rows, the items first: events are held against them."""
    keeper = RowKeeper(connection, settings.landing, zone_bytes=zone.bytes)
    in_order = sorted(zone.sources.values(), key=lambda source: source.name != "items")
    batches = [(source, days) for source in in_order for days in _batches(zone.files[source.name])]
    for number, (source, days) in enumerate(batches):
        span = " to ".join(sorted({str(min(days)), str(max(days))}))
        progress(f"{source.name} {span}", number, len(batches))
        ids = [name for name in IDS if name in source.fields]
        check_files(connection, source, days, zone.unreadable, settings.landing, written=ids)
        keeper.add(source)


def _batches(days: Days) -> Iterator[Days]:
    """Whole days, as many as fit; duplicates are told within a day."""
    batch: Days = {}
    size = 0
    for day, paths in sorted(days.items()):
        batch[day] = paths
        size += sum(_size(path) for path in paths)
        if size >= _BATCH_BYTES:
            yield batch
            batch, size = {}, 0
    if batch:
        yield batch


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _report(zone: _Zone, facts: dict[str, Any], settings: Settings, today: date) -> dict[str, Any]:
    report: dict[str, Any] = {
        "sources": {
            name: _of_source(zone, name, facts, settings.landing.max_rejected_share, today)
            for name, days in zone.files.items()
            if days
        },
        "rejected": _rejected(zone, facts["rejected"]),
        "passed_over": [
            {"path": each.path, "kind": each.kind, "files": each.files, "source": each.source, "why": each.why,
             "what_to_do": each.cure}
            for each in zone.survey.passed_over
        ],
        **{name: facts[name] for name in ("ids", "items", "clocks", "texts")},
    }  # fmt: skip
    said = findings(report, settings)
    return {"landing": str(zone.landing), "verdict": verdict(said), "findings": said, **report}


def _of_source(zone: _Zone, name: str, facts: dict[str, Any], max_rejected_share: float, today: date) -> dict[str, Any]:
    days, unreadable = zone.files[name], zone.unreadable
    counts = {day["arrival_day"]: day for day in facts["days"] if day["source"] == name}
    held_up = []
    for day, paths in days.items():
        read, rejected = (counts.get(day, {}).get(what, 0) for what in ("rows_read", "rows_rejected"))
        shares = [rejected / max(read, 1), sum(path in unreadable for path in paths) / max(len(paths), 1)]
        if max(shares) > max_rejected_share:
            held_up.append(day)
    complete = [day for day in days if zone.survey.days[name, day].is_complete]
    return {
        "has_events": zone.sources[name].has_events,
        "days": len(days),
        "first_day": min(days),
        "last_day": max(days),
        "missing_days": [{"first": first, "last": last} for first, last in gaps(list(days))],
        "incomplete_days": [day for day in days if day not in complete],
        "last_complete_day": max((day for day in complete if day < today), default=None),
        "empty_days": [
            day
            for day, paths in days.items()
            if not counts.get(day, {}).get("rows_read") and not any(path in unreadable for path in paths)
        ],
        "days_not_over": [day for day in days if day >= today],
        "days_held_up": held_up,
        "marked_at_root": name in zone.survey.marked_at_root,
        "files": sum(len(paths) for paths in days.values()),
        "unreadable_files": sum(path in unreadable for paths in days.values() for path in paths),
        **(facts["sources"].get(name) or NO_ROWS),
    }


def _rejected(zone: _Zone, rejected: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows and files that would be rejected, by source and reason, with one of them as its shape."""
    places: dict[tuple[str, str], list[tuple[date, Path]]] = {}
    for name, days in zone.files.items():
        for day, paths in days.items():
            for path in paths:
                if path in zone.unreadable:
                    # Files of a kind are told together.
                    reason = f"unreadable file: {zone.unreadable[path].replace(display_name(path), 'it')}"
                    places.setdefault((name, reason), []).append((day, path))
    of_files = [
        {"source": name, "reason": reason, "rows": 0, "files": len(found), "days": len({day for day, _ in found}),
         "first_day": found[0][0], "first_file": display_name(found[0][1]), "first_row": None, "example": ""}
        for (name, reason), found in places.items()
    ]  # fmt: skip
    of_rows = [
        each | {"files": 0, "example": row_shape(each["example"], zone.sources[each["source"]])} for each in rejected
    ]
    return [each | {"what_to_do": cure(each["reason"])} for each in [*of_files, *of_rows]]
