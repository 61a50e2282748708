"""Grades that people give in the page, as a day of the source `human_labels` in the landing zone."""

import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from journeys_dagster.errors import ExpectedError
from journeys_dagster.sources.writer import SUCCESS, day_folder

_SOURCE = "human_labels"
_LONGEST = 500


class GradeError(ExpectedError, ValueError, carries_user_text=False):
    """A form that says no grades; the message says what is missing."""


def land_grades(landing: Path, *, user: str, annotator: str, grades: Mapping[str, int]) -> Path:
    """Write one form's grades as a file of today, whole or not at all; returns the file.

    Files of others stay. The next run takes the day in, again where it had it.

    Raises
    ------
    GradeError
        There is no grade from 1 to 5, or no annotator.
    """
    annotator = annotator.strip()
    if not annotator or not user or max(len(annotator), len(user)) > _LONGEST:
        raise GradeError("say who grades")
    if not grades or not all(1 <= grade <= 5 and 0 < len(journey) <= _LONGEST for journey, grade in grades.items()):
        raise GradeError("give at least one grade, from 1 to 5")
    now = datetime.now(UTC)
    folder = day_folder(landing, source=_SOURCE, day=now.date())
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "user_id": user,
            "journey_id": journey,
            "grade": grade,
            "annotator": annotator,
            "occurred_at": now.replace(tzinfo=None).isoformat(timespec="microseconds"),
        }
        for journey, grade in sorted(grades.items())
    ]
    name = f"page-{uuid.uuid4().hex}.ndjson"
    # What begins with a dot is no data to a reader.
    unseen = folder / f".{name}"
    unseen.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    unseen.rename(folder / name)
    (folder / SUCCESS).touch()
    return folder / name
