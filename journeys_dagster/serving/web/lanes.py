"""Swim lanes: when a user was busy with each journey, as places on a line of time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

_SITTING = timedelta(minutes=30)
_LARGEST, _SMALLEST = 7.0, 3.0
_TICKS = 6


@dataclass(frozen=True)
class Dot:
    """A sitting: where it is, in per cent of the line, how large, and what it was."""

    x: float
    radius: float
    says: str


@dataclass(frozen=True)
class Lane:
    """A journey's sittings in order."""

    name: str
    stage: str
    journey_id: str
    dots: list[Dot]


@dataclass(frozen=True)
class Tick:
    """A day on the line of time."""

    x: float
    day: date


def lanes(events: Sequence[Mapping[str, Any]], listed: Sequence[Mapping[str, Any]]) -> tuple[list[Lane], list[Tick]]:
    """One lane per listed journey, in order; then one of events of what is not listed, and one of noise.

    Parameters
    ----------
    events : sequence of mapping
        ``journey_id`` (none: of no journey) and ``occurred_at`` (datetime).
    listed : sequence of mapping
        Rows of the user's list: ``journey_id``, ``name``, ``stage``.
    """
    if not events:
        return [], []
    first = min(event["occurred_at"] for event in events)
    last = max(event["occurred_at"] for event in events)
    span = max((last - first).total_seconds(), 1.0)

    def place(at: datetime) -> float:
        return round(1 + 98 * (at - first).total_seconds() / span, 2)

    of: dict[str | None, list[datetime]] = {}
    known = {row["journey_id"] for row in listed}
    for event in events:
        journey = event["journey_id"]
        of.setdefault(journey if journey is None or journey in known else "", []).append(event["occurred_at"])
    named = [(row["name"], row["stage"], row["journey_id"]) for row in listed]
    drawn = [
        Lane(name, stage, str(journey or ""), _dots(sorted(of[journey]), place))
        for name, stage, journey in (*named, ("not listed", "unlisted", ""), ("of no journey", "noise", None))
        if journey in of
    ]
    days = [first + (last - first) * step / (_TICKS - 1) for step in range(_TICKS)]
    return drawn, [Tick(place(at), at.date()) for at in days]


def _dots(times: Sequence[datetime], place: Any) -> list[Dot]:  # noqa: ANN401 - a function of a time
    sittings: list[list[datetime]] = []
    for at in times:
        if sittings and at - sittings[-1][-1] <= _SITTING:
            sittings[-1].append(at)
        else:
            sittings.append([at])
    return [
        Dot(
            place(sitting[0]),
            min(_LARGEST, _SMALLEST + len(sitting) / 2),
            f"{sitting[0]:%Y-%m-%d %H:%M}, {len(sitting)} event{'s' if len(sitting) > 1 else ''}",
        )
        for sitting in sittings
    ]
