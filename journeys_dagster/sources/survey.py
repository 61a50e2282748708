"""A survey of a landing zone: every file and folder below it is a source's day, left out on purpose, or passed over.

What is passed over is not read, and is told with the reason and the cure. Each folder is read once.
"""

import os
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from journeys_dagster.sources.files import is_landing_file
from journeys_dagster.sources.folder_names import (
    DAY_FOLDER,
    meant_by,
    meant_source,
    named_day,
    names_time,
    not_a_day,
)
from journeys_dagster.sources.landed_days import LandedDay, day_as_it_lies, entries_of, named_as
from journeys_dagster.sources.writer import SIMULATED_MARKER, SUCCESS, UNFINISHED_IMPORT

_MOST_COUNTED = 100_000
"""Files of one passed-over folder that are counted: it may be anything, and as large."""
_DEEPEST = 8
"""Folders of a passed-over tree that are looked into one below the other: a link may lead back up."""
_NAMED = 5
_BESIDE_DATA = frozenset({SIMULATED_MARKER, "lost+found", "$RECYCLE.BIN", "System Volume Information"})


@dataclass(frozen=True, kw_only=True)
class PassedOver:
    """Something in the landing zone that is not read.

    Attributes
    ----------
    path : str
        Where it lies, from the landing zone's folder down.
    kind : {'file', 'folder'}
    files : int
        Files in it that are not markers or unfinished ones.
    why, cure : str
        Why it is not read, and what to do.
    source : str, optional
        The source below whose folder it lies.
    day : date, optional
        The day whose folder it is: that day is not whole.
    """

    path: str
    kind: str
    files: int
    why: str
    cure: str
    source: str | None = None
    day: date | None = None


@dataclass
class Survey:
    """What lies in a landing zone.

    Attributes
    ----------
    days : dict of (source, date) to LandedDay
        The day folders, by source.
    passed_over : list of PassedOver
        In the order of their paths.
    left_out : int
        Files and folders whose names say that they are no data.
    marked_at_root : set of str
        Sources with `_SUCCESS` in their own folder, as Spark writes it, which says of no day that it is complete.
    """

    days: dict[tuple[str, date], LandedDay] = field(default_factory=dict)
    passed_over: list[PassedOver] = field(default_factory=list)
    left_out: int = 0
    marked_at_root: set[str] = field(default_factory=set)

    @property
    def sources(self) -> set[str]:
        """Sources with at least one day."""
        return {source for source, _ in self.days}

    def summary(self) -> str:
        """What is passed over, in one line: ``searches: 6 of 9 folders; engagements: 2 files; not_a_source``."""
        days = Counter(source for source, _ in self.days)
        of_source: dict[str, Counter[str]] = {}
        others = []
        for each in self.passed_over:
            if each.source is None:
                others.append(each.path)
            else:
                of_source.setdefault(each.source, Counter())["of a day" if each.day else each.kind] += 1
        said = []
        for source, kinds in of_source.items():
            parts = []
            if folders := kinds["folder"]:
                parts.append(f"{folders:,} of {folders + days[source]:,} folders")
            if files := kinds["file"]:
                parts.append(f"{files:,} file{'s' * (files != 1)}")
            if within := kinds["of a day"]:
                parts.append(f"{within:,} day{'s' * (within != 1)} that cannot be opened")
            said.append(f"{source}: {', '.join(parts)}")
        if others:
            more = f", +{len(others) - _NAMED:,} more" if len(others) > _NAMED else ""
            said.append(", ".join(others[:_NAMED]) + more)
        return "; ".join(said)


def survey(landing: Path, sources: Collection[str]) -> Survey:
    """Look at everything in a landing zone.

    Parameters
    ----------
    landing : Path
        Its folder; one that does not exist is empty.
    sources : collection of str
        Names of the sources that are declared.
    """
    found = Survey()
    for name, entry in sorted(entries_of(landing).items()):
        if name in sources and _is_folder(entry):
            _survey_source(found, entry, name)
        elif name.removeprefix(UNFINISHED_IMPORT) in sources and _is_folder(entry):
            _survey_import(found, entry, name.removeprefix(UNFINISHED_IMPORT))
        elif _is_left_out(name):
            found.left_out += 1
        else:
            _survey_stranger(found, entry, sources)
    found.passed_over.sort(key=lambda each: each.path)
    return found


def _survey_source(found: Survey, folder: os.DirEntry[str], source: str) -> None:
    entries = entries_of(folder)
    there = {day for name in entries if (day := named_as(name)) is not None}
    for name, entry in entries.items():
        day = named_as(name)
        if day is not None and _is_folder(entry):
            _survey_day(found, entry, source, day)
        elif _is_left_out(name):
            found.left_out += 1
            if name == SUCCESS:
                found.marked_at_root.add(source)
        elif _is_folder(entry):
            _survey_folders(found, entry, source, [name], there)
        else:
            _pass_over_file(found, entry, source, f"{source}/{_printable(name)}", there)


def _survey_day(found: Survey, folder: os.DirEntry[str], source: str, day: date) -> None:
    try:
        with os.scandir(folder) as listed:
            entries = {entry.name: entry for entry in listed}
    except OSError as error:
        found.days[source, day] = LandedDay(is_complete=False, fingerprint="")
        path = f"{source}/{folder.name}"
        found.passed_over.append(
            PassedOver(
                path=path, kind="folder", files=0, source=source, day=day,
                why=f"it cannot be opened ({error.strerror})", cure="let the user who runs this read it",
            )
        )  # fmt: skip
        return
    found.days[source, day] = day_as_it_lies(entries)
    found.left_out += sum(not is_landing_file(name) and name != SUCCESS for name in entries)


def _survey_folders(
    found: Survey, folder: os.DirEntry[str], source: str | None, names: list[str], there: Collection[date]
) -> None:
    """A folder that is no day, and what is below it until it says which day, or there are files."""
    meant = meant_by(names)
    entries = {name: entry for name, entry in entries_of(folder).items() if not _is_left_out(name)}
    below = [entry for entry in entries.values() if _is_folder(entry)]
    if meant is None and below and len(below) == len(entries) and len(names) < _DEEPEST:
        for entry in below:
            _survey_folders(found, entry, source, [*names, entry.name], there)
        return
    meant = meant or not_a_day(names)
    why, cure = (meant.why if source else "a day's folder that lies in no source's folder"), meant.cure
    if meant.day is not None:
        to = named_day(meant.day)
        if meant.day in there:
            cure = f"{to} is there too: put into it what it lacks, and take this one away"
        elif len(names) == 1 and source and meant.is_whole:
            cure = f"rename it to {to}"
        else:
            cure = f"move its files to {source or 'SOURCE'}/{to}"
    path = "/".join(filter(None, [source, *map(_printable, names)]))
    files = _count(folder)
    found.passed_over.append(PassedOver(path=path, kind="folder", files=files, source=source, why=why, cure=cure))


def _survey_import(found: Survey, folder: os.DirEntry[str], source: str) -> None:
    found.passed_over.append(
        PassedOver(
            path=folder.name, kind="folder", files=_count(folder),
            why=f"an import of {source} that is under way, or was interrupted: none of its days is here",
            cure=f"if none is running, import {source} again, which clears it away; else wait",
        )
    )  # fmt: skip


def _survey_stranger(found: Survey, entry: os.DirEntry[str], sources: Collection[str]) -> None:
    """What lies in the landing zone's own folder and is no source."""
    name = _printable(entry.name)
    if not _is_folder(entry):
        _pass_over_file(found, entry, meant_source(Path(entry.name).stem, sources), name, ())
        return
    if names_time(entry.name):
        # A landing zone one level too low.
        _survey_folders(found, entry, None, [entry.name], ())
        return
    if inner := sorted(each for each in entries_of(entry) if each in sources):
        listed = ", ".join(inner)
        why, cure = f"it holds {listed}: the sources lie one level too deep", f"move {listed} up, out of {name}"
    elif (source := meant_source(entry.name, sources)) is not None:
        why, cure = "it is no source by this name", f"write it as {source}"
    else:
        why, cure = "unknown source", f"one of {', '.join(sorted(sources))}; else take it away"
    found.passed_over.append(PassedOver(path=name, kind="folder", files=_count(entry), why=why, cure=cure))


def _pass_over_file(
    found: Survey, entry: os.DirEntry[str], source: str | None, path: str, there: Collection[date]
) -> None:
    meant = meant_by([Path(entry.name).stem])
    day = named_day(meant.day) if meant and meant.day else DAY_FOLDER
    to = f"{source or 'SOURCE'}/{day}"
    why = "a file outside a day's folder"
    cure = f"move it into {to}, which is there too" if meant and meant.day in there else f"move it into {to}"
    if not entry.is_file():
        why, cure = "a link to nothing, or a device", "take it away"
    below = source if "/" in path else None
    found.passed_over.append(PassedOver(path=path, kind="file", files=1, source=below, why=why, cure=cure))


def _count(entry: os.DirEntry[str]) -> int:
    """Files in a folder, however deep, without what is left out on purpose; 1 for a file."""
    if not _is_folder(entry):
        return 1
    count = 0
    for _, folders, files in os.walk(entry):
        folders[:] = [name for name in folders if not _is_left_out(name)]
        count += sum(not _is_left_out(name) for name in files)
        if count >= _MOST_COUNTED:
            break
    return count


def _is_folder(entry: os.DirEntry[str]) -> bool:
    with suppress(OSError):
        return entry.is_dir()
    return False


def _is_left_out(name: str) -> bool:
    """Whether a name says that it is no data; outside the days' folders there is more of that kind."""
    return not is_landing_file(name) or name in _BESIDE_DATA


def _printable(name: str) -> str:
    text = os.fsencode(name).decode("utf-8", errors="replace")
    return "".join(char if char.isprintable() else "\ufffd" for char in text)
