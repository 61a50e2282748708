"""The log of sends: what was exported to be sent, and which feedback is about which of it."""

from journeys_dagster.notification.features import FEATURES
from journeys_dagster.tables import Column, Table, double, integer, text, texts, timestamp, utc_day

SEND_FEATURES = Column(
    type=f"STRUCT({', '.join(f'{name} DOUBLE' for name in FEATURES)})",
    description="what a model looks at, as it was known then",
    nullable=True,
)
SEND_ID = """
    left(sha256(concat_ws(chr(31), cast(as_of as varchar), user_id, journey_id, channel)), 32)
"""
"""Of a decision, as SQL: the same whenever it is exported. A user has a journey once in a day's decisions."""

NOTIFICATION_SENDS = Table(
    name="notification_sends",
    kind="kept",
    description="The log of sends: each decision that was exported, once. Caps, cool-downs and fatigue count it, "
    "feedback joins it, and models of sends learn from it.",
    grain="one row per exported notification",
    columns={
        "send_id": text("hash of as_of, user, journey and channel; the exported file has it, and feedback may name it"),
        "as_of": utc_day("day of the decision"),
        "day": utc_day("day on which it is to be sent"),
        "user_id": text("the user"),
        "place": integer("the user's first, second, … notification of the day"),
        "journey_id": text("the journey it is about"),
        "name": text("what the journey was called"),
        "keywords": texts("the journey's listed keywords as typed, heaviest first"),
        "channel": text("by what it is sent"),
        "utc_hour": integer("hour at which it is to be sent, UTC"),
        "local_hour": integer("the same in the user's clock"),
        "lead_kind": text("what it leads to: item, related or keyword"),
        "lead": text("the item's id, or the search"),
        "reason": text("best or explored"),
        "score": double("what it was worth when it was decided"),
        "scored_by": text("what said so: rule, or a model's id"),
        "propensity": double("probability with which it was chosen, given those of the day before it"),
        "features": SEND_FEATURES,
        "export": text("the folder or file that it was exported to"),
        "exported_at": timestamp("when, UTC"),
    },
    key=("send_id",),
    partition_column="as_of",
)

_MATCHED = """
    with sends as (
        select send_id, user_id, journey_id, channel, day, keywords
        from notification_sends
        where as_of < $as_of and day >= $since and {of_batch}
    ),
    said as (
        select user_id, journey_id, lower(channel) as channel, event, cast(occurred_at as date) as said_on, send_id
        from notification_feedback
        where arrival_day <= $as_of and occurred_at >= $since and {of_batch}
    ),
    unnamed as (
        select said.* exclude (send_id), sends.send_id, sends.day
        from (from said where send_id is null) as said
        asof left join sends
            on said.user_id = sends.user_id and said.journey_id = sends.journey_id
            and said.channel = lower(sends.channel) and said.said_on >= sends.day
    ),
    matched as (
        select said.* replace (sends.send_id as send_id)
        from (from said where send_id is not null) as said
        left join sends on sends.send_id = said.send_id and sends.user_id = said.user_id
        union all by name
        -- What says that it was sent may come in after midnight; what people do takes days.
        select * exclude (day) replace (
            case when said_on - day <= if(event = 'sent', 1, $feedback_days) then send_id end as send_id
        )
        from unnamed
    ),
    outcomes as (
        select
            send_id,
            bool_or(event in ('opened', 'clicked', 'thumbs_up')) as opened,
            bool_or(event in ('clicked', 'thumbs_up')) as clicked
        from matched where send_id is not null group by send_id
    )
"""
SENT = f"""
    {_MATCHED}
    select user_id, journey_id, channel, day, keywords, coalesce(opened, false) as opened,
        coalesce(clicked, false) as clicked
    from sends left join outcomes using (send_id)
    union all by name
    -- What the platform sent besides; what became of it is not known here.
    select distinct user_id, journey_id, channel, said_on as day, null as keywords, null as opened, null as clicked
    from matched where event = 'sent' and send_id is null
"""
"""What was sent to a batch of users from ``$since`` on, each once, with what was known of it as of a day.

Feedback is about the send that it names; where it names none, about the newest one of the same user, journey and
channel, of that day or at most ``$feedback_days`` before. ``sent`` of the day before at most.
"""
OUTCOMES = f"""
    {_MATCHED.format(of_batch="true")}
    select sends.*, coalesce(opened, false) as opened, coalesce(clicked, false) as clicked
    from sends left join outcomes using (send_id)
"""
"""The same of everyone's logged sends alone, with their ``send_id``."""
