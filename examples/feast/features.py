"""Each user's list of journeys as features: one row per user and snapshot, which `prepare.py` writes."""

from datetime import timedelta
from pathlib import Path

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Array, Bool, Float64, Int64, String

user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
lists = FileSource(
    name="user_journeys",
    path=str(Path(__file__).parent / "data" / "user_journeys.parquet"),
    timestamp_field="known_from",
)
user_journeys = FeatureView(
    name="user_journeys",
    entities=[user],
    # A list stays a user's list until the next one, however long that takes.
    ttl=timedelta(0),
    schema=[
        Field(name="journeys", dtype=Int64, description="how many there are"),
        Field(name="journey_id", dtype=Array(String), description="best first, as all lists here"),
        Field(name="name", dtype=Array(String), description="what users typed or what was made of it: text, no markup"),
        Field(name="may_notify", dtype=Array(Bool), description="false: neither notify nor show its name"),
        Field(name="phase", dtype=Array(String), description="inspiration, action, or unknown"),
        Field(name="confidence", dtype=Array(Float64)),
        Field(name="return_probability", dtype=Array(Float64)),
        Field(name="ends_on", dtype=Array(String), description="day from which it has ended if nothing happens"),
        Field(name="evergreen_until", dtype=Array(String), description="before it, it is evergreen; empty: it is not"),
    ],
    source=lists,
)
journeys_of_user = FeatureService(name="journeys_of_user", features=[user_journeys])
