"""What the API takes and gives, as OpenAPI tells it."""

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Stage = Literal["evergreen", "ongoing", "ended"]
Phase = Literal["inspiration", "action", "unknown"]
UserId = Annotated[str, Field(min_length=1, max_length=500, examples=["sim-user-000031"])]


class KeywordOut(BaseModel):
    """A keyword of a journey, as typed and in the spelling to show."""

    keyword: str
    shown: str
    weight: float
    sources: list[str]
    last_seen: datetime


class JourneyOut(BaseModel):
    """A row of `current_user_journeys`."""

    model_config = ConfigDict(extra="allow")
    journey_id: str
    rank: int
    name: str
    stage: Stage
    phase: Phase
    may_notify: bool
    confidence: Annotated[float, Field(ge=0, le=1)]
    return_probability: Annotated[float, Field(ge=0, le=1)]
    ends_on: date
    evergreen_until: date | None
    keywords: list[KeywordOut]


_LIST = {
    "user_id": "sim-user-000031",
    "journeys": [
        {
            "journey_id": "3f9c0f6c1c3e4b7a",
            "rank": 1,
            "name": "Kitchen renovation",
            "stage": "ongoing",
            "phase": "inspiration",
            "may_notify": True,
            "confidence": 0.83,
            "return_probability": 0.61,
            "ends_on": "2025-07-20",
            "evergreen_until": None,
            "keywords": [
                {
                    "keyword": "kitchen tiles",
                    "shown": "kitchen tiles",
                    "weight": 3.5,
                    "sources": ["search"],
                    "last_seen": "2025-06-30T10:00:00",
                }
            ],
        }
    ],
}
_ABOUT = {"version": 12, "day": "2025-06-30", "read_on": "2025-07-01"}


class About(BaseModel):
    """What an answer is of: the publication, the newest inferred day, and the day on which stages are read."""

    version: int
    day: date
    read_on: date


class UserJourneys(About):
    """A user's list, best first; empty of a user without journeys, known or not."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**_ABOUT, **_LIST}]})
    user_id: str
    journeys: list[JourneyOut]


class OneOfMany(BaseModel):
    """A user's list among others."""

    user_id: str
    journeys: list[JourneyOut]


class ManyJourneys(About):
    """The lists of several users, all of one publication, in the order in which they were asked for."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**_ABOUT, "users": [_LIST]}]})
    users: list[OneOfMany]


class BatchGet(BaseModel):
    """Whose lists, and which journeys of them."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"users": ["sim-user-000031"], "notify_only": True}]}
    )
    users: Annotated[list[UserId], Field(min_length=1, max_length=1_000)]
    stage: Stage | None = None
    phase: Phase | None = None
    notify_only: bool = False
    limit: Annotated[int, Field(ge=1, le=100)] = 100


class Why(BaseModel):
    """Why a journey is listed, where it is, and as what; ``words`` says the same in sentences."""

    model_config = ConfigDict(extra="allow")
    user_id: str
    journey_id: str
    name: str
    words: list[str]


class RelatedJourney(BaseModel):
    """A journey that the user is offered, and the one of theirs that it is offered for."""

    rank: int
    related: str
    score: float
    because_of: str
    expander: str


class Related(BaseModel):
    """Related journeys, best first."""

    user_id: str
    related: list[RelatedJourney]


class Refusal(BaseModel):
    """Why there is no answer."""

    detail: str
