"""The landing zone: which days have arrived, and which of them are complete."""

from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path

import dagster as dg
from pydantic import Field

from journeys_dagster.errors import ExpectedError
from journeys_dagster.sources.landed_days import LandedDay, landed_day, source_days
from journeys_dagster.sources.survey import Survey, survey
from journeys_dagster.sources.writer import SUCCESS, day_folder


class IncompleteDayError(ExpectedError, RuntimeError, carries_user_text=False):
    """A day's folder has no `_SUCCESS`; the message names the folder and what to do."""


class LandingZone(dg.ConfigurableResource):
    """Folder with one folder per source and day: ``<source>/date=YYYY-MM-DD/*.{parquet,csv,ndjson}``."""

    path: str = Field(description="The landing zone's folder.")

    def folder(self, source: str, day: date) -> Path:
        """Where a source's day lies, whether or not it is there."""
        return day_folder(Path(self.path), source=source, day=day)

    def days(self, source: str) -> set[date]:
        """Days of a source that have a folder, complete or not."""
        return {day for day, _ in source_days(Path(self.path), source)}

    def is_complete(self, source: str, day: date) -> bool:
        """Whether the producer has finished the day."""
        return (self.folder(source, day) / SUCCESS).exists()

    def landed_days(self, sources: Iterable[str]) -> dict[tuple[str, date], LandedDay]:
        """Every day that has a folder, with what is to be known of its files; each folder is read once.

        Nothing is remembered between calls: a file that is overwritten in place does not change its folder.
        """
        landing = Path(self.path)
        return {(source, day): landed_day(entry) for source in sources for day, entry in source_days(landing, source)}

    def survey(self, sources: Iterable[str]) -> Survey:
        """The same, with all that is passed over; see `journeys_dagster.sources.survey`."""
        return survey(Path(self.path), list(sources))

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
