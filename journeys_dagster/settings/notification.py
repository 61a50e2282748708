"""Whom to notify, and when: none of it is a part of `algorithm_version`, as no journey depends on it."""

from typing import Annotated

from pydantic import Field

from journeys_dagster.settings.operation import OperationSection
from journeys_dagster.settings.section import Count, Days, Section, Share

Hour = Annotated[int, Field(ge=0, le=23)]
Cap = Annotated[int, Field(ge=0, le=1_000)]
Channel = Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,30}$")]


class ChannelSettings(Section):
    """What a channel bears."""

    max_per_day: Cap
    max_per_week: Cap
    min_score: Share
    min_click: Share = 0.02


def _channel(*, max_per_day: int, max_per_week: int, min_score: float) -> ChannelSettings:
    return ChannelSettings(max_per_day=max_per_day, max_per_week=max_per_week, min_score=min_score)


class NotificationSettings(OperationSection):
    """Whom to notify of which journey, by what and when. Nothing is sent from here."""

    enabled: bool = Field(False, description="Whether each run decides whom to notify, into notification_decisions.")
    channels: dict[Channel, ChannelSettings] = Field(
        default={
            "push": _channel(max_per_day=1, max_per_week=3, min_score=0.2),
            "email": _channel(max_per_day=1, max_per_week=2, min_score=0.1),
        },
        min_length=1,
        description="Channels, where scores are equal the first one first: most notifications of a user in a day and "
        "in 7 days, the least score by the rule, and the least probability of a click by a model, 0 to 1.",
    )
    max_per_day: Annotated[int, Field(ge=0, le=10)] = Field(
        1, description="Most notifications of a user in a day, by all channels."
    )
    max_per_week: Cap = Field(3, description="Most notifications of a user in 7 days, by all channels.")
    cooldown_days: Days = Field(7, description="Days from a notification of a journey to the next one of it, at least.")
    feedback_days: Days = Field(
        3,
        description="Days after a send in which what users do with it counts; models learn from it once they are over.",
    )
    fatigue_penalty: Annotated[float, Field(gt=0, le=1)] = Field(
        0.8, description="Factor of the rule's score for each similar notification sent just before; 1: none."
    )
    fatigue_half_life_days: Days = Field(
        7, description="Days after which a notification that was sent counts half in that, and in what models see."
    )
    min_confidence: Share = Field(0.5, description="Confidence that a notified journey has at least.")
    quiet_from_hour: Hour = Field(21, description="First quiet hour, in the user's clock.")
    quiet_until_hour: Hour = Field(
        8, description="First hour that is no longer quiet; the same as the first quiet one: none is quiet."
    )
    sending_hours: list[Hour] = Field(
        default=[*range(24)],
        min_length=1,
        description="UTC hours in which notifications can be sent.",
    )
    active_hour: Hour = Field(
        16, description="Hour of a user's clock that the middle of their own hours of activity is taken for."
    )
    clock_days: Days = Field(56, description="Days of activity that a user's clock is read from.")
    min_clock_events: Count = Field(
        20, description="Events in them below which a user's clock is not read from them, but by utc_offset_hours."
    )
    utc_offset_hours: Annotated[int, Field(ge=-12, le=14)] = Field(
        0, description="Hours that the clock of a user of whom too little is known is ahead of UTC."
    )
    use_model: bool = Field(
        True, description="Whether a model of sends that was promoted scores them; else, and until then, the rule does."
    )
    holdout_share: Share = Field(0.05, description="Share of users, always the same ones, who are never notified.")
    exploration_share: Share = Field(
        0.1, description="Share of notifications drawn from all that may be sent, in place of the best."
    )
    salt: str = Field("journeys", min_length=1, description="Text that draws by hash; another one draws other users.")
