"""The days of a source as they lie in a landing zone: folders by the name of their day."""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from journeys_dagster.sources.files import fingerprint, is_landing_file
from journeys_dagster.sources.writer import SUCCESS

_DAY = re.compile(r"date=(\d{4}-\d{2}-\d{2})", re.ASCII)
Entries = dict[str, os.DirEntry[str]]


@dataclass(frozen=True)
class LandedDay:
    """A source's day as it lies in the landing zone.

    Attributes
    ----------
    is_complete : bool
        Whether the producer has finished it.
    fingerprint : str
        See `journeys_dagster.sources.files.fingerprint`; empty where the day is not complete.
    """

    is_complete: bool
    fingerprint: str


def source_days(landing: Path, source: str) -> Iterator[tuple[date, os.DirEntry[str]]]:
    """Folders of a source's days, as the system lists them: ten thousand `Path` objects would take half a second."""
    for name, entry in entries_of(landing / source).items():
        if (day := named_as(name)) is not None and entry.is_dir():
            yield day, entry


def landed_day(folder: os.DirEntry[str] | Path) -> LandedDay:
    """A day's folder, read once."""
    return day_as_it_lies(entries_of(folder))


def day_as_it_lies(found: Entries) -> LandedDay:
    """The same of a folder that has been read."""
    if SUCCESS not in found:
        return LandedDay(is_complete=False, fingerprint="")
    files = [found[name] for name in sorted(found) if is_landing_file(name)]
    return LandedDay(is_complete=True, fingerprint=fingerprint(files))


def entries_of(folder: os.DirEntry[str] | Path) -> Entries:
    """What lies in a folder, by name; nothing where it is none."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry for entry in entries}
    except (FileNotFoundError, NotADirectoryError):
        return {}


def named_as(name: str) -> date | None:
    """The day whose folder has that name."""
    match = _DAY.fullmatch(name)
    if match is None:
        return None
    with suppress(ValueError):
        return date.fromisoformat(match[1])
    return None
