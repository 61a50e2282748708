"""A user's list as it is published, and how it reads on a day: the rule of the view `current_user_journeys`."""

from datetime import date, datetime
from typing import Any

import msgspec


class Keyword(msgspec.Struct, array_like=True, frozen=True):
    """A keyword of a journey, as in the column ``keywords`` of `user_journeys`."""

    keyword: str
    shown: str
    weight: float
    sources: list[str]
    last_seen: datetime


class Journey(msgspec.Struct, array_like=True, frozen=True):
    """A listed journey: the columns of `current_user_journeys` that do not depend on the day it is read."""

    journey_id: str
    rank: int
    name: str
    namer: str
    may_notify: bool
    keywords: list[Keyword]
    phase: str
    stage_model: str
    return_probability: float
    confidence: float
    score: float
    ranker: str
    search_count: int
    action_count: int
    first_seen: datetime
    last_seen: datetime
    ends_on: date
    evergreen_until: date | None
    algorithm_version: str
    scope: str

    def stage(self, on: date) -> str:
        """Evergreen, ongoing or ended, if nothing has happened since it was published."""
        if self.evergreen_until is not None and on < self.evergreen_until:
            return "evergreen"
        return "ongoing" if on < self.ends_on else "ended"


class UserList(msgspec.Struct, array_like=True, frozen=True):
    """What is published of a user; `as_of` is the day of their newest snapshot."""

    user_id: str
    as_of: date
    journeys: list[Journey]

    def rows(self, on: date) -> list[dict[str, Any]]:
        """The user's rows of `current_user_journeys`, were `on` the newest inferred day."""
        return [
            {
                "as_of": self.as_of,
                "read_on": on,
                "user_id": self.user_id,
                **msgspec.structs.asdict(journey),
                "keywords": [msgspec.structs.asdict(keyword) for keyword in journey.keywords],
                "stage": (stage := journey.stage(on)),
                "lifecycle": "evergreen" if stage == "evergreen" else "situational",
            }
            for journey in self.journeys
        ]


PUBLISHED_COLUMNS = Journey.__struct_fields__
KEYWORD_FIELDS = Keyword.__struct_fields__
