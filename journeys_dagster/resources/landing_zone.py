"""The landing zone: which days have arrived, and which of them are complete."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import dagster as dg
from pydantic import Field

from journeys_dagster.errors import ExpectedError
from journeys_dagster.sources.files import fingerprint, is_landing_file
from journeys_dagster.sources.writer import SUCCESS, day_folder

_DAY_FOLDER = re.compile(r"date=(\d{4}-\d{2}-\d{2})")


class IncompleteDayError(ExpectedError, RuntimeError, carries_user_text=False):
    """A day's folder has no `_SUCCESS`; the message names the folder and what to do."""


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


class LandingZone(dg.ConfigurableResource):
    """Folder with one folder per source and day: ``<source>/date=YYYY-MM-DD/*.{parquet,csv,ndjson}``."""

    path: str = Field(description="The landing zone's folder.")

    def folder(self, source: str, day: date) -> Path:
        """Where a source's day lies, whether or not it is there."""
        return day_folder(Path(self.path), source=source, day=day)

    def days(self, source: str) -> set[date]:
        """Days of a source that have a folder, complete or not."""
        return {day for day, _ in _day_folders(self.path, source)}

    def is_complete(self, source: str, day: date) -> bool:
        """Whether the producer has finished the day."""
        return (self.folder(source, day) / SUCCESS).exists()

    def landed_days(self, sources: Iterable[str]) -> dict[tuple[str, date], LandedDay]:
        """Every day that has a folder, with what is to be known of its files; each folder is read once.

        Nothing is remembered between calls: a file that is overwritten in place does not change its folder.
        """
        return {
            (source, day): _landed_day(entry) for source in sources for day, entry in _day_folders(self.path, source)
        }

    def landed_folders(self, source: str, days: Iterable[date]) -> dict[date, Path]:
        """Folders of those days that have one.

        Raises
        ------
        IncompleteDayError
            One of them is not complete.
        """
        there = self.days(source)
        folders = {day: self.folder(source, day) for day in days if day in there}
        for day, folder in folders.items():
            if not self.is_complete(source, day):
                raise IncompleteDayError(
                    f"landing day {day} of {source} is not complete: {folder} has no {SUCCESS} file. "
                    f"Wait until its producer has finished, or create {SUCCESS} if it has."
                )
        return folders


def complete_days(landed: Mapping[tuple[str, date], LandedDay]) -> tuple[set[date], set[tuple[str, date]]]:
    """Days on which every source that has a folder has finished it.

    Parameters
    ----------
    landed : mapping of (source, date) to LandedDay
        From `LandingZone.landed_days`.

    Returns
    -------
    complete : set of date
    incomplete : set of (source, date)
        Folders without `_SUCCESS`; their days are not complete.
    """
    incomplete = {pair for pair, day in landed.items() if not day.is_complete}
    return {day for _, day in landed} - {day for _, day in incomplete}, incomplete


def _day_folders(landing: str, source: str) -> Iterator[tuple[date, os.DirEntry[str]]]:
    """Folders of a source's days, as the system lists them: ten thousand `Path` objects would take half a second."""
    root = Path(landing, source)
    if not root.is_dir():
        return
    with os.scandir(root) as entries:
        for entry in entries:
            if (day := _day_of(entry.name)) is not None and entry.is_dir():
                yield day, entry


def _landed_day(folder: os.DirEntry[str]) -> LandedDay:
    with os.scandir(folder) as entries:
        found = {entry.name: entry for entry in entries}
    if SUCCESS not in found:
        return LandedDay(is_complete=False, fingerprint="")
    files = [found[name] for name in sorted(found) if is_landing_file(name)]
    return LandedDay(is_complete=True, fingerprint=fingerprint(files))


def _day_of(name: str) -> date | None:
    match = _DAY_FOLDER.fullmatch(name)
    if match is None:
        return None
    try:
        return date.fromisoformat(match[1])
    except ValueError:
        return None
